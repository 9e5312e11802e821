"""Arbitrary requests made from the published schema: never a 5xx, and every error a problem."""

from __future__ import annotations

from pathlib import Path

from starlette.testclient import TestClient

from benchmarks.openapi_cases import CARDS, Cases, fuzz
from bentos.app import build_app, use_engine
from resources.api_keys import add_key
from tests.bentos.conftest import World
from tests.bentos.tiny_service import make_service

CASES = 400
SCOPES = ("offers:read", "actions:read", "events:write", "release:write")


def test_no_request_makes_the_service_fail(world: World) -> None:
    world.publish()
    world.step("aaaaaaaaaaaa", "live")
    app = build_app()
    store = {f"liftgraph_ranker:{'a' * 12}": world.released("a" * 12)}
    use_engine(app, world.engine(models=store))
    key = world.key(*SCOPES, rate_per_second=1e6)
    with TestClient(app, raise_server_exceptions=False, base_url="http://127.0.0.1") as client:
        # Events need an online history, which this small world has none of.
        paths = {*client.get("/openapi.json").json()["paths"], *CARDS} - {"/events"}
        found = fuzz(client, key=key, cases=CASES, seed=7, only=tuple(sorted(paths)))
    assert found["fuzz_failed"] == []
    # Right, wrong and unauthorised ones were all among them.
    assert {"200", "401", "404", "405", "422"} <= set(found["fuzz_statuses"])


def test_no_event_makes_the_service_fail(tmp_path: Path) -> None:
    service = make_service(tmp_path / "home")
    service.publish()
    engine = service.engine()
    app = build_app()
    use_engine(app, engine)
    _, key = add_key(
        service.settings.api_keys_file, name="tests", scopes=SCOPES, rate_per_second=1e6
    )
    with TestClient(app, raise_server_exceptions=False, base_url="http://127.0.0.1") as client:
        found = fuzz(client, key=key, cases=CASES, seed=11, only=("/events",))
    assert found["fuzz_failed"] == []
    assert {"200", "401", "405", "422"} <= set(found["fuzz_statuses"])


def test_the_same_seed_makes_the_same_cases() -> None:
    schema = build_app().openapi()
    one, other = (Cases(schema, key="k", seed=3) for _ in range(2))
    assert [one.next() for _ in range(50)] == [other.next() for _ in range(50)]
