"""Bounds by hand: mixtures with a null, sums and products of uncertain parts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from models.lift.bounds import (
    TAIL,
    mixture_bounds,
    null_probability,
    recovered,
    scaled,
)


def of(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float64)


def test_without_nulls_bounds_are_those_of_a_normal() -> None:
    low, high = mixture_bounds(of(1.0), of(0.5), of(0.0))
    assert low[0] == pytest.approx(1.0 - 1.95996 * 0.5, abs=1e-4)
    assert high[0] == pytest.approx(1.0 + 1.95996 * 0.5, abs=1e-4)


def test_a_likely_null_holds_the_bound_at_zero() -> None:
    # The normal alone would say 0.6 .. 1.4.
    low, high = mixture_bounds(of(1.0), of(0.2), of(0.1))
    assert low[0] == 0.0
    assert 1.0 < high[0] < 1.4


@given(
    mean=st.floats(-3, 3),
    spread=st.floats(0.05, 2),
    null=st.floats(0, 0.999),
)
def test_bounds_hold_at_least_what_they_promise(mean: float, spread: float, null: float) -> None:
    low, high = mixture_bounds(of(mean), of(spread), of(null))
    normal = stats.norm(mean, spread)
    held = (1 - null) * (normal.cdf(high[0] + 1e-9) - normal.cdf(low[0] - 1e-9))
    held += null * (low[0] <= 0.0 <= high[0])
    assert held >= 1 - 2 * TAIL - 1e-6


def test_data_that_say_nothing_leave_the_null_share() -> None:
    null = null_probability(
        mean=of(0.4), spread=of(0.3), prior_mean=of(0.4), prior_spread=of(0.3), null_share=0.1
    )
    assert null[0] == pytest.approx(0.1)


@pytest.mark.parametrize("effect", [0.1, 0.3, 0.8, 2.0])
@pytest.mark.parametrize("error", [0.1, 0.3, 1.0])
def test_nulls_are_claimed_less_than_once_in_twenty(effect: float, error: float) -> None:
    # All others respond alike by `effect`; this product does not, and its data have `error`.
    draws = np.random.default_rng(1).normal(0.0, error, 40_000)
    prior_spread = 0.01
    spread = np.full_like(draws, (prior_spread**-2 + error**-2) ** -0.5)
    mean = spread**2 * (effect / prior_spread**2 + draws / error**2)
    null = null_probability(
        mean=mean,
        spread=spread,
        prior_mean=np.full_like(draws, effect),
        prior_spread=np.full_like(draws, prior_spread),
        null_share=0.1,
    )
    low, _ = mixture_bounds(mean, spread, null)
    assert (low > 0.0).mean() < 0.05


def test_parts_are_recovered_in_squares() -> None:
    low, high = recovered(of(5.0), [(of(3.0), of(1.0)), (of(4.0), of(0.0))])
    assert (low[0], high[0]) == (0.0, 6.0)


@given(
    estimate=st.floats(-5, 5),
    below=st.floats(0, 5),
    above=st.floats(0, 5),
    log_spread=st.floats(0, 2),
)
def test_an_uncertain_factor_widens_and_keeps_a_sure_sign(
    estimate: float, below: float, above: float, log_spread: float
) -> None:
    low, high = of(estimate - below), of(estimate + above)
    wider_low, wider_high = scaled(of(estimate), low, high, log_spread=of(log_spread))
    assert wider_low[0] <= estimate + 1e-9 <= wider_high[0] + 2e-9
    assert wider_low[0] <= low[0] + 1e-9
    assert wider_high[0] >= high[0] - 1e-9
    assert (wider_low[0] > 0.0) == (low[0] > 0.0)
