"""Who may do what over HTTP: keys, scopes, rates, the audit log, and what no request may be."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
from starlette.testclient import TestClient

from bentos.app import build_app, use_engine
from bentos.auth import Bucket
from bentos.signed_links import LinkError, sign, verify
from resources.api_keys import read_keys, revoke_key
from tests.bentos.conftest import World

ASK = {"household_id": "1"}


@pytest.fixture
def client(world: World) -> Iterator[TestClient]:
    world.publish()
    app = build_app()
    use_engine(app, world.engine(max_body_bytes=2_000, request_seconds=1.0))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def audited(world: World) -> list[dict]:
    files = sorted(world.settings.audit_dir.glob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


@pytest.fixture
def stopped_clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock of the rates, moved by hand: a slow machine refills no bucket."""
    now = [100.0]
    monkeypatch.setattr("bentos.auth.monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize(
    "authorization", [None, "", "Bearer", "Bearer lg_0_0", "Basic dTpw", "Bearer é"]
)
def test_without_a_good_key_it_is_401(
    client: TestClient, world: World, authorization: str | None
) -> None:
    world.key("offers:read")
    headers = {} if authorization is None else {"Authorization": authorization.encode()}
    reply = client.post("/rank_offers", json=ASK, headers=headers)
    assert reply.status_code == 401
    assert reply.headers["www-authenticate"].startswith("Bearer")
    assert reply.headers["content-type"] == "application/problem+json"
    assert "keys add" in reply.json()["remedy"]
    assert audited(world)[0]["why"] == "no-key"


def test_a_key_without_the_scope_gets_403_and_an_audit_line(
    client: TestClient, world: World
) -> None:
    token = world.key("offers:read", name="kiosk")
    reply = client.post("/releases/rollback", json={"reason": "why"}, headers=bearer(token))
    assert reply.status_code == 403
    assert "lacks the scope release:write" in reply.json()["detail"]
    (line,) = audited(world)
    assert (line["actor"], line["status"], line["why"]) == ("kiosk", 403, "no-scope")
    assert line["route"] == "/releases/{action}"
    assert token.split("_")[2] not in json.dumps(line)
    other = world.key("release:write")
    assert client.post("/rank_offers", json=ASK, headers=bearer(other)).status_code == 403


def test_who_may_not_is_not_told_what_is_wrong_with_the_request(client: TestClient) -> None:
    assert client.post("/rank_offers", content=b"{").status_code == 401
    assert client.post("/releases/promote", content=b"{").status_code == 401


KEYED = {
    "/rank_offers": "offers:read",
    "/recommend_actions": "actions:read",
    "/events": "events:write",
    "/releases/rollback": "release:write",
    "/insights/links": "actions:read",
}


@pytest.mark.parametrize("path", KEYED)
def test_the_key_is_asked_for_before_the_body_is_read(client: TestClient, path: str) -> None:
    headers = {"Content-Type": "application/json"}
    for body in (b"{", b"{}", b"[1"):
        assert client.post(path, content=body, headers=headers).status_code == 401
    # More than a body may have, in pieces: who has no key is not told of that either.
    pieces = (b"x" * 500 for _ in range(10))
    assert client.post(path, content=pieces, headers=headers).status_code == 401


@pytest.mark.parametrize("path", KEYED)
def test_a_body_in_pieces_that_are_too_many_is_413(
    client: TestClient, world: World, path: str
) -> None:
    headers = {**bearer(world.key(KEYED[path])), "Content-Type": "application/json"}
    reply = client.post(path, content=(b"x" * 500 for _ in range(10)), headers=headers)
    assert reply.status_code == 413
    assert reply.json()["type"] == "urn:liftgraph:problem:too-large"
    assert reply.headers["connection"] == "close"


@pytest.mark.usefixtures("stopped_clock")
def test_a_link_counts_once_towards_the_keys_rate_and_needs_its_own_scope(
    client: TestClient, world: World
) -> None:
    token = world.key("actions:read", rate_per_second=1)
    body = {"store_id": "367"}
    assert client.post("/insights/links", json=body, headers=bearer(token)).status_code == 200
    assert client.post("/insights/links", json=body, headers=bearer(token)).status_code == 429
    other = bearer(world.key("actions:read"))
    household = client.post("/insights/links", json={"household_id": "1"}, headers=other)
    assert household.status_code == 403
    assert "offers:read" in household.json()["detail"]


