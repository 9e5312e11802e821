"""Release steps on a real ledger and real log files, and what the log says of a canary."""

from __future__ import annotations

import json
import math
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from models.release.ledger import IllegalTransitionError
from models.release.routing import arm_of
from resources.logged_decisions import logged_decisions
from resources.release_ledger import ReleaseLedger
from resources.release_steps import RANKER, ReleaseDesk

WHO = {"actor": "ann", "reason": "because"}
HOUSEHOLDS = 3_200


@pytest.fixture
def desk(tmp_path: Path) -> ReleaseDesk:
    made = ReleaseDesk(
        ledger=ReleaseLedger(f"sqlite:///{tmp_path / 'releases.db'}"),
        decisions=tmp_path / "decisions",
    )
    made.decisions.mkdir()
    for version, state in (("a", "candidate"), ("a", "live"), ("b", "candidate")):
        made.ledger.append(
            name=RANKER, model_version=version, model_tag=f"t:{version}", to=state, **WHO
        )
    return made


def answer(desk: ReleaseDesk, *, failing: float = 0.0, file: str = "d.jsonl.open") -> None:
    """Every household asks once, and is answered as the ledger says now."""
    canary = desk.ledger.releases(RANKER).canary
    random = np.random.default_rng(1)
    now = datetime.now(UTC).replace(tzinfo=None).isoformat()
    with (desk.decisions / file).open("a") as log:
        for n in range(HOUSEHOLDS):
            arm = arm_of(f"h{n}", salt="b", percent=canary.percent)
            line = {
                "kind": "decision",
                "decided_at": now,
                "household_id": f"h{n}",
                "arm": arm,
                "error": "x" if arm == "canary" and random.random() < failing else None,
                "latency_ms": math.exp(random.normal(0, 0.3)),
                "empty": False,
                "top_score": random.normal(),
                "candidates": ["p1", "p2"],
            }
            log.write(json.dumps(line) + "\n")
        log.write('{"kind": "decision", "torn')
    # A line that is being written is not read; it is finished before the next ones.
    content = (desk.decisions / file).read_bytes()
    (desk.decisions / file).write_bytes(content[: content.rfind(b"\n") + 1])


def test_the_whole_way_of_a_good_model(desk: ReleaseDesk) -> None:
    assert desk.shadow(**WHO)[-1].model_version == "b"
    for percent in (1.0, 5.0, 25.0, 50.0):
        assert desk.canary(**WHO)[-1].percent == percent
        with pytest.raises(IllegalTransitionError, match="the judge says INCONCLUSIVE"):
            desk.promote(**WHO)
    answer(desk)
    assert desk.verdict().decision == "PROMOTE", desk.verdict().reasons
    event = desk.promote(**WHO)[-1]
    assert (event.state, event.forced, event.evidence["verdict"]) == ("live", False, "PROMOTE")
    assert event.evidence["requests"]["canary"] + event.evidence["requests"]["baseline"] == (
        HOUSEHOLDS
    )


def test_a_bad_canary_neither_grows_nor_goes_live(desk: ReleaseDesk) -> None:
    desk.shadow(**WHO)
    desk.canary(**WHO, percent=5.0)
    answer(desk, failing=0.5)
    for step in (desk.canary, desk.promote):
        with pytest.raises(IllegalTransitionError, match=r"judge says ROLLBACK: failed answers"):
            step(**WHO)
    assert desk.promote(**WHO, forced=True)[-1].evidence["verdict"] == "ROLLBACK"
    assert [e.model_version for e in desk.rollback(**WHO, model_version="b")] == ["b", "a"]


def test_a_newer_candidate_takes_the_place_in_the_shadow(desk: ReleaseDesk) -> None:
    desk.shadow(**WHO)
    desk.ledger.append(name=RANKER, model_version="c", model_tag="t:c", to="candidate", **WHO)
    assert desk.shadow(**WHO)[-1].model_version == "c"
    assert desk.ledger.releases(RANKER).states["b"] == "retired"
    retired, entered = desk.ledger.events(RANKER)[-2:]
    assert (retired.state, retired.reason) == (
        "retired",
        "c takes its place in the shadow: because",
    )
    assert (entered.state, entered.previous) == ("shadow", "candidate")


def test_a_shadow_stays_when_the_one_to_come_after_it_is_refused(desk: ReleaseDesk) -> None:
    desk.shadow(**WHO)
    for state in ("candidate", "retired"):
        desk.ledger.append(name=RANKER, model_version="c", model_tag="t:c", to=state, **WHO)
    head = desk.ledger.head()
    with pytest.raises(IllegalTransitionError, match=r"c is retired .*shadow b"):
        desk.shadow(**WHO, model_version="c")
    assert desk.ledger.head() == head


def test_what_cannot_be_is_said(desk: ReleaseDesk) -> None:
    with pytest.raises(IllegalTransitionError, match="no model stands ready"):
        desk.promote(**WHO)
    with pytest.raises(IllegalTransitionError, match="model x is not in the ledger"):
        desk.shadow(**WHO, model_version="x")
    with pytest.raises(IllegalTransitionError, match="no canary to judge"):
        desk.verdict()


def test_a_canary_that_never_had_a_baseline_goes_on_by_force_only(desk: ReleaseDesk) -> None:
    desk.canary(**WHO, model_version="b", percent=100.0, forced=True)
    assert desk.verdict_so_far() is None
    with pytest.raises(IllegalTransitionError, match="the judge says nothing, not PROMOTE"):
        desk.promote(**WHO)
    assert desk.promote(**WHO, forced=True)[-1].forced


def test_harm_is_a_setting(desk: ReleaseDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIFTGRAPH_JUDGE_ERROR_HARM", "0.001")
    monkeypatch.setenv("LIFTGRAPH_JUDGE_SCORE_HARM", "0")
    settings = ReleaseDesk(ledger=desk.ledger, decisions=desk.decisions).settings
    assert (settings.errors.harm, settings.score_harm) == (0.001, None)


def test_the_log_is_read_since_a_moment_up_to_the_last_whole_line(tmp_path: Path) -> None:
    now = datetime.now(UTC).replace(tzinfo=None)
    columns = {"decided_at": pl.Datetime("us"), "arm": pl.String, "k": pl.Int64}

    def line(ago: timedelta, **more: object) -> str:
        return (
            json.dumps({"kind": "decision", "decided_at": (now - ago).isoformat(), **more}) + "\n"
        )

    hour = timedelta(hours=1)
    (tmp_path / "b.jsonl.open").write_text(line(hour, arm="live") + '{"decided_at": "20')
    (tmp_path / "a.jsonl").write_text(line(5 * hour, k=3) + line(2 * hour, k=4, other=[1]))
    old = tmp_path / "old.jsonl"
    old.write_text("not even read\n")
    os.utime(old, (time.time() - 9e6,) * 2)
    (tmp_path / "empty.jsonl.open").write_text("")
    found = logged_decisions(tmp_path, columns=columns, since=now - 3 * hour)
    assert found.select("arm", "k", "kind").rows() == [
        (None, 4, "decision"), ("live", None, "decision")
    ]  # fmt: skip
    assert logged_decisions(tmp_path / "none", columns=columns, since=now).is_empty()
