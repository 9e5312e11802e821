from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from models.actions.proposals import proposals
from models.actions.sample_size import shortest, store_weeks, stores_per_arm
from models.actions.settings import TrialSettings
from tests.models.actions.markets import candidate, free, market

TRIAL = TrialSettings(
    power=0.8, alpha=0.05, dispersion=2.0, correlation=0.0, least_weeks=1, most_weeks=8
)


def test_by_hand() -> None:
    # (1.95996 + .84162)^2 x 2 x (10 + 12) / 4 = 86.35
    assert store_weeks(mean=10, lift=2, trial=TRIAL) == pytest.approx(86.34, abs=0.01)
    assert stores_per_arm(mean=10, lift=2, weeks=4, trial=TRIAL) == 22
    assert shortest(mean=10, lift=2, stores=60, trial=TRIAL) == (3, 29)
    assert shortest(mean=10, lift=2, stores=10, trial=TRIAL) is None


def test_correlated_weeks_ask_for_more_stores() -> None:
    trial = TrialSettings(dispersion=2.0, correlation=0.5)
    assert stores_per_arm(mean=10, lift=2, weeks=4, trial=trial) == 54


def test_the_power_is_what_it_says() -> None:
    rng = np.random.default_rng(1)
    trial = TrialSettings(dispersion=1.0, correlation=0.0)
    n = stores_per_arm(mean=5, lift=1, weeks=1, trial=trial)
    control, treated = rng.poisson(5, (2000, n)), rng.poisson(6, (2000, n))
    error = np.sqrt((control.var(axis=1) + treated.var(axis=1)) / n)
    seen = np.abs(treated.mean(axis=1) - control.mean(axis=1)) / error > 1.96
    assert seen.mean() == pytest.approx(0.8, abs=0.03)


@pytest.mark.parametrize(("mean", "lift"), [(10, 0), (-1, 2), (1, -2)])
def test_what_cannot_be_tested(mean: float, lift: float) -> None:
    with pytest.raises(ValueError, match="has no test"):
        store_weeks(mean=mean, lift=lift, trial=TRIAL)


def rows(product: str, category: str, *, value: float, stores: int = 80, **columns: object) -> list:
    facts = {"category": category, "evidence": "model_only", "response": 10 + value} | columns
    return [
        candidate(f"{s:02}", product, value=value, width=1.96, cost=1, **facts)
        for s in range(stores)
    ]


def test_the_largest_prize_of_each_category_is_proposed() -> None:
    frame = market(
        *rows("a", "SODA", value=3.0),
        *rows("b", "SODA", value=2.5),
        *rows("c", "BEER", value=2.0),
        # Surely loses: nothing to know.
        *rows("d", "WINE", value=-9.0),
    )
    found = proposals(frame, frame.clear(), free(), TRIAL, seed=1)
    assert [(p.product_id, p.feasible) for p in found] == [("a", True), ("c", True)]
    first = found[0]
    # 80 stores earn 3 - 1 each, with a spread of 80: 160 F(2) + 80 f(2).
    assert first.prize == pytest.approx(160 * 0.97725 + 80 * 0.05399, rel=1e-3)
    assert first.lift == pytest.approx(3)
    assert len(first.treated) == len(first.control) == first.stores
    assert not set(first.treated) & set(first.control)
    assert first.cost == pytest.approx(first.stores * first.weeks)


def test_a_lift_too_small_to_pay_is_not_what_a_test_looks_for() -> None:
    frame = market(*rows("a", "SODA", value=0.5))
    (found,) = proposals(frame, frame.clear(), free(), TRIAL, seed=1)
    # A unit earns a dollar and the action costs one.
    assert found.lift == pytest.approx(1.0)


def test_a_test_takes_only_what_the_plan_leaves() -> None:
    frame = market(
        *rows("a", "SODA", value=3.0), *rows("b", "BEER", value=3, evidence="identified")
    )
    planned = frame.filter((pl.col("product_id") == "b") & (pl.col("store_id") < "70"))
    one = replace(free(), store=replace(free().store, display_slots=1))
    (found,) = [p for p in proposals(frame, planned, one, TRIAL, seed=1) if p.product_id == "a"]
    assert found.available == 10
    assert not found.feasible
    assert found.treated == ()
    assert "more than the 10 stores" in found.says


def test_a_proven_lift_needs_no_test() -> None:
    frame = market(*rows("a", "SODA", value=4.0, evidence="identified"))
    assert proposals(frame, frame.clear(), free(), TRIAL, seed=1) == ()