@pytest.mark.usefixtures("stopped_clock")
def test_cards_refused_are_audited_and_one_card_has_a_rate(
    client: TestClient, world: World
) -> None:
    assert client.get("/insights/stores/367").status_code == 403
    (line,) = audited(world)
    assert (line["why"], line["status"]) == ("link", 403)
    assert line["route"] == "/insights/stores/{store_id}"
    headers = bearer(world.key("offers:read"))
    link = client.post("/insights/links", json={"household_id": "1"}, headers=headers).json()["url"]
    replies = [client.get(link) for _ in range(30)]
    assert replies[0].status_code == 200
    late = replies[-1]
    assert late.status_code == 429
    assert int(late.headers["retry-after"]) >= 1
    assert late.headers["content-type"].startswith("text/html")
    assert "rate" in {said["why"] for said in audited(world)}


def test_a_new_key_is_good_at_once_and_a_revoked_one_ends_in_a_moment(
    client: TestClient, world: World
) -> None:
    token = world.key("offers:read")
    assert client.post("/rank_offers", json=ASK, headers=bearer(token)).status_code == 200
    key = read_keys(world.settings.api_keys_file).find(token)
    assert key is not None
    revoke_key(world.settings.api_keys_file, key.id)
    deadline = time.monotonic() + 30
    while client.post("/rank_offers", json=ASK, headers=bearer(token)).status_code == 200:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    reply = client.post("/rank_offers", json=ASK, headers=bearer(token))
    assert (reply.status_code, reply.json()["detail"]) == (401, f"The API key {key.id} is revoked")


def test_an_expired_key_is_401(client: TestClient, world: World) -> None:
    token = world.key("offers:read", expires_in=timedelta(seconds=-1))
    assert client.post("/rank_offers", json=ASK, headers=bearer(token)).status_code == 401


@pytest.mark.usefixtures("stopped_clock")
def test_over_the_rate_it_is_429_with_retry_after(client: TestClient, world: World) -> None:
    slow = world.key("offers:read", rate_per_second=2.0)
    other = world.key("offers:read")
    statuses = [
        client.post("/rank_offers", json=ASK, headers=bearer(slow)).status_code for _ in range(12)
    ]
    assert statuses == [200] * 2 + [429] * 10
    reply = client.post("/rank_offers", json=ASK, headers=bearer(slow))
    assert (reply.status_code, reply.headers["retry-after"]) == (429, "1")
    assert reply.json()["type"].endswith(":rate")
    assert client.post("/rank_offers", json=ASK, headers=bearer(other)).status_code == 200
    # Refusals that repeat are one line at once and one with their number.
    client.app.state.audit.close()  # type: ignore[attr-defined]
    refused = [line for line in audited(world) if line["why"] == "rate"]
    assert sum(line.get("count", 1) for line in refused) == statuses.count(429) + 1
    assert len(refused) <= 4


def test_a_bucket_refills_with_time(stopped_clock: list[float]) -> None:
    bucket = Bucket(4.0)
    assert [bucket.take() for _ in range(4)] == [0.0] * 4
    assert bucket.take() == pytest.approx(0.25)
    stopped_clock[0] += 0.25
    assert bucket.take() == 0.0
    stopped_clock[0] += 100.0
    assert [bucket.take() > 0 for _ in range(5)] == [False] * 4 + [True]


def test_switched_off_everybody_may(world: World) -> None:
    world.publish()
    app = build_app()
    use_engine(app, world.engine(serve_auth="off"))
    with TestClient(app) as client:
        assert client.post("/rank_offers", json=ASK).status_code == 200
        assert client.get("/status").json()["auth"] == "off"


