"""What people type, what sensors ask for, and what the review writes, on a home of its own."""

from __future__ import annotations

import json
from datetime import date, datetime

import click.testing
import dagster as dg
import polars as pl
import pytest

from assets.release.commands import release
from assets.release.jobs import release_aliases
from assets.release.retraining import retraining
from assets.release.review import health_review
from models.release.drift import DRIFTED
from models.serving.snapshot import snapshot_arrays
from resources.drift_reference import drift_since, keep_reference
from resources.live_model import live_model, live_version
from resources.model_registry import store_model
from resources.online_snapshot import write_snapshot
from resources.release_reviews import keep_gates, keep_review, kept_reviews
from resources.release_steps import RANKER, ReleaseDesk
from tests.conftest import Home

GATE = {
    "name": "candidate_recall", "passed": True, "blocking": True, "value": 0.4, "threshold": 0.3,
    "reason": "",
}  # fmt: skip


@pytest.fixture
def desk(home: Home) -> ReleaseDesk:
    """a is live, b stands ready."""
    made = ReleaseDesk.of(home.settings)
    for version, to in (("a", "candidate"), ("a", "live"), ("b", "candidate")):
        made.ledger.append(
            name=RANKER, model_version=version, model_tag=f"t:{version}", to=to, actor="ann",
            reason="because", evidence={"gates": [GATE]} if version == "a" else {},
        )  # fmt: skip
    return made


def said(*arguments: str, code: int = 0) -> str:
    done = click.testing.CliRunner().invoke(release, arguments)
    assert done.exit_code == code, done.output
    return done.output


def test_the_way_of_a_model_by_hand(desk: ReleaseDesk) -> None:
    why = ("--reason", "try it")
    assert "event 4: b is shadow" in said("shadow", *why)
    assert "event 5: b is canary at 1 %" in said("canary", *why)
    assert "begins" not in said("canary", *why, "--percent", "5")
    assert "grows to 25 % next" in said("canary", *why, "--percent", "100", code=1)
    status = said("status")
    assert "The judge says INCONCLUSIVE" in status
    assert "too little was seen" in status
    assert "stays a canary" in said("promote", *why, code=1)
    assert "b is live (forced)" in said("promote", *why, "--force")
    assert "name it: b" in said("rollback", *why, code=1)
    back = said("rollback", *why, "--model", "b")
    assert "event 9: b is rolled_back\nevent 10: a is live" in back
    events = json.loads(said("history", "--json"))
    assert [e["id"] for e in events] == list(range(1, 11))
    assert events[-1]["actor"].startswith("cli:")
    assert "rolled_back" in said("history")


def test_a_gate_is_replayed_before_it_is_changed(desk: ReleaseDesk, home: Home) -> None:
    folder = home.settings.home / "gate_history"
    keep_gates(folder, model_version="c", gates=[GATE | {"value": 0.2, "passed": False}],
               override=None)  # fmt: skip
    found = said("backtest", "--gate", "candidate_recall=0.5")
    assert "1 of 2 past decisions would differ: 1 stopped (0 of them rolled back later, 1" in found
    assert "1 let in" in said("backtest", "--gate", "candidate_recall=0.1")
    assert "give NAME=VALUE" in said("backtest", "--gate", "candidate_recall", code=2)
    assert "no threshold" in said("backtest", "--gate", "nothing=1", code=2)


def test_a_decision_nobody_made(desk: ReleaseDesk) -> None:
    assert "decision x is neither in" in said("trace", "x", code=1)
    assert "not in the lake yet" in said("touched", "1", code=1)


def test_the_review_writes_a_report(desk: ReleaseDesk, home: Home) -> None:
    done = home.materialize(health_review, instance=dg.DagsterInstance.ephemeral())
    assert done.success
    figures = json.loads((home.settings.reports / "release" / "metrics.json").read_text())
    assert figures["places"]["live"]["model_version"] == "a"
    assert [r["health"] for r in figures["reviews"]] == ["No data"]
    assert figures["retraining"]["reason"] == "no model was trained yet"
    assert "What is released" in (home.settings.reports / "release" / "index.html").read_text()


def test_sensors(desk: ReleaseDesk, home: Home) -> None:
    resources = {"settings": home.settings}
    unmoved = dg.build_sensor_context(cursor="3", resources=resources)
    assert release_aliases.evaluate_tick(unmoved).skip_message == "the ledger has not moved"
    asked = retraining._raw_fn(dg.build_sensor_context(resources=resources))
    assert asked.run_key.startswith("retrain None:")


def test_a_completed_review_does_not_change(tmp_path) -> None:
    review = {"released_at": "2026-01-05T00:00:00", "review": "on the day", "model_version": "a"}
    keep_review(tmp_path, review | {"health": "Ready"})
    keep_review(tmp_path, review | {"health": "No data"})
    assert [r["health"] for r in kept_reviews(tmp_path)] == ["Ready"]


def stored(home: Home, version: str):
    return store_model(home.settings, name=RANKER, version=version, model=b"x", facts={})


def test_the_live_model_is_the_ledgers(desk: ReleaseDesk, home: Home) -> None:
    assert live_version(home.settings, RANKER) == "a"
    with pytest.raises(FileNotFoundError, match="offer_ranker a are not in"):
        live_model(home.settings, RANKER)
    made = stored(home, "a")
    stored(home, "b")
    assert live_model(home.settings, RANKER) == made


def test_without_a_ledger_none_is_made(home: Home) -> None:
    assert live_version(home.settings, RANKER) is None
    assert not (home.settings.home / "releases.db").exists()


def published(home: Home, *, shift: float) -> None:
    """A snapshot of 50 candidates whose one feature is shifted."""
    rows = pl.DataFrame({"product_id": [f"p{n}" for n in range(50)]}).with_columns(
        household_id=pl.lit("000000000001"), source=pl.lit("own"), x=pl.int_range(50) + shift
    )
    popular = pl.DataFrame({"product_id": ["p1"], "source": ["popular"], "x": [0.5]})
    arrays, names = snapshot_arrays(rows, popular=popular, feature_names=["x"])
    write_snapshot(
        home.settings.online_dir,
        arrays,
        names,
        as_of=date(2026, 1, 5),
        known_at=datetime(2026, 1, 5),  # noqa: DTZ001 - times are naive UTC
        data_snapshot="1",
        feature_set_hash="f",
    )


def test_features_are_compared_with_those_of_the_release(home: Home) -> None:
    model = stored(home, "a")
    assert keep_reference(home.settings, model) is None
    assert drift_since(home.settings, model) == {}
    published(home, shift=0.0)
    assert keep_reference(home.settings, model) is not None
    assert drift_since(home.settings, model) == {}
    published(home, shift=30.0)
    # What is kept stays, also when the model is packaged again.
    keep_reference(home.settings, model)
    assert drift_since(home.settings, model)["x"] > DRIFTED
