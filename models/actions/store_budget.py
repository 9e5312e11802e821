"""One store's plan under a budget of its own: the week's optimiser over that store's candidates."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import polars as pl

from models.actions.plan import Plan, plan
from models.actions.rules import Rule
from models.actions.settings import Limits
from models.actions.solve import solve
from models.actions.weekly import TREATED
from models.lift.actions import ACTIONS

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


def beside_tests(
    candidates: pl.DataFrame, limits: Limits, tests: pl.DataFrame, *, store_id: str
) -> tuple[pl.DataFrame, Limits]:
    """What a store may still do beside its tests, and how much room they leave it.

    Args:
        candidates: Columns of ``candidates.SCHEMA``, of this store.
        limits: Of the chain's week.
        tests: The store's rows of a plan that are tests or compare: their products are taken.
        store_id: The store.
    """
    # What was promised stays: a plan without it is none.
    promised = {r.product_id for r in limits.required if r.store_id == store_id}
    taken = sorted(set(tests["product_id"]) - promised)
    treated = tests.filter(pl.col("kind") == TREATED)
    by_name = {action.name: action for action in ACTIONS}
    done = [by_name[name] for name in treated["action"]]
    own = limits.of(store_id)
    caps = dict(limits.category_caps)
    for category, count in Counter(treated["category"]).items():
        cap = _less(caps.get(category, own.category_cap), count)
        if cap is not None:
            caps[category] = cap
    left = replace(
        own,
        display_slots=_less(own.display_slots, sum(a.display for a in done)),
        mailer_slots=_less(own.mailer_slots, sum(a.mailer for a in done)),
        actions=_less(own.actions, len(done)),
    )
    return (
        candidates.filter(~pl.col("product_id").is_in(taken)),
        replace(limits, stores={**limits.stores, store_id: left}, category_caps=caps),
    )


def _less(most: int | None, used: int) -> int | None:
    return None if most is None else max(most - used, 0)


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
