"""A household made anew after an event: bit for bit what the batch path makes of its lines."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.ranking.candidates import SOURCES
from models.ranking.fresh import as_of_after, fresh_examples
from models.ranking.household_plans import HouseholdPlans
from tests.models.ranking.tiny_week import (
    AS_OF,
    HOUSEHOLDS,
    INSTANT,
    STRANGER,
    at,
    examples_of,
    known_of,
    line,
    lines_of,
    week,
)

TUESDAY = at("2018-01-02T15:20:31")


def fresh(household: str, new: pl.DataFrame, plans: HouseholdPlans | None = None) -> pl.DataFrame:
    facts = week().facts
    lines = pl.concat([facts.lines_of(household), new])
    return fresh_examples(
        facts,
        household_id=household,
        lines=lines,
        at=as_of_after(lines["sold_at"].max(), facts=facts),
        plans=plans,
    )


def batch(household: str, new: pl.DataFrame) -> pl.DataFrame:
    """The batch functions on all lines with the new ones appended; the chain stands still."""
    instant = as_of_after(new["sold_at"].max(), facts=week().facts) if new.height else INSTANT
    known = known_of(pl.concat([week().lines, new]), chain=week().lines, instant=instant)
    return examples_of(known, instant=instant).filter(pl.col("household_id") == household)


def test_without_an_event_the_rows_are_the_snapshots() -> None:
    made = [fresh(h, week().lines.clear()) for h in HOUSEHOLDS]
    assert pl.concat(made).sort("household_id", "product_id").equals(week().examples)
    # Every source takes part, or this would prove little.
    seen = {
        s for s in SOURCES if week().examples[f"{s}_rank"].null_count() < week().examples.height
    }
    assert seen == set(SOURCES)


@pytest.mark.parametrize(
    "new",
    [
        [line(HOUSEHOLDS[0], "p07", TUESDAY, basket="n1")],
        # A product that nobody has bought, one that nobody listed, and a store it never visited.
        [
            line(HOUSEHOLDS[0], "a-new", TUESDAY, basket="n1", store="s9"),
            line(HOUSEHOLDS[0], "zz-new", TUESDAY, basket="n1", store="s9"),
        ],
        [line(STRANGER, "p07", TUESDAY, basket="n1"), line(STRANGER, "p08", TUESDAY, basket="n1")],
        [
            line(HOUSEHOLDS[5], f"p{n:02d}", TUESDAY.replace(hour=hour), basket=f"n{hour}")
            for n in range(6)
            for hour in (3, 9)
        ],
        [line(HOUSEHOLDS[1], "p01", TUESDAY, basket="n1", quantity=90_000, paid=0.0)],
        # Of the week after the facts'.
        [line(HOUSEHOLDS[1], "p01", at("2018-01-09T12:00:00"), basket="n1")],
    ],
)
def test_after_an_event_the_rows_are_the_batchs(new: list[tuple]) -> None:
    lines = lines_of(new)
    household = lines["household_id"][0]
    made, expected = fresh(household, lines), batch(household, lines)
    assert made.height > 0
    assert made.equals(expected)
    assert not made.equals(week().examples.filter(pl.col("household_id") == household))


lines_sold = st.lists(
    st.builds(
        lambda product, minutes, quantity, cents: line(
            HOUSEHOLDS[3],
            f"p{product:02d}",
            at("2018-01-01T06:00:00") + minutes * (at("2018-01-01T00:01:00") - at("2018-01-01")),
            basket=f"n{minutes}",
            quantity=quantity,
            paid=cents / 100,
        ),
        st.integers(0, 30),
        st.integers(0, 7_000),
        st.integers(0, 200),
        st.integers(0, 100_000),
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=3)
@given(lines_sold)
def test_whatever_is_bought_the_rows_are_the_batchs(new: list[tuple]) -> None:
    lines = lines_of(new)
    assert fresh(HOUSEHOLDS[3], lines).equals(batch(HOUSEHOLDS[3], lines))


def test_kept_plans_change_nothing() -> None:
    plans = HouseholdPlans(week().facts)
    for household in HOUSEHOLDS[:2]:
        new = lines_of([line(household, "p07", TUESDAY, basket="n1")])
        assert fresh(household, new, plans).equals(fresh(household, new))


def test_an_as_of_is_the_next_full_hour_and_never_before_the_week() -> None:
    facts = week().facts
    assert as_of_after(TUESDAY, facts=facts) == at("2018-01-02T16:00:00")
    assert as_of_after(at("2018-01-02T15:00:00"), facts=facts) == at("2018-01-02T16:00:00")
    assert as_of_after(at("2017-12-30T15:00:00"), facts=facts) == INSTANT
    assert fresh(HOUSEHOLDS[0], lines_of([line(HOUSEHOLDS[0], "p07", TUESDAY, basket="n1")]))[
        "as_of"
    ].unique().to_list() == [AS_OF]
