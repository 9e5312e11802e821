"""A store's plan within a budget is the best there is, by counting all of them."""

from __future__ import annotations

import itertools
from dataclasses import replace

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.actions.checker import violations
from models.actions.conflicts import ContradictionError
from models.actions.settings import Limits, Required, StoreLimits
from models.actions.store_budget import affordable_tests, store_plan
from tests.models.actions.markets import candidate, drawn, free, market


def best_by_counting(rows: pl.DataFrame, limits: Limits, budget: float) -> float:
    gains = rows.with_columns((pl.col("value_low") - pl.col("cost")).alias("gain"))
    choices = [
        [None, *part.to_dicts()] for part in gains.partition_by("product_id", maintain_order=True)
    ]
    best = 0.0
    for picked in itertools.product(*choices):
        chosen = [row for row in picked if row is not None]
        if sum(row["cost"] for row in chosen) > budget + 1e-9 or not chosen:
            continue
        frame = pl.DataFrame(chosen, schema_overrides=rows.schema).select(rows.columns)
        if not violations(frame, rows, limits):
            best = max(best, sum(row["gain"] for row in chosen))
    return best


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), budget=st.floats(0, 15))
def test_it_is_the_best_of_all_plans(seed: int, budget: float) -> None:
    rows, limits = drawn(seed, stores=1, products=3)
    made = store_plan(rows, limits, store_id="0", budget=budget)
    assert made.rows["cost"].sum() <= budget + 1e-6
    alone = replace(limits, budget=None)
    own = limits.of("0").budget
    least = budget if own is None else min(budget, own)
    found = float((made.rows["value_low"] - made.rows["cost"]).sum())
    assert found == pytest.approx(best_by_counting(rows, alone, least), rel=2e-3, abs=1e-6)


def test_a_promise_that_costs_more_than_the_budget_is_named() -> None:
    rows = market(candidate("1", "a", value=1, cost=9))
    promised = replace(free(), required=(Required("1", "a", "display"),))
    with pytest.raises(ContradictionError, match=r"cost at most 5\.00"):
        store_plan(rows, promised, store_id="1", budget=5)


def test_promises_of_other_stores_do_not_count() -> None:
    rows = market(candidate("1", "a", value=10, cost=2))
    promised = replace(free(), required=(Required("2", "b", "display"),))
    assert store_plan(rows, promised, store_id="1", budget=5).rows.height == 1


def test_the_stores_own_budget_still_holds() -> None:
    rows = market(candidate("1", "a", value=10, cost=4), candidate("1", "b", value=9, cost=4))
    limits = replace(free(), stores={"1": replace(free().store, budget=5.0)})
    assert isinstance(limits.of("1"), StoreLimits)
    made = store_plan(rows, limits, store_id="1", budget=100)
    assert made.rows["product_id"].to_list() == ["a"]


def test_tests_are_bought_by_what_they_may_be_worth() -> None:
    tests = market(
        candidate("1", "a", value=5, cost=3),
        candidate("1", "b", value=4, cost=2),
        candidate("1", "c", value=3, cost=2),
    )
    assert affordable_tests(tests, budget=7).height == 3
    # 4 + 3 for 4 beats 5 for 3.
    assert affordable_tests(tests, budget=4)["product_id"].to_list() == ["b", "c"]
    assert affordable_tests(tests, budget=0).is_empty()