def test_release_steps_are_audited_with_the_keys_name(client: TestClient, world: World) -> None:
    world.step("aaaaaaaaaaaa", "live")
    world.step("bbbbbbbbbbbb", "candidate")
    headers = bearer(world.key("release:write", name="ada"))
    body = {"model_version": "bbbbbbbbbbbb", "reason": "a first look"}
    done = client.post("/releases/shadow", json=body, headers=headers)
    assert done.status_code == 200
    (event,) = done.json()["events"]
    assert (event["state"], event["actor"], event["reason"]) == ("shadow", "ada", "a first look")
    illegal = client.post("/releases/promote", json=body, headers=headers)
    assert illegal.status_code == 409
    assert "Now: live aaaaaaaaaaaa" in illegal.json()["detail"]
    lines = audited(world)
    assert [(line["action"], line["outcome"]) for line in lines] == [
        ("release.shadow", "asked"),
        ("release.shadow", "done"),
        ("release.promote", "asked"),
        ("release.promote", "illegal"),
    ]
    assert {line["actor"] for line in lines} == {"ada"}
    shown = client.get("/releases").json()
    assert (shown["live"]["model_version"], shown["shadow"]["model_version"]) == (
        "aaaaaaaaaaaa",
        "bbbbbbbbbbbb",
    )
    assert [e["state"] for e in shown["events"]][:2] == ["shadow", "candidate"]


def test_a_step_that_cannot_be_audited_is_not_taken(client: TestClient, world: World) -> None:
    world.step("aaaaaaaaaaaa", "live")
    world.step("bbbbbbbbbbbb", "candidate")
    headers = bearer(world.key("release:write"))
    world.settings.audit_dir.write_text("in the way")
    body = {"model_version": "bbbbbbbbbbbb", "reason": "a first look"}
    reply = client.post("/releases/shadow", json=body, headers=headers)
    assert reply.status_code == 503
    assert world.ledger.releases("offer_ranker").shadow is None


@pytest.mark.parametrize("chunked", [False, True])
def test_a_large_body_is_413(client: TestClient, world: World, chunked: bool) -> None:
    headers = {**bearer(world.key("offers:read")), "Content-Type": "application/json"}
    body = json.dumps({**ASK, "context": {"a": "x" * 3_000}}).encode()
    content = (body[i : i + 500] for i in range(0, len(body), 500)) if chunked else body
    reply = client.post("/rank_offers", content=content, headers=headers)
    assert reply.status_code == 413
    assert reply.headers["content-type"] == "application/problem+json"
    assert "2,000 bytes" in reply.json()["detail"]


def test_what_takes_too_long_is_504(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = client.app.state.engine  # type: ignore[attr-defined]
    monkeypatch.setattr(engine, "status", lambda: time.sleep(2))
    reply = client.get("/status")
    assert (reply.status_code, reply.json()["type"]) == (504, "urn:liftgraph:problem:timeout")


def test_every_answer_carries_the_security_headers(client: TestClient, world: World) -> None:
    headers = bearer(world.key("offers:read"))
    for reply in (
        client.post("/rank_offers", json=ASK, headers=headers),
        client.get("/status"),
        client.get("/"),
        client.get("/nothing"),
    ):
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["referrer-policy"] == "no-referrer"
        assert reply.headers["cache-control"] == "no-store"


def test_metrics_have_few_series_whatever_is_asked(client: TestClient) -> None:
    for i in range(30):
        client.get(f"/households/{i}")
        client.request(f"M{i}", "/rank_offers")
    lines = client.get("/metrics").text.splitlines()
    routes = {line.split("{")[0] + line.split('route="')[1] for line in lines if "route=" in line}
    assert not [route for route in routes if "/households/0" in route]
    counted = [line for line in lines if line.startswith("liftgraph_requests_total")]
    assert not [line for line in counted if 'method="M' in line]
    assert any('route="other"' in line for line in counted)


def test_signed_links_open_one_path_until_they_end(world: World) -> None:
    from bentos.clock import utc_now

    path = "/insights/stores/367"
    query = dict(
        part.split("=")
        for part in sign(world.settings, path, utc_now() + timedelta(hours=1)).split("&")
    )
    verify(world.settings, path, query["expires"], query["signature"])
    later = str(int(query["expires"]) + 1)
    for wrong in (
        ("/insights/stores/368", query["expires"], query["signature"]),
        (path, later, query["signature"]),
        (path, query["expires"], "0" * 32),
        (path, query["expires"], "💥"),
        (path, "x", query["signature"]),
        (path, "9" * 5_000, query["signature"]),
        (path, None, None),
    ):
        with pytest.raises(LinkError):
            verify(world.settings, *wrong)
    ended = dict(
        part.split("=")
        for part in sign(world.settings, path, utc_now() - timedelta(seconds=1)).split("&")
    )
    with pytest.raises(LinkError, match="has ended"):
        verify(world.settings, path, ended["expires"], ended["signature"])
