"""Freshness by event time: how old the newest event is, not how long ago somebody ran something."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True)
class Freshness:
    """Verdict on a table's newest event.

    Attributes:
        age_days: Time from the newest event to now, in days; ``None`` without any event.
        allowed_days: The contract's limit.
    """

    passed: bool
    age_days: float | None
    allowed_days: int
    reason: str


def evaluate_freshness(
    *, newest: datetime | None, now: datetime, allowed_days: int, table: str
) -> Freshness:
    """Hold the newest event's age against the contract.

    Args:
        newest: Time of the newest event, naive UTC; ``None`` if there is none.
        now: The calendar's present, naive UTC: the end of the data for a calendar that has one.
        allowed_days: From the contract.
        table: For the reason.
    """
    if newest is None:
        return Freshness(
            passed=False,
            age_days=None,
            allowed_days=allowed_days,
            reason=f"{table} has no event at all; has any drop arrived?",
        )
    age = (now - newest) / timedelta(days=1)
    passed = age <= allowed_days
    verdict = "within" if passed else "past"
    return Freshness(
        passed=passed,
        age_days=age,
        allowed_days=allowed_days,
        reason=f"{table}: the newest event is {age:.1f} days old, {verdict} the allowed "
        f"{allowed_days}" + ("" if passed else "; ask the sender for the missing drops"),
    )
