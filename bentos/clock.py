"""The service's clock: naive UTC, and ages in days."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_DAY = timedelta(days=1)


def utc_now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


def age_days(known_at: datetime, now: datetime) -> float:
    return round((now - known_at) / _DAY, 3)
