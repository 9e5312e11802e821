"""Purchase labels: the window, duplicates, maturity."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import polars as pl
import pytest

from models.labels import mature, purchases
from tests.models.features.tiny_marts import INSTANT, MONDAY, line, lines_of

SECOND = timedelta(seconds=1)
WEEK = timedelta(days=7)

LINES = lines_of(
    [
        line("h1", "b1", "milk", INSTANT - SECOND),
        line("h1", "b2", "milk", INSTANT, quantity=2, sales=3.0),
        line("h1", "b3", "milk", INSTANT + WEEK - SECOND, sales=1.1),
        line("h1", "b4", "bread", INSTANT + WEEK, quantity=3),
        line("h2", "b5", "fuel", INSTANT + timedelta(days=1), quantity=9_000, sales=20.0),
    ]
)


def labels(lines: pl.DataFrame, as_ofs: list[date | datetime], **options: int) -> pl.DataFrame:
    answer = purchases(lines.lazy(), as_ofs, **options).collect()
    return answer.sort("as_of_at", "household_id", "product_id")


def test_the_window_is_the_week_from_the_as_of_on() -> None:
    rows = labels(LINES, [MONDAY]).rows()
    known_at = INSTANT + 2 * WEEK
    assert rows == [
        ("h1", "milk", MONDAY, INSTANT, 3, pytest.approx(4.1), known_at),
        ("h2", "fuel", MONDAY, INSTANT, 1, 20.0, known_at),
    ]


def test_a_range_equals_its_single_as_ofs() -> None:
    as_ofs = [MONDAY - WEEK, MONDAY, INSTANT + timedelta(days=3), MONDAY + WEEK]
    together = labels(LINES, as_ofs)
    assert together.height == 6
    assert together.equals(pl.concat([labels(LINES, [as_of]) for as_of in as_ofs]))


def test_an_instant_inside_a_week_starts_its_own_window() -> None:
    frame = labels(LINES, [INSTANT + SECOND])
    milk = frame.filter(product_id="milk").row(0, named=True)
    assert (milk["as_of"], milk["as_of_at"]) == (MONDAY, INSTANT + SECOND)
    assert milk["quantity"] == 1
    assert frame.filter(product_id="bread")["quantity"].to_list() == [3]


def test_the_week_in_which_the_clocks_change_is_an_hour_short() -> None:
    monday = date(2017, 3, 6)
    start, end = INSTANT - WEEK + timedelta(hours=1), INSTANT
    lines = lines_of(
        [line("h1", "b1", "milk", at) for at in (start - SECOND, start, end - SECOND, end)]
    )
    assert labels(lines, [monday])["quantity"].to_list() == [2]


def test_duplicates_count_once() -> None:
    assert labels(pl.concat([LINES, LINES]), [MONDAY]).equals(labels(LINES, [MONDAY]))


def test_a_purchase_without_units_is_a_label() -> None:
    lines = lines_of([line("h1", "b1", "milk", INSTANT, quantity=0, sales=0.5)])
    assert labels(lines, [MONDAY])["quantity"].to_list() == [0]


def test_nothing_bought_no_rows() -> None:
    assert labels(LINES.clear(), [MONDAY]).is_empty()
    assert labels(LINES, [date(2018, 1, 1)]).is_empty()


def test_maturity_follows_the_allowance() -> None:
    frame = labels(LINES, [MONDAY], late_arrival_days=0)
    assert frame["known_at"].unique().to_list() == [INSTANT + WEEK]
    with pytest.raises(ValueError, match=r"late_arrival_days is -1.*pass 0 or more"):
        labels(LINES, [MONDAY], late_arrival_days=-1)


def test_only_mature_labels_pass() -> None:
    frame = labels(LINES, [MONDAY, MONDAY + WEEK])
    at = INSTANT + 2 * WEEK
    assert mature(frame.lazy(), at=at).collect()["as_of"].unique().to_list() == [MONDAY]
    assert mature(frame.lazy(), at=at - SECOND).collect().is_empty()
    assert mature(frame.lazy(), at=at + WEEK).collect().height == frame.height


def test_maturity_needs_naive_utc() -> None:
    with pytest.raises(ValueError, match="carries a time zone; pass naive UTC"):
        mature(LINES.lazy(), at=datetime.fromisoformat("2017-03-13T04:00+00:00"))
