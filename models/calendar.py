"""Business weeks: from instants in UTC to the Mondays that key every weekly partition, and back."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import polars as pl

ONE_WEEK = timedelta(days=7)


def business_week(sold_at: pl.Expr, *, time_zone: str) -> pl.Expr:
    """Monday of the business week of an instant.

    Args:
        sold_at: Naive UTC ``Datetime``.
        time_zone: IANA name of the retailer's time zone; a week starts at its midnight.

    Returns:
        ``Date`` expression.
    """
    local = sold_at.dt.replace_time_zone("UTC").dt.convert_time_zone(time_zone).dt.date()
    return local - pl.duration(days=local.dt.weekday().cast(pl.Int64) - 1)


def monday_of(day: date) -> date:
    return day - timedelta(days=day.weekday())


def start_of_week(week: date, *, time_zone: str) -> datetime:
    """Instant at which ``week`` begins, as naive UTC.

    Raises:
        ValueError: ``week`` is not a Monday.
    """
    if week.weekday() != 0:
        raise ValueError(
            f"{week} is a {week:%A}; a week is keyed by its Monday ({monday_of(week)})"
        )
    local = datetime.combine(week, time.min, tzinfo=ZoneInfo(time_zone))
    return local.astimezone(ZoneInfo("UTC")).replace(tzinfo=None)


def end_of_week(week: date, *, time_zone: str) -> datetime:
    """Instant at which ``week`` ends (the next one begins), as naive UTC."""
    return start_of_week(week + ONE_WEEK, time_zone=time_zone)


def weeks_between(first: date, last: date) -> list[date]:
    """Mondays from ``first`` to ``last``, both included."""
    return [first + i * ONE_WEEK for i in range((last - first).days // 7 + 1)]


def week_ranges(weeks: list[date]) -> list[tuple[date, date]]:
    """Contiguous ranges (first, last) that cover ``weeks``, in order."""
    ranges: list[tuple[date, date]] = []
    for week in sorted(set(weeks)):
        if ranges and week - ranges[-1][1] == ONE_WEEK:
            ranges[-1] = (ranges[-1][0], week)
        else:
            ranges.append((week, week))
    return ranges
