"""What counts as identified: odd weeks, stores of the same week, and placebo tests of many."""

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from models.lift.actions import Action
from models.lift.effects import estimate_effects
from models.lift.evidence import Rules, falsified, identified

DISPLAY = (Action("display", display=True),)
STORES, PRODUCTS, WEEKS = 16, 8, 30


def panel(*, weeks_with: int, share: float, seed: int = 3) -> pl.DataFrame:
    """Product p0 is on display in few weeks, in a share of the stores; the others often are."""
    rng = np.random.default_rng(seed)
    s, p, w = (a.ravel() for a in np.indices((STORES, PRODUCTS, WEEKS)))
    few = (p == 0) & (w >= 10) & (w < 10 + weeks_with) & (s < share * STORES)
    often = (p > 0) & ((w + 2 * p) % 6 == 0) & ((s + w) % 3 > 0)
    display = few | often
    # Products differ in what a display does: else their own data would have nothing to tell.
    effect = np.linspace(0.1, 1.0, PRODUCTS)[p]
    units = rng.poisson(30.0 * np.exp(effect * display))
    return pl.DataFrame(
        {
            "store_id": [f"s{i:02d}" for i in s],
            "product_id": [f"p{i}" for i in p],
            "week_start": [date(2017, 1, 2) + timedelta(weeks=int(i)) for i in w],
            "units": units,
            "display": np.where(display, "1", "0"),
            "mailer": ["0"] * s.size,
            "discount": [0.0] * s.size,
            "category": ["c"] * s.size,
            "type": [f"t{i % 2}" for i in p],
        }
    )


def found(**given: float) -> np.ndarray:
    return identified(estimate_effects(panel(**given)), DISPLAY)[:, 0]  # type: ignore[arg-type]


def test_two_weeks_are_enough_where_other_stores_had_the_same_weeks_without() -> None:
    made = found(weeks_with=2, share=0.5)
    assert made[0]
    assert made.mean() > 0.8


def test_two_weeks_of_every_store_may_be_odd_weeks() -> None:
    assert not found(weeks_with=2, share=1.0)[0]
    assert found(weeks_with=6, share=1.0)[0]


def test_two_stores_are_not_enough() -> None:
    assert not found(weeks_with=2, share=2 / STORES)[0]


def test_chance_failures_of_many_placebo_tests_are_allowed_for() -> None:
    # By hand: .001 <= 1/4 x .05; the next, .04, is above 2/4 x .05 and stays.
    z = np.array([3.2905, 2.0537, 0.5, -0.1])
    tested = np.ones(4, dtype=bool)
    assert falsified(z, tested=tested, rate=0.05).tolist() == [True, False, False, False]
    # Alone it would fail; and what is not tested does not.
    alone = np.array([False, True, False, False])
    assert falsified(z, tested=alone, rate=0.05).tolist() == [False, True, False, False]
    assert not falsified(z, tested=np.zeros(4, dtype=bool), rate=0.05).any()


def test_sound_products_are_seldom_turned_away() -> None:
    rng = np.random.default_rng(0)
    turned = [
        falsified(rng.normal(size=90), tested=np.ones(90, dtype=bool), rate=Rules().placebo_rate)
        for _ in range(400)
    ]
    # At 1.96 each it were one in twenty.
    assert np.mean(turned) < 0.005
    # Whether any of a family is turned away at all is what the rate bounds under the null.
    assert np.mean([t.any() for t in turned]) == pytest.approx(0.05, abs=0.03)
