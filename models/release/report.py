"""The release report: who is released and why, how healthy, what the judge says, what happened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from models.evaluation.pages import environment
from models.release.judge import Verdict
from models.release.ledger import Event, Releases


def document(
    events: Sequence[Event],
    releases: Releases,
    *,
    reviews: Sequence[Mapping[str, Any]],
    verdict: Verdict | None,
    retraining: Mapping[str, Any],
    now: datetime,
) -> dict[str, Any]:
    """Figures for machines, which are also all that the page shows.

    Args:
        events: The ledger's, of one name, oldest first.
        releases: Its state now.
        reviews: Health reviews as JSON values, the newest release first.
        verdict: Of the canary; ``None`` without one.
        retraining: What the retraining policy says: ``retrain``, ``trigger``, ``reason``.
        now: Naive UTC.
    """
    places = {
        place: {
            "model_version": held.model_version,
            "model_tag": held.model_tag,
            "percent": held.percent,
            "since": held.since.isoformat(),
        }
        for place in ("live", "canary", "shadow", "previous_live")
        if (held := getattr(releases, place)) is not None
    }
    live = releases.live
    entered = [e for e in events if live and e.model_version == live.model_version]
    met: list[Sequence[Mapping[str, Any]]] = [
        e.evidence["gates"] for e in entered if e.evidence.get("gates")
    ]
    promoted = next((e for e in reversed(entered) if e.state == "live"), None)
    return {
        "report": "release",
        "at": now.isoformat(timespec="seconds"),
        "places": places,
        "why_live": {
            "reason": promoted.reason,
            "actor": promoted.actor,
            "forced": promoted.forced,
            "verdict": promoted.evidence.get("verdict"),
            "reasons": promoted.evidence.get("reasons", []),
            "gates": met[-1] if met else [],
        }
        if promoted
        else None,
        "judge": verdict.evidence() if verdict else None,
        "reviews": list(reviews),
        "retraining": dict(retraining),
        "history": [
            {
                "id": e.id,
                "at": e.at.isoformat(timespec="seconds"),
                "model_version": e.model_version,
                "state": e.state,
                "percent": e.percent,
                "actor": e.actor,
                "reason": e.reason,
                "forced": e.forced,
            }
            for e in events
        ],
    }


def render_html(found: Mapping[str, Any]) -> str:
    """The page of a ``document``: one file, light and dark, no script."""
    return environment().get_template("release.html.j2").render(found=found)
