"""A smaller budget: a store's actions are planned anew beside its tests, not against them."""

from __future__ import annotations

from collections import Counter
from datetime import date
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from models.actions.settings import read_settings
from models.actions.weekly import CONTROL, TREATED, week_plan
from models.serving.action_snapshot import worth_keeping
from models.serving.recommendations import recommend
from tests.models.actions.markets import candidate, market

WEEK = date(2018, 1, 1)
SETTINGS = read_settings("""
[limits]
weeks_between = 0
[limits.store]
display_slots = 1
mailer_slots = 1
actions = 2
category_cap = 1
[exploration]
share = 0.0
[testing]
correlation = 0.0
dispersion = 1.0
""")


@pytest.fixture(scope="module")
def snapshot() -> Any:
    """Twelve stores that test the mailer of pB; its display, and that of pC, surely pay."""
    rows = []
    for n in range(12):
        store, one, two = f"s{n:02d}", {"category": "c0"}, {"category": "c1"}
        rows += [
            candidate(store, "pA", value=30, width=2, cost=9, week_start=WEEK, **one),
            candidate(store, "pB", value=6, width=1, cost=1, week_start=WEEK, **two),
            candidate(store, "pC", value=5, width=1, cost=1, week_start=WEEK, **two),
            candidate(
                store,
                "pB",
                "mailer",
                value=40,
                width=20,
                cost=1,
                evidence="model_only",
                week_start=WEEK,
                **two,
            ),
        ]
    made = week_plan(market(*rows), SETTINGS)

    def by_store(frame: pl.DataFrame) -> dict[str, pl.DataFrame]:
        return {
            str(key[0]): part for key, part in frame.partition_by("store_id", as_dict=True).items()
        }

    return SimpleNamespace(
        plan=by_store(made.table()),
        candidates=by_store(worth_keeping(made.candidates, SETTINGS)),
        settings=SETTINGS,
    )


@pytest.mark.parametrize("budget", [None, 9.0, 8.0, 3.0, 2.0, 1.0, 0.0])
def test_no_budget_contradicts_the_stores_own_tests(snapshot: Any, budget: float | None) -> None:
    kinds: Counter[str] = Counter()
    for store in snapshot.plan:
        told = recommend(snapshot, store_id=store, k=20, budget=budget).actions
        kinds.update(row["kind"] for row in told)
        products = Counter(row["product_id"] for row in told)
        assert max(products.values(), default=0) <= 1, (store, told)
        carried_out = [row["action"] for row in told if row["kind"] != CONTROL]
        assert carried_out.count("display") <= 1
        if any(row["kind"] == TREATED for row in told):
            # The one place of the category is the test's.
            assert products["pC"] == 0
    assert kinds[CONTROL] > 0
    if budget is None or 1 <= budget < 9:
        assert kinds[TREATED] > 0
