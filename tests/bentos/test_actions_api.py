"""Actions and what-if over ASGI: answers, fallbacks, problems, and what is logged."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
from fastapi import FastAPI
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from bentos import problems
from bentos.action_desk import ActionDesk
from bentos.action_schemas import RecommendActionsReply, WhatIfReply
from bentos.actions_api import Desks, router
from bentos.decision_log import DecisionLog
from bentos.settings import ServingSettings
from models.demand.dispersion import Dispersion
from models.demand.forecast import forecast_horizons
from resources.versioned_files import write_version
from tests.bentos import action_world
from tests.bentos.action_world import STORES, WEEK

ASK = {"store_id": "s1", "k": 10}
IF = {
    "store_id": "s1",
    "product_id": "p2",
    "week_start": str(WEEK),
    "price": 2.25,
    "display": "7",
    "mailer": "0",
}


def serve(home: Path) -> TestClient:
    found = ServingSettings(home=home)
    engine: Any = SimpleNamespace(settings=found, log=DecisionLog(found.decisions_dir), bento=None)
    app = FastAPI()
    problems.install(app)
    app.include_router(router(Desks(lambda: engine)))
    return TestClient(app, raise_server_exceptions=False)


def logged(home: Path) -> list[dict]:
    files = sorted((home / "decisions").glob("*.jsonl*"))
    return [json.loads(line) for file in files for line in file.read_bytes().splitlines()]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("actions") / "home"
    action_world.publish(home / "actions")
    return home


@pytest.fixture(scope="module")
def client(home: Path) -> Iterator[TestClient]:
    with serve(home) as client:
        yield client


def test_a_store_gets_its_plan_surest_gain_first(client: TestClient) -> None:
    reply = client.post("/recommend_actions", json=ASK)
    assert reply.status_code == 200
    told = RecommendActionsReply.model_validate(reply.json())
    assert [(a.product_id, a.action, a.kind) for a in told.actions[:3]] == [
        ("p0", "display_mailer", "action"),
        ("p2", "discount_20", "action"),
        ("p1", "display", "action"),
    ]
    assert (told.decision, told.fallback, told.week_start) == ("publish", None, WEEK)
    assert told.cost == 7 + 3 + 5
    assert told.actions[0].says == "display and mailer"
    assert "past promotions of the kind show it" in told.actions[0].reasons[2]
    considered = {c.product_id: c.reasons[0] for c in told.considered}
    assert "test it first" in considered["p4"]
    assert "not surely worth its cost" in considered["p3"]


def test_k_bounds_the_rows_but_not_the_cost(client: TestClient) -> None:
    told = client.post("/recommend_actions", json={**ASK, "k": 1}).json()
    assert (len(told["actions"]), len(told["considered"]), told["cost"]) == (1, 1, 15.0)


@pytest.mark.parametrize(
    ("budget", "actions", "replanned"),
    [
        (15.0, ["display_mailer", "discount_20", "display"], False),
        # Sure gains are 11, 8 (of the same product), 3 and 2.
        (10.0, ["display_mailer", "discount_20"], True),
        # The cheaper action of the same product takes the place of the dear one.
        (6.0, ["display", "discount_20"], True),
        (1.0, [], True),
    ],
)
def test_a_smaller_budget_gets_the_best_it_can_buy(
    client: TestClient, budget: float, actions: list[str], replanned: bool
) -> None:
    told = client.post("/recommend_actions", json={**ASK, "budget": budget}).json()
    assert [a["action"] for a in told["actions"]] == actions
    assert (told["replanned"], told["cost"] <= budget) == (replanned, True)


@settings(max_examples=20, deadline=None)
@given(budget=st.floats(0, 20), store=st.sampled_from(STORES))
def test_no_budget_is_ever_exceeded(client: TestClient, budget: float, store: str) -> None:
    told = client.post("/recommend_actions", json={"store_id": store, "budget": budget}).json()
    if told["replanned"]:
        assert told["cost"] <= budget + 1e-6
    assert len({a["product_id"] for a in told["actions"]}) == len(told["actions"])


def test_what_if_is_the_batch_forecast_under_that_plan(client: TestClient) -> None:
    told = WhatIfReply.model_validate(client.post("/what_if", json=IF).json())
    assert told.asked is not None
    here = (
        (pl.col("store_id") == "s1")
        & (pl.col("product_id") == "p2")
        & (pl.col("week_start") == WEEK)
    )
    panel = action_world.panel().with_columns(
        pl.when(here).then(pl.lit(value)).otherwise(pl.col(name)).alias(name)
        for name, value in {"price": 2.25, "discount": 0.25, "display": "7", "mailer": "0"}.items()
    )
    scatter = Dispersion(scale=0.5, power=1.3)
    (batch,) = (
        forecast_horizons(
            panel, models={1: action_world.model()}, dispersions={1: scatter}, as_of=WEEK
        )
        .filter(pl.col("store_id") == "s1", pl.col("product_id") == "p2")
        .to_dicts()
    )
    # The batch measures its correction; the snapshot was given one.
    uncorrected = batch["mean"] / batch["correction"] * action_world.CORRECTION
    assert told.asked.units == pytest.approx(uncorrected, rel=1e-9)
    assert told.standing is not None
    assert told.difference == pytest.approx(told.asked.units - told.standing.units)
    assert told.changes is not None
    assert sum(told.changes.values()) == pytest.approx(told.difference, rel=1e-5)
    assert told.discount == pytest.approx(0.25)
    assert told.notes == []


@pytest.mark.parametrize(
    ("change", "note"),
    [
        ({"display": "zz"}, "display 'zz' was never seen"),
        ({"mailer": True}, "mailer: taken as strong as an average one"),
        ({"price": 9.0}, "above the shelf price of 3.00"),
        ({"price": 0.5}, "a guess"),
    ],
)
def test_what_is_odd_about_a_plan_is_said(
    client: TestClient, change: dict[str, Any], note: str
) -> None:
    told = client.post("/what_if", json={**IF, **change}).json()
    assert told["fallback"] is None
    assert any(note in said for said in told["notes"])


@pytest.mark.parametrize(
    ("path", "body", "fallback"),
    [
        ("/recommend_actions", {**ASK, "store_id": "nowhere"}, "unknown_store"),
        ("/recommend_actions", {**ASK, "week_start": "2018-01-08"}, "week_without_plan"),
        ("/what_if", {**IF, "store_id": "nowhere"}, "unknown_store"),
        ("/what_if", {**IF, "product_id": "nothing"}, "unknown_product"),
        ("/what_if", {**IF, "week_start": "2018-01-08"}, "week_without_plan"),
    ],
)
def test_what_is_unknown_has_a_flagged_answer(
    client: TestClient, path: str, body: dict[str, Any], fallback: str
) -> None:
    reply = client.post(path, json=body)
    assert reply.status_code == 200
    told = reply.json()
    assert told["fallback"] == fallback
    assert told.get("note") or told["notes"]
    assert not told.get("actions")
    assert told.get("asked") is None


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/recommend_actions", {}, "store_id"),
        ("/recommend_actions", {**ASK, "k": 0}, "k"),
        ("/recommend_actions", {**ASK, "budget": -1}, "budget"),
        ("/recommend_actions", {**ASK, "week_start": "2018-01-02"}, "week_start"),
        ("/recommend_actions", {**ASK, "more": 1}, "more"),
        ("/what_if", {**IF, "price": 0}, "price"),
        ("/what_if", {**IF, "price": "NaN"}, "price"),
        ("/what_if", {**IF, "display": ""}, "display"),
        ("/what_if", {k: v for k, v in IF.items() if k != "week_start"}, "week_start"),
    ],
)
def test_invalid_input_says_which_field(
    client: TestClient, path: str, body: dict[str, Any], field: str
) -> None:
    reply = client.post(path, json=body)
    assert reply.status_code == 422
    assert reply.headers["content-type"] == problems.MEDIA_TYPE
    assert reply.json()["errors"][0]["field"].startswith(field)


def test_every_answer_is_logged_with_what_it_told(client: TestClient, home: Path) -> None:
    told = client.post("/recommend_actions", json={**ASK, "budget": 10.0}).json()
    asked = client.post("/what_if", json=IF).json()
    lines = {line["request_id"]: line for line in logged(home)}
    line = lines[told["request_id"]]
    assert (line["kind"], line["budget"], line["k"]) == ("recommend_actions", 10.0, 10)
    assert [a["product_id"] for a in line["actions"]] == ["p0", "p2"]
    assert line["snapshot_version"] == told["snapshot_version"]
    line = lines[asked["request_id"]]
    assert line["plan"] == {"price": 2.25, "display": "7", "mailer": "0"}
    assert line["asked"]["units"] == asked["asked"]["units"]
    assert line["latency_ms"] > 0


def test_without_a_snapshot_answers_are_flagged_until_one_is_published(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with serve(home) as client:
        told = client.post("/recommend_actions", json=ASK).json()
        assert (told["fallback"], told["actions"]) == ("no_plan", [])
        assert "materialise serving.action_snapshot" in told["note"]
        assert client.post("/what_if", json=IF).json()["fallback"] == "no_model"
        version = action_world.publish(home / "actions", "run_a_test")
        told = client.post("/recommend_actions", json=ASK).json()
        assert (told["snapshot_version"], told["decision"]) == (version, "run_a_test")
        assert {a["kind"] for a in told["actions"]} <= {"test", "control"}
        # A damaged one is refused, and the one before goes on.
        newer = action_world.publish(home / "actions")
        (home / "actions" / newer / "plan.parquet").write_bytes(b"half")
        action_world.publish_again(home / "actions", newer)
        again = client.post("/recommend_actions", json=ASK).json()
        assert again["snapshot_version"] == version


def test_a_snapshot_that_could_not_be_read_once_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    action_world.publish(tmp_path / "home" / "actions")
    monkeypatch.setattr("bentos.action_desk.AGAIN_SECONDS", 0.0)
    desk = ActionDesk(ServingSettings(home=tmp_path / "home"))
    real = Path.read_bytes

    def failing(path: Path) -> bytes:
        monkeypatch.setattr(Path, "read_bytes", real)
        raise OSError(f"no disk for {path.name}")

    monkeypatch.setattr(Path, "read_bytes", failing)
    assert desk.current() is None
    assert "no disk" in (desk.problem or "")
    assert desk.current() is not None
    assert desk.problem is None


def test_an_old_snapshot_is_flagged_and_still_answers(tmp_path: Path) -> None:
    home = tmp_path / "home"
    action_world.publish(home / "actions")
    found = ServingSettings(home=home, last_week=date(2018, 2, 5))
    engine: Any = SimpleNamespace(settings=found, log=DecisionLog(found.decisions_dir), bento=None)
    app = FastAPI()
    app.include_router(router(Desks(lambda: engine)))
    with TestClient(app) as client:
        told = client.post("/recommend_actions", json=ASK).json()
        assert told["fallback"] == "stale_plan"
        assert told["actions"]
        assert client.post("/what_if", json=IF).json()["asked"] is not None


def test_a_plan_outlives_the_features_of_other_code(tmp_path: Path) -> None:
    home = tmp_path / "home"
    files = dict(action_world.files())
    facts = json.loads(files["facts.json"])
    files["facts.json"] = json.dumps({**facts, "features": facts["features"][:-1]}).encode()
    write_version(home / "actions", files)
    with serve(home) as client:
        assert client.post("/recommend_actions", json=ASK).json()["fallback"] is None
        told = client.post("/what_if", json=IF).json()
        assert told["fallback"] == "no_model"
        assert "other demand features" in told["notes"][0]


def test_a_failure_inside_is_a_500_and_is_logged(tmp_path: Path) -> None:
    home = tmp_path / "home"
    files = dict(action_world.files())
    # Whole by its digests, and of no use: the plan has lost a column.
    stream = io.BytesIO()
    pl.read_parquet(files["plan.parquet"]).drop("cost").write_parquet(stream)
    files["plan.parquet"] = stream.getvalue()
    write_version(home / "actions", files)
    with serve(home) as client:
        reply = client.post("/recommend_actions", json=ASK)
        assert (reply.status_code, reply.json()["title"]) == (500, "The service failed")
    (line,) = logged(home)
    assert (line["kind"], line["status"], line["store_id"]) == ("recommend_actions", 500, "s1")
    assert "cost" in line["error"]
