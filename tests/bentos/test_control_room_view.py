"""The words of the control room, from made-up states of the service."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from bentos.control_room_view import Seen, view
from bentos.status_schemas import ArmStatus, CostStatus, GuardStatus, ShadowStatus, Status
from models.release.ledger import Event
from resources.health_file import AssetHealth, Health

NOW = datetime.fromisoformat("2018-01-08T12:00")
GATE = {"name": "calibration", "passed": False, "blocking": True, "reason": "slope 1.4"}


def event(number: int, version: str, state: Any, **columns: Any) -> Event:
    return Event(
        **{
            "id": number,
            "at": NOW - timedelta(hours=10 - number),
            "name": "offer_ranker",
            "model_version": version,
            "model_tag": f"liftgraph_ranker:{version}",
            "state": state,
            "percent": None,
            "actor": "maria",
            "reason": "because",
            **columns,
        }
    )


EVENTS = [
    event(1, "a", "candidate"),
    event(2, "a", "live", previous="candidate", reason="bootstrap"),
    event(3, "b", "candidate", evidence={"gates": [GATE], "lineage": {"seed": 7}}),
    event(4, "b", "canary", percent=5.0, previous="shadow"),
]
PROMOTED = [
    *EVENTS,
    event(5, "a", "retired", previous="live"),
    event(
        6,
        "b",
        "live",
        previous="canary",
        forced=True,
        evidence={
            "verdict": "PROMOTE",
            "reasons": ["no more errors"],
            "override": {"actor": "joe", "reason": "the gate is wrong"},
        },
    ),
]


def status(**changes: Any) -> Status:
    arm = {"model_tag": "t", "errors": 0, "p50_ms": 1.0, "p99_ms": 2.0, "decisions": 1000}
    return Status(
        **{
            "ready": True,
            "problems": [],
            "bento": "liftgraph:1",
            "arm": "live",
            "release": 4,
            "model": None,
            "arms": [
                ArmStatus(arm="live", model_version="a", percent=90, **arm),
                ArmStatus(arm="baseline", model_version="a", percent=5, **arm),
                ArmStatus(arm="canary", model_version="b", percent=5, **{**arm, "errors": 25}),
            ],
            "shadow": None,
            "guard": GuardStatus(trips=0, last_reason=None, last_model=None, last_at=None),
            "cost": CostStatus(cpu_seconds_per_1000=0.9, log_bytes_per_1000=None),
            "snapshot": None,
            "auth": "on",
            "decisions": 3000,
            "fallbacks": {},
            "started_at": NOW,
            **changes,
        }
    )


def seen(**changes: Any) -> dict[str, Any]:
    values = {
        "status": status(),
        "events": EVENTS,
        "incidents": [],
        "health": None,
        "actions": None,
        "problems": [],
        "now": NOW,
        "base": "http://localhost/",
    }
    return view(Seen(**{**values, **changes}))


def test_the_split_and_the_arms() -> None:
    said = seen()
    assert said["split_words"] == "live 90 %, baseline 5 %, canary 5 %"
    assert [part["x"] for part in said["split"]] == [0.0, 90.0, 95.0]
    canary = said["arms"][2]
    assert (canary["errors"], canary["failing"]) == ("25 (2.50%)", True)
    assert said["state"]["mood"] == "good"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ready": False}, "Not ready: requests are refused"),
        ({"problems": ["x"]}, "Answering requests, but 1 thing is wrong"),
        ({"problems": ["x", "y"]}, "Answering requests, but 2 things are wrong"),
    ],
)
def test_the_state_in_words(changes: dict[str, Any], words: str) -> None:
    assert seen(status=status(**changes))["state"]["words"] == words


def test_why_it_is_live_names_verdict_gates_and_who_overrode_them() -> None:
    why = seen(events=PROMOTED)["why"]
    said = " ".join(why["lines"])
    assert "b is live since 2018-01-08 08:00 UTC: because (maria). It was forced" in said
    assert "The canary's judge said PROMOTE: no more errors." in said
    assert "Gates were overridden by joe: the gate is wrong." in said
    assert why["gates"][0]["verdict"] == "failed, overridden"
    assert why["facts"] == [("Seed", "7")]


def test_what_can_be_taken_out_and_what_follows() -> None:
    (canary,) = seen()["back"]["choices"]
    assert (canary["version"], canary["then"]) == ("b", "Its households get the live model.")
    (live,) = seen(events=PROMOTED)["back"]["choices"]
    assert (live["version"], live["then"]) == ("b", "a is live again.")


def test_shadow_guard_and_checks_in_sentences() -> None:
    shadow = ShadowStatus(
        model_version="c",
        pairs=1200,
        errors=1,
        dropped=3,
        overlap=0.97,
        same_first=None,
        score_shift=None,
        score_shift_sd=None,
    )
    guard = GuardStatus(trips=1, last_reason="12 of 300 failed", last_model="b", last_at=NOW)
    said = seen(status=status(shadow=shadow, guard=guard))["beside"]
    assert said[0].startswith("Shadow c: 1,200 requests scored beside the answer, 97%")
    assert "The guard took out b at 2018-01-08 12:00 UTC: 12 of 300 failed." in said
    failed = AssetHealth(
        asset="raw.b",
        weeks=3,
        failed=1,
        failed_weeks=("2017-01-09",),
        newest=None,
        reason="negative quantity",
    )
    old = Health(made_at=NOW - timedelta(days=9), assets=(failed,))
    checks = seen(health=old)["checks"]
    assert checks["mood"] == "bad"
    assert "older than a week" in checks["lines"][1]
    assert checks["failed"][0]["weeks"] == " (2017-01-09)"
