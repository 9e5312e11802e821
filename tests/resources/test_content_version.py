"""Content versions: the same rows have the same one however they come, other rows another."""

from __future__ import annotations

from datetime import date

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.content_version import EMPTY, contents, versions
from tests.resources.test_lake import RATES, SALES, WEEKS

ROWS = st.lists(
    st.tuples(st.sampled_from(WEEKS), st.text(max_size=5), st.integers(-(2**40), 2**40)),
    max_size=30,
)


def frame(rows: list[tuple[date, str, int]]) -> pl.DataFrame:
    schema = {"week_start": pl.Date, "store_id": pl.String, "units": pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row")


@given(ROWS, st.randoms(use_true_random=False), st.integers(1, 4))
def test_order_and_division_do_not_matter(rows: list, random, parts: int) -> None:
    whole = versions([contents(frame(rows), SALES)], WEEKS)
    shuffled = random.sample(rows, len(rows))
    divided = [contents(frame(shuffled[i::parts]), SALES) for i in range(parts)]
    assert versions(divided, WEEKS) == whole
    assert [v.rows for v in whole] == [sum(r[0] == w for r in rows) for w in WEEKS]


@given(ROWS.filter(bool), st.integers(0), st.integers(1, 9))
def test_another_value_is_another_version(rows: list, place: int, more: int) -> None:
    at = place % len(rows)
    week, store, units = rows[at]
    other = [*rows[:at], (week, store, units + more), *rows[at + 1 :]]
    before, after = (versions([contents(frame(r), SALES)], WEEKS) for r in (rows, other))
    changed = [b.week for b, a in zip(before, after, strict=True) if b != a]
    assert changed == [week]


@given(ROWS.filter(bool))
def test_a_row_twice_is_not_a_row_once(rows: list) -> None:
    once, twice = (versions([contents(frame(r), SALES)], WEEKS) for r in (rows, [*rows, rows[0]]))
    assert once != twice


def test_columns_are_told_apart_by_name_not_by_place() -> None:
    rows = frame([(WEEKS[0], "a", 1)])
    assert contents(rows, SALES) == contents(rows.select(reversed(rows.columns)), SALES)


def test_a_narrower_type_of_the_same_values_is_the_same() -> None:
    rows = frame([(WEEKS[0], "a", 1), (WEEKS[0], "b", 2)])
    narrow = rows.with_columns(
        pl.col("units").cast(pl.Int32), pl.col("store_id").cast(pl.Enum(["b", "a"]))
    )
    assert contents(narrow, SALES) == contents(rows, SALES)


def test_a_table_without_weeks_has_one_version() -> None:
    (version,) = versions([contents(pl.DataFrame({"rate": [0.5, 0.7]}), RATES)], None)
    assert (version.week, version.rows) == (None, 2)
    (nothing,) = versions([contents(RATES.empty(), RATES)], None)
    assert nothing.rows == 0
    assert nothing.data_version != version.data_version


def test_a_week_without_rows_is_empty() -> None:
    (version,) = versions([], WEEKS[:1])
    assert (version.rows, version.data_version) == (0, EMPTY)


def test_rows_of_another_week_are_refused() -> None:
    part = contents(frame([(WEEKS[0], "a", 1), (WEEKS[1], "a", 1)]), SALES)
    with pytest.raises(ValueError, match=str(WEEKS[1])):
        versions([part], WEEKS[:1])
    with pytest.raises(ValueError, match="whole table"):
        versions([part], None)
