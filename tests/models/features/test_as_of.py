"""As-of instants: what is accepted, what is refused, and integer time."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import narwhals as nw
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.features.as_of import epoch_seconds, resolve

NEW_YORK = "America/New_York"

utc = datetime.fromisoformat


def test_a_date_is_its_midnight_in_the_business_time_zone() -> None:
    winter, summer = resolve([date(2017, 7, 3), date(2017, 1, 2)], time_zone=NEW_YORK)
    assert (winter.instant, winter.week) == (
        utc("2017-01-02T05:00"),
        date(2017, 1, 2),
    )
    assert summer.instant == utc("2017-07-03T04:00")


def test_an_instant_belongs_to_its_local_week() -> None:
    # Sunday evening in New York, Monday in UTC.
    (as_of,) = resolve([utc("2017-01-09T03:00")], time_zone=NEW_YORK)
    assert as_of.week == date(2017, 1, 2)


def test_an_aware_instant_is_converted() -> None:
    tokyo = timezone(timedelta(hours=9))
    (as_of,) = resolve([datetime(2017, 1, 4, 9, 30, tzinfo=tokyo)], time_zone=NEW_YORK)
    assert as_of.instant == utc("2017-01-04T00:30")


@pytest.mark.parametrize(
    ("as_ofs", "message"),
    [
        ([], "no as-of was given"),
        ([date(2017, 1, 3)], "2017-01-03 is a Tuesday.*pass a datetime"),
        (
            [date(2017, 1, 2), utc("2017-01-02T05:00")],
            "2017-01-02 05:00:00 occurs twice",
        ),
    ],
)
def test_refuses(as_ofs: list[date], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resolve(as_ofs, time_zone=NEW_YORK)


@given(
    st.datetimes(
        min_value=utc("1970-01-01T00:00"),
        max_value=utc("2099-12-31T00:00"),
    )
)
def test_epoch_seconds(at: datetime) -> None:
    frame = nw.from_native(pl.DataFrame({"at": [at]}, schema={"at": pl.Datetime("us")}))
    expected = int(at.replace(microsecond=0, tzinfo=UTC).timestamp())
    assert frame.select(epoch_seconds("at"))["at"].to_list() == [expected]
