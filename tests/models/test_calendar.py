"""Business weeks: where they begin, in which time zone, and over changes of the clock."""

from __future__ import annotations

from datetime import date, datetime
from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.calendar import (
    ONE_WEEK,
    business_week,
    end_of_week,
    monday_of,
    start_of_week,
    week_ranges,
    weeks_between,
)

NEW_YORK = "America/New_York"
utc = datetime.fromisoformat


def week_of(moment: datetime, time_zone: str = NEW_YORK) -> date:
    frame = pl.DataFrame({"at": [moment]}, schema={"at": pl.Datetime("us")})
    return frame.select(business_week(pl.col("at"), time_zone=time_zone)).item()


@pytest.mark.parametrize(
    ("moment", "week"),
    [
        ("2017-01-02 04:59:59.999999", "2016-12-26"),
        ("2017-01-02 05:00", "2017-01-02"),  # midnight in New York in winter
        ("2017-01-09 04:59", "2017-01-02"),
        ("2017-07-03 03:59", "2017-06-26"),
        ("2017-07-03 04:00", "2017-07-03"),  # and in summer
        ("2017-01-01 12:00", "2016-12-26"),
    ],
)
def test_a_week_begins_at_the_retailers_midnight(moment: str, week: str) -> None:
    assert week_of(utc(moment)) == date.fromisoformat(week)


def test_the_time_zone_decides() -> None:
    moment = utc("2017-01-02 03:00")
    assert week_of(moment) == date(2016, 12, 26)
    assert week_of(moment, "UTC") == date(2017, 1, 2)
    assert week_of(utc("2017-01-01 15:00"), "Asia/Tokyo") == date(2017, 1, 2)


def test_business_week_is_a_date_and_null_stays_null() -> None:
    frame = pl.DataFrame({"at": [None]}, schema={"at": pl.Datetime("us")})
    week = frame.select(business_week(pl.col("at"), time_zone=NEW_YORK)).to_series()
    assert week.dtype == pl.Date
    assert week.to_list() == [None]


@given(st.datetimes(min_value=utc("2010-01-01"), max_value=utc("2030-01-01")))
def test_every_instant_lies_in_its_week(moment: datetime) -> None:
    week = week_of(moment)
    assert week.weekday() == 0
    assert start_of_week(week, time_zone=NEW_YORK) <= moment
    assert moment < end_of_week(week, time_zone=NEW_YORK)


def test_weeks_with_a_change_of_the_clock_are_an_hour_off() -> None:
    hours = {
        week: (end_of_week(week, time_zone=NEW_YORK) - start_of_week(week, time_zone=NEW_YORK))
        for week in (date(2017, 3, 6), date(2017, 5, 1), date(2017, 10, 30))
    }
    assert [h.total_seconds() / 3600 for h in hours.values()] == [167, 168, 169]


def test_the_end_of_a_week_is_the_start_of_the_next() -> None:
    for week in weeks_between(date(2016, 12, 26), date(2017, 12, 25)):
        end = end_of_week(week, time_zone=NEW_YORK)
        assert end == start_of_week(week + ONE_WEEK, time_zone=NEW_YORK)
        assert end.tzinfo is None


def test_a_week_that_is_no_monday_is_refused() -> None:
    with pytest.raises(ValueError, match=r"2017-01-03 is a Tuesday; .*Monday \(2017-01-02\)"):
        start_of_week(date(2017, 1, 3), time_zone=NEW_YORK)


def test_monday_of() -> None:
    assert monday_of(date(2017, 1, 2)) == date(2017, 1, 2)
    assert monday_of(date(2017, 1, 8)) == date(2017, 1, 2)


def test_weeks_between_holds_both_ends() -> None:
    weeks = weeks_between(date(2017, 1, 2), date(2017, 1, 16))
    assert weeks == [date(2017, 1, 2), date(2017, 1, 9), date(2017, 1, 16)]
    assert weeks_between(date(2017, 1, 2), date(2017, 1, 2)) == [date(2017, 1, 2)]


@given(st.lists(st.integers(0, 60)))
def test_ranges_cover_exactly_their_weeks(numbers: list[int]) -> None:
    weeks = [date(2017, 1, 2) + n * ONE_WEEK for n in numbers]
    ranges = week_ranges(weeks)
    assert [w for first, last in ranges for w in weeks_between(first, last)] == sorted(set(weeks))
    # No two ranges touch: each is as long as it can be.
    assert all(b[0] - a[1] > ONE_WEEK for a, b in pairwise(ranges))
