from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest

from models.evaluation.calibration import evaluate_calibration
from tests.models.evaluation.test_metrics import WEEK


def served(
    probability: np.ndarray, outcome: np.ndarray, *, per_household: int = 10
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Offers, ``per_household`` to each, and which of them were bought."""
    n = len(probability)
    offers = pl.DataFrame(
        {
            "household_id": [f"h{i // per_household:05}" for i in range(n)],
            "as_of": [WEEK] * n,
            "product_id": [f"p{i % per_household}" for i in range(n)],
            "probability": probability,
        }
    )
    return offers, offers.filter(pl.Series(outcome.astype(bool))).drop("probability")


def drawn(slope: float, *, intercept: float = 0.0, n: int = 40_000) -> tuple:
    rng = np.random.default_rng(1)
    x = rng.normal(-1.5, 1.2, n)
    truth = 1 / (1 + np.exp(-(intercept + slope * x)))
    return served(1 / (1 + np.exp(-x)), rng.random(n) < truth)


@pytest.mark.parametrize("slope", [0.6, 1.0, 1.4])
def test_the_slope_is_recovered(slope: float) -> None:
    found = evaluate_calibration(*drawn(slope))
    assert found.slope == pytest.approx(slope, abs=0.05)
    assert found.slope_low < slope < found.slope_high
    assert found.intercept == pytest.approx(0.0, abs=0.06)
    assert (found.ece < 0.01) == (slope == 1.0)


def test_too_high_shows_in_the_intercept() -> None:
    found = evaluate_calibration(*drawn(1.0, intercept=-0.5))
    assert found.intercept == pytest.approx(-0.5, abs=0.06)
    assert found.mean_probability > found.mean_outcome


def test_bins_by_hand() -> None:
    found = evaluate_calibration(
        *served(np.array([0.1, 0.1, 0.3, 0.3]), np.array([0, 1, 0, 0]), per_household=2)
    )
    assert found.bins.select("bin", "offers", "probability", "outcome").rows() == [
        (2, 2, 0.1, 0.5),
        (4, 2, 0.3, 0.0),
    ]
    assert found.ece == pytest.approx(0.5 * 0.4 + 0.5 * 0.3)
    assert (found.offers, found.households) == (4, 2)


def test_households_that_bought_nothing_count() -> None:
    offers, bought = served(np.full(20, 0.5), np.r_[np.ones(10), np.zeros(10)])
    assert evaluate_calibration(offers, bought).mean_outcome == 0.5


def test_repeating_a_household_widens_the_interval() -> None:
    rng = np.random.default_rng(2)
    x = np.repeat(rng.normal(-1, 1, 2000), 10)
    same = np.repeat(rng.random(2000) < 1 / (1 + np.exp(-x[::10])), 10)
    apart = rng.random(20_000) < 1 / (1 + np.exp(-x))
    p = 1 / (1 + np.exp(-x))
    one, other = (evaluate_calibration(*served(p, y)) for y in (same, apart))
    assert one.slope_high - one.slope_low > 2 * (other.slope_high - other.slope_low)


@pytest.mark.parametrize(
    ("probability", "outcome"),
    [([0.2, 0.4], [0, 0]), ([0.3, 0.3], [0, 1]), ([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1])],
)
def test_without_variation_or_an_end_there_is_no_slope(probability: list, outcome: list) -> None:
    found = evaluate_calibration(*served(np.array(probability), np.array(outcome)))
    assert math.isnan(found.slope)


def test_certainty_is_finite() -> None:
    found = evaluate_calibration(*served(np.array([0.0, 0.0, 1.0, 1.0]), np.array([1, 0, 0, 1])))
    assert found.slope == pytest.approx(0.0, abs=1e-9)


def test_a_missing_probability_is_refused() -> None:
    offers, bought = served(np.array([0.5, np.nan]), np.array([1, 0]))
    with pytest.raises(ValueError, match="have a probability outside"):
        evaluate_calibration(offers, bought)
