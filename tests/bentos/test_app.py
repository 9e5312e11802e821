"""The endpoints over ASGI: shapes, problems and the published schema."""

from __future__ import annotations

import json
from collections.abc import Iterator

import jsonschema
import pytest
from starlette.testclient import TestClient

from bentos.app import build_app, use_engine
from tests.bentos.conftest import World, best_first


@pytest.fixture
def client(world: World) -> Iterator[TestClient]:
    world.publish()
    app = build_app()
    use_engine(app, world.engine())
    key = {"Authorization": f"Bearer {world.key('offers:read', 'release:write')}"}
    with TestClient(app, raise_server_exceptions=False, headers=key) as client:
        yield client


def test_offers(client: TestClient) -> None:
    reply = client.post("/rank_offers", json={"household_id": "1", "k": 3})
    assert reply.status_code == 200
    assert [o["product_id"] for o in reply.json()["offers"]] == best_first(1)[:3]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "household_id"),
        ({"household_id": 1}, "household_id"),
        ({"household_id": ""}, "household_id"),
        ({"household_id": "x" * 65}, "household_id"),
        ({"household_id": "1", "k": 0}, "k"),
        ({"household_id": "1", "k": 101}, "k"),
        ({"household_id": "1", "k": "5"}, "k"),
        ({"household_id": "1", "k": True}, "k"),
        ({"household_id": "1", "store": "9"}, "store"),
        ({"household_id": "1", "context": {"a": [1]}}, "context.a"),
        ({"household_id": "1", "context": {str(i): i for i in range(21)}}, "context"),
        ({"household_id": "1", "context": {"a": 2**64}}, "context.a"),
        ({"household_id": "1", "context": {"a": -(2**63) - 1}}, "context.a"),
        ([], "body"),
    ],
)
def test_invalid_input_says_which_field_and_why(
    client: TestClient, body: object, field: str
) -> None:
    reply = client.post("/rank_offers", json=body)
    assert reply.status_code == 422
    assert reply.headers["content-type"] == "application/problem+json"
    problem = reply.json()
    assert problem["errors"][0]["field"].startswith(field)
    assert problem["errors"][0]["reason"]
    assert "/openapi.json" in problem["remedy"]


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"1e999", b"9" * 400])
def test_a_number_the_log_cannot_write_is_refused(client: TestClient, number: bytes) -> None:
    content = b'{"household_id": "1", "context": {"a": %s}}' % number
    reply = client.post(
        "/rank_offers", content=content, headers={"Content-Type": "application/json"}
    )
    assert reply.status_code == 422
    assert reply.json()["errors"][0]["field"].startswith("context.a")


@pytest.mark.parametrize("value", [2**63 - 1, -(2**63), 0.5, True, None, "x"])
def test_what_is_sent_in_the_context_is_logged_as_it_is(
    client: TestClient, world: World, value: object
) -> None:
    body = {"household_id": "1", "context": {"a": value}}
    assert client.post("/rank_offers", json=body).status_code == 200
    (line,) = world.log_lines()
    assert repr(json.loads(line)["context"]) == repr({"a": value})


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"null"])
def test_what_is_no_json_is_a_problem_with_the_body(client: TestClient, content: bytes) -> None:
    reply = client.post(
        "/rank_offers", content=content, headers={"content-type": "application/json"}
    )
    assert reply.status_code in {400, 422}
    assert reply.headers["content-type"] == "application/problem+json"
    assert "body" in reply.text


def test_a_household_id_is_never_echoed(client: TestClient) -> None:
    secret = "household-4711-" * 8
    reply = client.post("/rank_offers", json={"household_id": secret})
    assert reply.status_code == 422
    assert "4711" not in reply.text


@pytest.mark.parametrize("k", [1, 100])
def test_the_bounds_of_k_are_allowed(client: TestClient, k: int) -> None:
    reply = client.post("/rank_offers", json={"household_id": "1", "k": k})
    assert reply.status_code == 200
    assert len(reply.json()["offers"]) == min(k, len(best_first(1)))


