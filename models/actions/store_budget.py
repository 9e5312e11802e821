"""One store's plan under a budget of its own: the week's optimiser over that store's candidates."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl

from models.actions.plan import Plan, plan
from models.actions.rules import Rule
from models.actions.settings import Limits
from models.actions.solve import solve

# A caller waits for it; a store's few hundred candidates take some milliseconds.
SECONDS = 2.0


def store_plan(candidates: pl.DataFrame, limits: Limits, *, store_id: str, budget: float) -> Plan:
    """The best plan of one store that costs no more than ``budget``.

    Args:
        candidates: Columns of ``candidates.SCHEMA``, of this store.
        limits: Of the chain's week; the chain's budget is not asked, so give no more than the
            store's part of the standing plan costs.
        store_id: The store.
        budget: What its actions may cost together, not negative.

    Raises:
        ContradictionError: No plan keeps all limits: say, what was promised costs more.
        ValueError: Bad candidates, or a negative budget.
    """
    own = limits.of(store_id)
    spent = budget if own.budget is None else min(budget, own.budget)
    here = replace(
        limits,
        budget=None,
        stores={store_id: replace(own, budget=spent)},
        required=tuple(r for r in limits.required if r.store_id == store_id),
    )
    return plan(candidates, here, seconds=SECONDS)


def affordable_tests(tests: pl.DataFrame, *, budget: float) -> pl.DataFrame:
    """The tests of one store worth most together that cost no more than ``budget``.

    Args:
        tests: Rows with ``value`` and ``cost``; a store that only compares costs nothing.
        budget: What they may cost together.
    """
    costs = tests["cost"].to_numpy()
    if costs.sum() <= budget:
        return tests
    rule = Rule("budget", "", np.arange(tests.height), costs, high=budget, unit="money")
    # What it may be worth is what a test is for; one that may be worth nothing still counts a bit.
    gains = np.maximum(tests["value"].to_numpy(), 1e-3)
    found = solve(gains, groups=[], rules=[rule], seconds=SECONDS)
    return tests[found.chosen]
