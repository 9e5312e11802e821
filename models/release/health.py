"""The health review of a release: on the day it went live and a week later, one word and why."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

import polars as pl

from models.release.ledger import Event
from models.release.sequences import share_interval

Health = Literal["Unhealthy", "Guardrails failing", "No data", "Ready", "Released"]
Review = Literal["on the day", "a week later"]

DAY = timedelta(days=1)
REVIEWS: dict[Review, timedelta] = {"on the day": DAY, "a week later": timedelta(days=7)}
# What came before the release, to compare with.
BEFORE = timedelta(days=7)
# Below it a share of a few per cent cannot be told from none.
LEAST_DECISIONS = 200
# The whole interval must lie beyond a limit before it counts.
ALPHA = 0.01

# Failed answers: a service objective of one in a thousand, or twice what was before.
MOST_ERRORS, TIMES_BEFORE = 0.001, 2.0
# Percentage points more than before.
MORE_EMPTY, MORE_FALLBACKS = 0.01, 0.05
# Times the 95th percentile before.
SLOWER = 1.2

COLUMNS: dict[str, pl.DataType | type[pl.DataType]] = {
    "decided_at": pl.Datetime("us"),
    "model_version": pl.String,
    "arm": pl.String,
    "error": pl.String,
    "latency_ms": pl.Float64,
    "empty": pl.Boolean,
    "fallback": pl.String,
}


class Incident(NamedTuple):
    """What opened, when, and about which model, if about one."""

    at: datetime
    title: str
    model_version: str | None


@dataclass(frozen=True)
class Served:
    """What a model's answers came to.

    Attributes:
        decisions: Answers, failed ones included.
        errors: Failed ones.
        empty: Without offers.
        fallbacks: Flagged as not the ordinary answer.
        p95_ms: 95th percentile of latency; ``None`` without answers.
    """

    decisions: int
    errors: int
    empty: int
    fallbacks: int
    p95_ms: float | None


@dataclass(frozen=True)
class HealthReview:
    """One review of one release.

    Attributes:
        model_version: The release.
        released_at: When it went live, naive UTC.
        review: ``on the day`` or ``a week later``.
        from_at: Start of what is reviewed.
        to_at: Its end: a day or a week on, the end of the release, or now.
        complete: Whether the whole time has passed.
        health: The verdict.
        reason: In words.
        served: Since it went live.
        before: By the model before, in the week before; ``None`` for the first release.
    """

    model_version: str
    released_at: datetime
    review: Review
    from_at: datetime
    to_at: datetime
    complete: bool
    health: Health
    reason: str
    served: Served
    before: Served | None

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {k: v.isoformat() if isinstance(v, datetime) else v for k, v in asdict(self).items()}


def reviews(
    events: Sequence[Event],
    decisions: pl.DataFrame,
    incidents: Iterable[Incident] = (),
    *,
    now: datetime,
) -> list[HealthReview]:
    """Both reviews of every release, the newest release first.

    Args:
        events: The ledger's, of one name, oldest first.
        decisions: Columns of ``COLUMNS``: requests that reached a decision.
        incidents: All that opened; those about another model are not this release's fault.
        now: Naive UTC.

    Returns:
        A release whose week has not begun its second review yet has only the first.
    """
    lives = [e for e in events if e.state == "live"]
    found = []
    for place, event in enumerate(lives):
        ended = next(
            (
                e
                for e in events
                if e.id > event.id
                and e.model_version == event.model_version
                and e.state in {"retired", "rolled_back"}
            ),
            None,
        )
        before = lives[place - 1] if place else None
        for name, span in REVIEWS.items():
            if name != "on the day" and now < event.at + DAY:
                continue
            found.append(
                _review(
                    event,
                    name,
                    span=span,
                    ended=ended,
                    before=before,
                    decisions=decisions,
                    incidents=list(incidents),
                    now=now,
                )
            )
    return found[::-1]


def served(decisions: pl.DataFrame, version: str, first: datetime, last: datetime) -> Served:
    """What a model answered as the live one in a time."""
    rows = decisions.filter(
        # Where the model failed, popular products answered.
        ((pl.col("model_version") == version) | pl.col("model_version").is_null())
        & pl.col("arm").is_in(["live", "baseline"])
        & (pl.col("decided_at") >= first)
        & (pl.col("decided_at") < last)
    )
    p95 = rows.filter(pl.col("error").is_null())["latency_ms"].quantile(0.95)
    return Served(
        decisions=rows.height,
        errors=int(rows["error"].is_not_null().sum()),
        empty=int(rows["empty"].fill_null(value=False).sum()),
        fallbacks=int(rows["fallback"].is_not_null().sum()),
        p95_ms=None if p95 is None or math.isnan(p95) else float(p95),
    )


def _review(
    event: Event,
    name: Review,
    *,
    span: timedelta,
    ended: Event | None,
    before: Event | None,
    decisions: pl.DataFrame,
    incidents: Sequence[Incident],
    now: datetime,
) -> HealthReview:
    due = event.at + span
    to_at = min(due, now, ended.at if ended else now)
    ours = served(decisions, event.model_version, event.at, to_at)
    theirs = (
        served(decisions, before.model_version, event.at - BEFORE, event.at) if before else None
    )
    opened = [
        i.title
        for i in incidents
        if event.at <= i.at < to_at and i.model_version in {None, event.model_version}
    ]
    health, reason = _verdict(ours, theirs, ended=ended, opened=opened, due=due, name=name, now=now)
    return HealthReview(
        model_version=event.model_version,
        released_at=event.at,
        review=name,
        from_at=event.at,
        to_at=to_at,
        complete=now >= due or ended is not None,
        health=health,
        reason=reason,
        served=ours,
        before=theirs,
    )


def _verdict(
    ours: Served,
    theirs: Served | None,
    *,
    ended: Event | None,
    opened: Sequence[str],
    due: datetime,
    name: Review,
    now: datetime,
) -> tuple[Health, str]:
    if ended is not None and ended.state == "rolled_back" and ended.at < due:
        return "Unhealthy", f"rolled back by {ended.actor}: {ended.reason}"
    if opened:
        return "Unhealthy", f"{len(opened)} incident(s): {'; '.join(opened[:3])}"
    if ours.decisions < LEAST_DECISIONS:
        return "No data", (
            f"{ours.decisions:,} decisions, {LEAST_DECISIONS:,} are needed; look whether the "
            "service runs and logs"
        )
    unhealthy, failing = _broken(ours, theirs)
    if unhealthy or failing:
        return "Unhealthy" if unhealthy else "Guardrails failing", "; ".join(unhealthy + failing)
    well = f"{ours.decisions:,} decisions, {ours.errors:,} failed, no guardrail failed"
    if name == "a week later" and now >= due:
        return "Released", f"a week without harm: {well}"
    return "Ready", f"{well}; the review of a week is still to come"


def _broken(ours: Served, theirs: Served | None) -> tuple[list[str], list[str]]:
    """What makes it unhealthy, and which guardrails fail."""
    unhealthy: list[str] = []
    failing: list[str] = []
    errors = _share(theirs.errors, theirs.decisions) if theirs else 0.0
    limit = max(MOST_ERRORS, TIMES_BEFORE * errors)
    if _surely_above(ours.errors, ours.decisions, limit):
        unhealthy.append(
            f"{_share(ours.errors, ours.decisions):.2%} of the answers failed, at most "
            f"{limit:.2%} may"
        )
    if theirs is None or theirs.decisions < LEAST_DECISIONS:
        return unhealthy, failing
    for what, mine, then, more in (
        ("empty", ours.empty, theirs.empty, MORE_EMPTY),
        ("fallback", ours.fallbacks, theirs.fallbacks, MORE_FALLBACKS),
    ):
        allowed = _share(then, theirs.decisions) + more
        if _surely_above(mine, ours.decisions, allowed):
            failing.append(
                f"{_share(mine, ours.decisions):.2%} {what} answers, at most {allowed:.2%} may be"
            )
    if ours.p95_ms and theirs.p95_ms and ours.p95_ms > SLOWER * theirs.p95_ms:
        failing.append(
            f"95th percentile of latency {ours.p95_ms:.2f} ms, {theirs.p95_ms:.2f} ms before"
        )
    return unhealthy, failing


def _surely_above(bad: int, of: int, limit: float) -> bool:
    low, _ = share_interval(bad, of, alpha=ALPHA)
    return bool(low > limit)


def _share(bad: int, of: int) -> float:
    return bad / of if of else 0.0
