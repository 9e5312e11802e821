"""Nothing at or after an as-of may change its features, computed alone or among others."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from models.features import FEATURE_SETS
from tests.models.features.tiny_marts import INSTANT, LINES, MONDAY, Marts, collected, lines_of

WEEK = timedelta(days=7)
WEDNESDAY = datetime.fromisoformat("2017-03-08T17:30")
# The range path: one call, so the lines of later as-ofs are in the same frame.
RANGE = [MONDAY - WEEK, WEDNESDAY, MONDAY, MONDAY + WEEK, MONDAY + 2 * WEEK]

# Ids of the past among them, so that the future collides with its households and baskets.
ids = st.sampled_from(["h1", "h2", "h9"])
baskets = st.sampled_from(["b1", "b2", "b3", "b5", "b9"])
products = st.sampled_from(["milk", "bread", "fuel", "new"])
money = st.integers(min_value=0, max_value=5_000).map(lambda cents: cents / 100)
future_lines = st.lists(
    st.tuples(
        ids,
        st.sampled_from(["s1", "s2", "s9"]),
        baskets,
        products,
        st.integers(min_value=0, max_value=90_000),
        money,
        money,
        money,
        money,
        st.integers(min_value=0, max_value=60 * 86_400).map(
            lambda s: INSTANT + timedelta(seconds=s)
        ),
    ),
    max_size=12,
)
future_versions = st.lists(
    st.tuples(
        products,
        st.sampled_from(["Private", "National", None]),
        st.sampled_from(["DAIRY", "OTHER", None]),
        st.sampled_from(["MILK", "LOAF", None]),
        st.integers(min_value=1, max_value=60 * 86_400).map(
            lambda s: INSTANT + timedelta(seconds=s)
        ),
    ),
    max_size=4,
)
future_promotions = st.lists(
    st.tuples(
        products,
        st.sampled_from(["s1", "s2"]),
        st.sampled_from([MONDAY, MONDAY + WEEK]),
        st.booleans(),
        st.booleans(),
    ),
    max_size=6,
    unique_by=lambda r: r[:3],
)


def past_of(marts: Marts) -> Marts:
    return {
        "lines": marts["lines"].filter(pl.col("sold_at") < INSTANT),
        "products": marts["products"].filter(pl.col("known_at") <= INSTANT),
        "promotions": marts["promotions"].filter(pl.col("week_start") < MONDAY),
    }


def with_future(marts: Marts, **future: list[tuple[Any, ...]]) -> Marts:
    return {
        name: pl.concat(
            [frame, pl.DataFrame(future[name], schema=frame.schema, orient="row")]
        ).sample(fraction=1.0, shuffle=True, seed=7)
        for name, frame in marts.items()
    }


@pytest.mark.parametrize("name", list(FEATURE_SETS))
@given(lines=future_lines, versions=future_versions, promotions=future_promotions)
@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_the_future_changes_nothing(
    name: str,
    marts: Marts,
    lines: list[tuple[Any, ...]],
    versions: list[tuple[Any, ...]],
    promotions: list[tuple[Any, ...]],
) -> None:
    past = past_of(marts)
    mutated = with_future(past, lines=lines, products=versions, promotions=promotions)
    alone = collected(name, past, [MONDAY])
    assert_frame_equal(collected(name, mutated, [MONDAY]), alone, check_exact=True)
    among = collected(name, mutated, RANGE).filter(pl.col("known_at") <= INSTANT)
    assert_frame_equal(among, collected(name, past, RANGE[:3]), check_exact=True)


@pytest.mark.parametrize("name", list(FEATURE_SETS))
def test_the_test_above_can_fail(name: str, marts: Marts) -> None:
    """A changed past row does change the features, through the same comparison."""
    past = past_of(marts)
    changed = dict(past)
    hour = timedelta(hours=1)
    changed["lines"] = lines_of(
        [(*r[:5], r[5] + 1.0, *r[6:9], r[9] - hour) for r in past["lines"].rows()]
    )
    with pytest.raises(AssertionError):
        assert_frame_equal(
            collected(name, changed, [MONDAY]), collected(name, past, [MONDAY]), check_exact=True
        )


@pytest.mark.parametrize("engine", ["in-memory", "streaming"])
@pytest.mark.parametrize("name", list(FEATURE_SETS))
def test_a_range_equals_its_single_as_ofs(name: str, engine: str, marts: Marts) -> None:
    together = collected(name, marts, RANGE, engine=engine)
    apart = pl.concat([collected(name, marts, [as_of], engine=engine) for as_of in RANGE])
    assert together.height > 0
    assert_frame_equal(together, apart, check_exact=True)


@pytest.mark.parametrize("name", list(FEATURE_SETS))
def test_history_before_the_window_changes_nothing(name: str, marts: Marts) -> None:
    """So a caller may load only the window, and the online service keep only a year."""
    days = FEATURE_SETS[name].window_days
    start = INSTANT - timedelta(days=days)
    trimmed = {**marts, "lines": marts["lines"].filter(pl.col("sold_at") >= start)}
    assert trimmed["lines"].height < len(LINES)
    assert_frame_equal(
        collected(name, trimmed, [MONDAY]), collected(name, marts, [MONDAY]), check_exact=True
    )
