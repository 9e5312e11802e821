"""What the control room says, in words: from the state of the service to the values of its page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bentos.control_room_releases import back, step, why
from bentos.pages import ago, at
from bentos.status_schemas import ArmStatus, Status
from models.release.ledger import Event, fold
from resources.health_file import Health

SHOWN_EVENTS = 25
SHOWN_INCIDENTS = 8
SHOWN_FAILURES = 8
# Past it the list of checks is older than a weekly run.
CHECKS_AGE_DAYS = 8
_ANSWERING = ("live", "baseline", "canary")


@dataclass(frozen=True)
class Seen:
    """Everything the page is made from.

    Attributes:
        status: Of the service.
        events: Of the release ledger, oldest first.
        incidents: As ``list_incidents`` gives them, newest first.
        health: What the checks found last; ``None`` before the first run.
        actions: Week, version and age of the action snapshot, and whether it is past the limit;
            ``None`` without one.
        problems: What could not be read, each with its remedy.
        now: Naive UTC.
        base: Address of the service, with a slash at the end.
    """

    status: Status
    events: Sequence[Event]
    incidents: Sequence[Mapping[str, Any]]
    health: Health | None
    actions: Mapping[str, Any] | None
    problems: Sequence[str]
    now: datetime
    base: str


def view(seen: Seen) -> dict[str, Any]:
    """The values of ``control_room.html.j2``."""
    status, releases = seen.status, fold(seen.events)
    wrong = [*status.problems, *seen.problems]
    split = _split(status.arms)
    return {
        "now": seen.now,
        "base": seen.base,
        "state": _state(status, wrong),
        "wrong": wrong,
        "split": split,
        "split_words": ", ".join(f"{p['arm']} {p['shown']} %" for p in split),
        "arms": [_arm(arm) for arm in status.arms],
        "beside": _beside(status),
        "why": why(status, seen.events, releases),
        "data": _data(seen),
        "checks": _checks(seen.health, seen.now),
        "incidents": [_incident(row) for row in seen.incidents[:SHOWN_INCIDENTS]],
        "back": back(status, releases),
        "history": [step(event) for event in reversed(seen.events[-SHOWN_EVENTS:])],
        "events": len(seen.events),
        "bento": status.bento or "run from source",
    }


def _state(status: Status, wrong: Sequence[str]) -> dict[str, str]:
    if not status.ready:
        return {"words": "Not ready: requests are refused", "mood": "bad"}
    if wrong:
        many = "1 thing is" if len(wrong) == 1 else f"{len(wrong)} things are"
        return {"words": f"Answering requests, but {many} wrong", "mood": "warn"}
    return {"words": "Ready: answering requests", "mood": "good"}


def _split(arms: Sequence[ArmStatus]) -> list[dict[str, Any]]:
    parts, x = [], 0.0
    for arm in arms:
        if arm.arm in _ANSWERING and arm.percent and arm.model_version:
            parts.append(
                {"arm": arm.arm, "x": x, "percent": arm.percent, "shown": f"{arm.percent:g}"}
            )
            x += arm.percent
    return parts


def _arm(arm: ArmStatus) -> dict[str, Any]:
    share = arm.errors / arm.decisions if arm.decisions else 0.0
    silent = "scores only" if arm.arm == "shadow" else "stands by"
    return {
        "arm": arm.arm,
        "model": arm.model_version or "none: popular products are offered",
        "traffic": silent if arm.percent is None else f"{arm.percent:g} %",
        "decisions": f"{arm.decisions:,}",
        "errors": f"{arm.errors:,} ({share:.2%})" if arm.errors else "0",
        "failing": arm.errors > 0,
        "p50": _milliseconds(arm.p50_ms),
        "p99": _milliseconds(arm.p99_ms),
    }


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"≤ {value:g} ms"


def _beside(status: Status) -> list[str]:
    """The shadow, the guard and the cost, each in a sentence."""
    lines = []
    if status.shadow is not None:
        shadow = status.shadow
        agrees = "" if shadow.overlap is None else f", {shadow.overlap:.0%} of the offers the same"
        lines.append(
            f"Shadow {shadow.model_version}: {shadow.pairs:,} requests scored beside the "
            f"answer{agrees}, {shadow.errors:,} errors, {shadow.dropped:,} left out."
        )
    guard = status.guard
    if guard.last_reason:
        when = f" at {at(guard.last_at)}" if guard.last_at else ""
        lines.append(f"The guard took out {guard.last_model}{when}: {guard.last_reason}.")
    else:
        lines.append("The guard has taken nothing out since this worker started.")
    cost = status.cost
    if cost.cpu_seconds_per_1000 is not None:
        logged = (
            f", {cost.log_bytes_per_1000 / 1e3:,.0f} kB of log" if cost.log_bytes_per_1000 else ""
        )
        lines.append(
            f"1,000 answers cost {cost.cpu_seconds_per_1000:.2f} seconds of processor time{logged}."
        )
    return lines


def _data(seen: Seen) -> list[tuple[str, str, str]]:
    rows = []
    snapshot = seen.status.snapshot
    if snapshot is None:
        rows.append(("Offers", "no snapshot: run `make demo`, or materialise serving", "bad"))
    else:
        late = "past the freshness limit: load the missing drops" if snapshot.stale else ""
        held = (
            f"{snapshot.households:,} households, {snapshot.candidates:,} candidates, "
            f"{snapshot.features} features"
        )
        rows += [
            ("Offers as of", f"{snapshot.as_of}{', ' + late if late else ''}", _bad(late)),
            (
                "Offers from data of",
                f"{at(snapshot.known_at)}, {ago(snapshot.known_at, seen.now)}",
                "",
            ),
            ("Offers for", held, ""),
            ("Offer snapshot", f"{snapshot.version} of data {snapshot.data_snapshot}", ""),
        ]
    if seen.actions is None:
        said = "no plan: materialise serving.action_snapshot (`make run`)"
        rows.append(("Actions", said, "warn"))
    else:
        late = "past the freshness limit" if seen.actions["stale"] else ""
        known = seen.actions["known_at"]
        rows += [
            (
                "Actions for week",
                f"{seen.actions['week']}{', ' + late if late else ''}",
                _bad(late),
            ),
            ("Actions from data of", f"{at(known)}, {ago(known, seen.now)}", ""),
            (
                "Action snapshot",
                f"{seen.actions['version']} of model {seen.actions['model_version']}",
                "",
            ),
        ]
    return rows


def _bad(late: str) -> str:
    return "bad" if late else ""


def _checks(health: Health | None, now: datetime) -> dict[str, Any]:
    if health is None:
        line = "No run has written its checks yet: `make run` does."
        return {"lines": [line], "mood": "warn", "failed": []}
    failed = [row for row in health.assets if row.failed]
    good = len(health.assets) - len(failed)
    when = f"{at(health.made_at)}, {ago(health.made_at, now)}"
    lines = [f"{good} of {len(health.assets)} assets passed all their checks; as of {when}."]
    if (now - health.made_at).days >= CHECKS_AGE_DAYS:
        lines.append("That is older than a week: is the weekly schedule running?")
    rows = [
        {
            "asset": row.asset,
            "weeks": f" ({', '.join(row.failed_weeks)})" if row.failed_weeks else "",
            "reason": row.reason or "no reason recorded",
        }
        for row in failed[:SHOWN_FAILURES]
    ]
    return {"lines": lines, "mood": "bad" if failed else "good", "failed": rows}


def _incident(row: Mapping[str, Any]) -> dict[str, str]:
    evidence = row.get("evidence") or {}
    facts = ", ".join(
        f"{name} {value}"
        for name, value in evidence.items()
        if isinstance(value, str | int | float)
    )
    return {
        "when": at(datetime.fromisoformat(row["opened_at"])),
        "title": str(row["title"]),
        "facts": facts,
    }
