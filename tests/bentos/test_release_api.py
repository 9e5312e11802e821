"""Release steps over HTTP: what becomes of each is told and written down, whoever steps in."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

from bentos.app import build_app, use_engine
from resources.release_ledger import ReleaseLedger
from tests.bentos.conftest import World

A, B, C = "a" * 12, "b" * 12, "c" * 12
NAME = "offer_ranker"


@pytest.fixture
def client(world: World) -> Iterator[TestClient]:
    """A is live after B was; a step that waits for half a second has failed."""
    world.publish()
    world.step(B, "live")
    world.step(A, "live")
    app = build_app()
    models = {f"liftgraph_ranker:{v}": world.released(v) for v in (A, B, C)}
    use_engine(app, world.engine(models=models, request_seconds=1.0))
    token = world.key("release:write", name="operator")
    with TestClient(
        app, raise_server_exceptions=False, headers={"Authorization": f"Bearer {token}"}
    ) as made:
        yield made


def audited(world: World) -> list[dict]:
    files = sorted(world.settings.audit_dir.glob("*"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def test_a_step_that_the_ledger_cannot_take_is_503_in_time_and_not_taken_later(
    client: TestClient, world: World
) -> None:
    path = sa.make_url(world.settings.ledger_url).database
    connection = sqlite3.connect(str(path), isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    order = {"model_version": A, "reason": "offers look odd"}
    reply = client.post("/releases/rollback", json=order)
    connection.execute("ROLLBACK")
    connection.close()
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "5")
    assert "OperationalError" in reply.json()["detail"]
    assert "BEGIN" not in reply.text
    assert [d["outcome"] for d in audited(world)] == ["asked", "failed"]
    time.sleep(0.6)
    live = world.ledger.releases(NAME).live
    assert live is not None
    assert live.model_version == A


def test_a_caller_who_was_timed_out_leaves_the_outcome_in_the_audit_log(
    client: TestClient, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = ReleaseLedger.rollback

    def late(*arguments: object, **more: object) -> object:
        time.sleep(1.5)
        return slow(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(ReleaseLedger, "rollback", late)
    reply = client.post("/releases/rollback", json={"model_version": A, "reason": "odd"})
    assert reply.status_code == 504
    deadline = time.monotonic() + 30
    while [d.get("outcome") for d in audited(world)][-1] != "done":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    last = world.ledger.head()
    assert audited(world)[-1]["events"] == [last - 1, last]


def test_a_step_answers_with_its_own_events_only(
    client: TestClient, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.step(C, "shadow")
    world.step(C, "canary", 5.0)
    take = ReleaseLedger.take

    def beside(self: ReleaseLedger, **step: object) -> object:
        monkeypatch.setattr(ReleaseLedger, "take", take)
        world.step("d" * 12, "candidate")
        done = self.take(**step)  # type: ignore[arg-type]
        world.step("e" * 12, "candidate")
        return done

    monkeypatch.setattr(ReleaseLedger, "take", beside)
    order = {"model_version": C, "reason": "agrees", "percent": 25.0, "force": True}
    reply = client.post("/releases/canary", json=order)
    assert reply.status_code == 200
    assert [e["model_version"] for e in reply.json()["events"]] == [C]
    assert [e["actor"] for e in reply.json()["events"]] == ["operator"]


def test_who_comes_too_late_to_end_a_canary_does_not_end_the_live_model(
    client: TestClient, world: World
) -> None:
    world.step(C, "shadow")
    world.step(C, "canary", 5.0)
    world.ledger.rollback(name=NAME, actor="guard", reason="breach", model_version=C)
    before = world.ledger.head()
    reply = client.post("/releases/rollback", json={"reason": "the canary looks bad"})
    assert reply.status_code == 409
    assert f"name it: {A}" in reply.json()["detail"]
    assert world.ledger.head() == before
    named = client.post("/releases/rollback", json={"reason": "bad", "model_version": A})
    assert [(e["model_version"], e["state"]) for e in named.json()["events"]] == [
        (A, "rolled_back"),
        (B, "live"),
    ]
