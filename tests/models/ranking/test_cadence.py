from __future__ import annotations

import math
from datetime import date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.ranking.cadence import repeat_cadence

SCHEMA = {"household_id": pl.String, "product_id": pl.String, "at": pl.Int64}

HISTORY = pl.DataFrame(
    [
        # Every 2: due at 8. Every 3: last at 7, not due before 10. Once: takes all products'.
        *(("ann", "milk", at) for at in (2, 4, 6)),
        *(("ann", "tea", at) for at in (1, 4, 7)),
        ("ann", "ham", 5),
        # One interval of its own is no rhythm: eggs take the product's median, 4.
        *(("bob", "eggs", at) for at in (0, 4)),
    ],
    schema=SCHEMA,
    orient="row",
)


def due(purchases: int, elapsed: float, interval: float) -> float:
    x = elapsed / interval
    return purchases * x * math.exp(1 - x)


def test_by_hand() -> None:
    found = repeat_cadence(HISTORY, now=8, limit=5)
    # Intervals: 2, 2, 3, 3, 4; the median of all is 3.
    assert found.rows() == [
        ("ann", "milk", 1, pytest.approx(3.0)),
        ("ann", "tea", 2, pytest.approx(due(3, 1, 3))),
        ("ann", "ham", 3, pytest.approx(due(1, 3, 3))),
        ("bob", "eggs", 1, pytest.approx(due(2, 4, 4))),
    ]


def test_times_and_dates_are_days() -> None:
    start = datetime.fromisoformat("2017-01-01")
    at = pl.lit(start) + pl.duration(days="at")
    want = repeat_cadence(HISTORY, now=8, limit=5)
    timed = HISTORY.with_columns(at.alias("at"))
    assert repeat_cadence(timed, now=start + timedelta(days=8), limit=5).equals(want)
    dated = HISTORY.with_columns(at.cast(pl.Date).alias("at"))
    assert repeat_cadence(dated, now=date(2017, 1, 9), limit=5).equals(want)


def test_purchases_at_one_time_are_one() -> None:
    doubled = pl.concat([HISTORY, HISTORY])
    assert repeat_cadence(doubled, now=8, limit=5).equals(repeat_cadence(HISTORY, now=8, limit=5))


def test_without_any_interval_frequency_and_product_id_tell() -> None:
    once = pl.DataFrame(
        [("ann", "b", 1), ("ann", "a", 3), ("ann", "c", 2)], schema=SCHEMA, orient="row"
    )
    found = repeat_cadence(once, now=5, limit=2)
    assert found.select("product_id", "score").rows() == [("a", 1.0), ("b", 1.0)]


def test_nothing_bought_gives_nothing() -> None:
    assert repeat_cadence(HISTORY.clear(), now=8, limit=5).is_empty()


def test_only_the_households_asked_for() -> None:
    found = repeat_cadence(HISTORY, now=8, limit=5, households=pl.Series(["bob", "new"]))
    assert found["household_id"].to_list() == ["bob"]


def test_a_purchase_at_now_is_refused() -> None:
    with pytest.raises(ValueError, match="at or after 7"):
        repeat_cadence(HISTORY, now=7, limit=5)


@given(elapsed=st.integers(1, 200))
def test_most_due_after_one_interval(elapsed: int) -> None:
    history = pl.DataFrame([("ann", "tea", at) for at in (0, 20, 40)], schema=SCHEMA, orient="row")
    score = repeat_cadence(history, now=40 + elapsed, limit=1)["score"][0]
    assert 0 < score <= 3.0
    assert (score == 3.0) == (elapsed == 20)
