"""What the calendar says of a week: its place in the year, and holidays near it."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import date, timedelta
from functools import cache

from models.calendar import monday_of

# Further away than any two of them.
_FAR = 26


def nth_weekday(year: int, *, month: int, weekday: int, n: int) -> date:
    """The n-th Monday (0) .. Sunday (6) of a month."""
    first = date(year, month, 1)
    return first + timedelta(days=(weekday - first.weekday()) % 7 + 7 * (n - 1))


def last_monday_of_may(year: int) -> date:
    return monday_of(date(year, 5, 31))


@cache
def easter(year: int) -> date:
    """Easter Sunday of the Gregorian calendar (Butcher's rule; Meeus, Astronomical Algorithms)."""
    a, b, c = year % 19, year // 100, year % 100
    d, e = divmod(b, 4)
    g = (8 * b + 13) // 25
    h = (19 * a + b - d - g + 15) % 30
    i, k = divmod(c, 4)
    m = (32 + 2 * e + 2 * i - h - k) % 7
    n = (a + 11 * h + 22 * m) // 451
    month, day = divmod(h + m - 7 * n + 114, 31)
    return date(year, month, day + 1)


# Days that move groceries in the United States, in the order of the year: code 1 is the first.
# Another country's go here.
HOLIDAYS: tuple[tuple[str, Callable[[int], date]], ...] = (
    ("new_year", lambda year: date(year, 1, 1)),
    ("super_bowl", lambda year: nth_weekday(year, month=2, weekday=6, n=1)),
    ("easter", easter),
    ("memorial_day", last_monday_of_may),
    ("independence_day", lambda year: date(year, 7, 4)),
    ("labor_day", lambda year: nth_weekday(year, month=9, weekday=0, n=1)),
    ("thanksgiving", lambda year: nth_weekday(year, month=11, weekday=3, n=4)),
    ("christmas", lambda year: date(year, 12, 25)),
)


def season_of(week: date) -> dict[str, float]:
    """Season features of the week that starts on ``week``.

    Returns:
        ``week_of_year`` (0..52), ``day_of_month`` of its Thursday (wages and benefits come early
        in the month), ``season_sin, season_cos``, ``holiday`` (its code, 0 for none),
        ``weeks_to_holiday`` and ``weeks_since_holiday`` (0 in its week).
    """
    middle = week + timedelta(days=3)
    turn = 2 * math.pi * (middle.timetuple().tm_yday - 1) / 365.25
    mondays = sorted(
        (monday_of(day(year)), code)
        for year in range(week.year - 1, week.year + 2)
        for code, (_, day) in enumerate(HOLIDAYS, start=1)
    )
    ahead = [(monday - week).days // 7 for monday, _ in mondays]
    # Of two in one week the later one: people shop for it.
    here = [code for monday, code in mondays if monday == week]
    return {
        "week_of_year": float((middle.timetuple().tm_yday - 1) // 7),
        "day_of_month": float(middle.day),
        "season_sin": math.sin(turn),
        "season_cos": math.cos(turn),
        "holiday": float(here[-1]) if here else 0.0,
        "weeks_to_holiday": float(min((d for d in ahead if d >= 0), default=_FAR)),
        "weeks_since_holiday": float(min((-d for d in ahead if d <= 0), default=_FAR)),
    }