def test_unknown_pages_and_wrong_methods_are_problems(client: TestClient) -> None:
    missing = client.get("/nothing/here")
    assert (missing.status_code, missing.json()["status"]) == (404, 404)
    wrong = client.get("/rank_offers")
    assert wrong.status_code == 405
    assert wrong.headers["allow"] == "POST"
    assert "Use POST" in wrong.json()["remedy"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/rank_offers", "POST"),
        ("GET", "/events", "POST"),
        ("GET", "/what_if", "POST"),
        ("GET", "/releases/promote", "POST"),
        ("DELETE", "/releases", "GET"),
        ("POST", "/insights/stores/1", "GET"),
        ("POST", "/", "GET"),
    ],
)
def test_wrong_methods_are_405_with_the_right_ones(
    client: TestClient, method: str, path: str, allowed: str
) -> None:
    reply = client.request(method, path)
    assert reply.status_code == 405
    assert allowed in reply.headers["allow"]
    assert reply.headers["content-type"] == "application/problem+json"


def test_no_snapshot_is_503_with_the_remedy(world: World) -> None:
    app = build_app()
    use_engine(app, world.engine())
    key = {"Authorization": f"Bearer {world.key('offers:read')}"}
    with TestClient(app, headers=key) as client:
        reply = client.post("/rank_offers", json={"household_id": "1"})
        assert reply.status_code == 503
        assert reply.headers["content-type"] == "application/problem+json"
        assert "make demo" in reply.json()["remedy"]
        assert client.get("/status").json()["ready"] is False
        assert "Not ready" in client.get("/").text


def test_an_unwritable_log_is_503(client: TestClient, world: World) -> None:
    (world.home / "decisions").write_text("in the way")
    reply = client.post("/rank_offers", json={"household_id": "1"})
    assert reply.status_code == 503
    assert reply.json()["type"].endswith("decision-log")


def test_an_unforeseen_fault_is_a_problem_without_its_inside(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(_: object) -> None:
        raise KeyError("secret detail")

    monkeypatch.setattr(client.app.state.engine, "rank_offers", fault)  # type: ignore[attr-defined]
    reply = client.post("/rank_offers", json={"household_id": "1"})
    assert reply.status_code == 500
    assert reply.headers["content-type"] == "application/problem+json"
    assert "secret" not in reply.text


def test_the_published_schema_describes_real_answers(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()
    assert {"/rank_offers", "/status", "/releases", "/releases/{action}"} <= set(schema["paths"])
    post = schema["paths"]["/rank_offers"]["post"]
    assert {"200", "422", "503"} <= set(post["responses"])
    assert set(post["responses"]["422"]["content"]) == {"application/problem+json"}
    parts = schema["components"]["schemas"]
    assert parts["RankOffersReply"]["examples"]

    def check(value: object, definition: dict) -> None:
        jsonschema.validate(value, {**definition, "components": schema["components"]})

    for example in parts["RankOffersRequest"]["examples"]:
        check(example, {"$ref": "#/components/schemas/RankOffersRequest"})
        reply = client.post("/rank_offers", json=example)
        assert reply.status_code == 200
        check(reply.json(), post["responses"]["200"]["content"]["application/json"]["schema"])
    invalid = client.post("/rank_offers", json={})
    check(invalid.json(), post["responses"]["422"]["content"]["application/problem+json"]["schema"])
    ok = schema["paths"]["/status"]["get"]["responses"]["200"]["content"]["application/json"]
    check(client.get("/status").json(), ok["schema"])


def test_a_new_snapshot_is_taken_up_while_serving(client: TestClient, world: World) -> None:
    world.publish(shift=5)
    for _ in range(200):
        reply = client.post("/rank_offers", json={"household_id": "1", "k": 3}).json()
        products = [o["product_id"] for o in reply["offers"]]
        if products == best_first(1, shift=5)[:3]:
            return
        assert products == best_first(1)[:3]
    pytest.fail("200 requests later the old snapshot still answers")
