"""Calibration of what was served: does a probability of .2 come true two times in ten?

Judged on the offers that households really saw. Over all pairs of households and products nearly
nothing is bought, so predicting zero everywhere would pass.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from models.evaluation.metrics import PAIR, calibration_error

# Equal-width bins of the probability, as the protocol's ECE.
BINS = 10

# Keeps log-odds finite; far below any probability worth telling from zero.
_SMALLEST = 1e-6

# Newton's method doubles its digits each step; a fit that needs more has no finite optimum.
_MAX_STEPS = 50
_CONVERGED = 1e-10

# 97.5 % point of the normal distribution.
_Z = 1.959964


@dataclass(frozen=True)
class Calibration:
    """How far served probabilities can be taken at their word.

    Attributes:
        offers: Offers judged, those to households that then bought nothing included.
        households: Households they were served to.
        ece: Expected calibration error, ten equal-width bins.
        slope: Of the logistic regression of the outcome on logit(probability) (Cox, 1958): 1 is
            right, below 1 the probabilities are too extreme, above 1 too timid. NaN if the
            outcomes or the probabilities do not vary.
        slope_low: Lower bound at 95 %, by a variance that lets one household's offers depend on
            each other.
        slope_high: Upper bound.
        intercept: Of the same regression; 0 is right.
        mean_probability: Of the offers.
        mean_outcome: Share of the offers that were bought.
        bins: ``bin (1..10), low, high, offers, probability, outcome``, bins with an offer only.
    """

    offers: int
    households: int
    ece: float
    slope: float
    slope_low: float
    slope_high: float
    intercept: float
    mean_probability: float
    mean_outcome: float
    bins: pl.DataFrame


def evaluate_calibration(offers: pl.DataFrame, purchases: pl.DataFrame) -> Calibration:
    """Judge the probabilities of served offers.

    Args:
        offers: ``household_id, as_of, product_id, probability`` (0..1) of every offer served.
        purchases: ``household_id, as_of, product_id`` of all that was bought.

    Raises:
        ValueError: No offer, or a probability is missing or outside 0..1.
    """
    bought = purchases.select(*PAIR).unique().with_columns(pl.lit(1.0).alias("outcome"))
    judged = (
        offers.select(*PAIR, pl.col("probability").cast(pl.Float64))
        .join(bought, on=list(PAIR), how="left")
        .with_columns(pl.col("outcome").fill_null(0.0))
        .sort("as_of", "household_id", "product_id")
    )
    ece = calibration_error(judged["probability"], judged["outcome"], bins=BINS)
    intercept, slope, error = _regression(
        judged["probability"].to_numpy(),
        judged["outcome"].to_numpy(),
        blocks=judged["household_id"].rank("dense").to_numpy() - 1,
    )
    return Calibration(
        offers=judged.height,
        households=judged["household_id"].n_unique(),
        ece=ece,
        slope=slope,
        slope_low=slope - _Z * error,
        slope_high=slope + _Z * error,
        intercept=intercept,
        mean_probability=float(judged["probability"].to_numpy().mean()),
        mean_outcome=float(judged["outcome"].to_numpy().mean()),
        bins=_bins(judged),
    )


def _bins(judged: pl.DataFrame) -> pl.DataFrame:
    return (
        judged.group_by(
            (pl.col("probability") * BINS).floor().clip(upper_bound=BINS - 1).alias("bin")
        )
        .agg(
            pl.len().alias("offers"),
            pl.col("probability").sort().mean(),
            pl.col("outcome").mean(),
        )
        .sort("bin")
        .select(
            (pl.col("bin") + 1).cast(pl.Int32),
            (pl.col("bin") / BINS).alias("low"),
            ((pl.col("bin") + 1) / BINS).alias("high"),
            "offers",
            "probability",
            "outcome",
        )
    )


def _regression(
    probability: np.ndarray, outcome: np.ndarray, *, blocks: np.ndarray
) -> tuple[float, float, float]:
    """Intercept, slope and the slope's standard error, NaN where there is no finite fit."""
    nothing = (np.nan, np.nan, np.nan)
    p = np.clip(probability, _SMALLEST, 1 - _SMALLEST)
    x = np.column_stack([np.ones(len(p)), np.log(p / (1 - p))])
    if np.ptp(outcome) == 0 or np.ptp(x[:, 1]) == 0:
        return nothing
    # From no effect: far from the optimum, Newton's steps overshoot.
    beta = np.zeros(2)
    for _ in range(_MAX_STEPS):
        fitted = 1 / (1 + np.exp(-np.clip(x @ beta, -30, 30)))
        information = (x * (fitted * (1 - fitted))[:, None]).T @ x
        # Singular where the probabilities separate the outcomes: the slope has no end.
        if np.linalg.cond(information) > 1 / np.finfo(float).eps:
            return nothing
        step = np.linalg.solve(information, x.T @ (outcome - fitted))
        beta = beta + step
        if np.abs(step).max() < _CONVERGED:
            break
    else:
        return nothing
    # Sandwich variance with a household as the cluster (Liang and Zeger, 1986).
    residual = (outcome - fitted)[:, None] * x
    per_block = np.column_stack(
        [np.bincount(blocks, weights=residual[:, i]) for i in range(x.shape[1])]
    )
    bread = np.linalg.inv(information)
    variance = bread @ (per_block.T @ per_block) @ bread
    return float(beta[0]), float(beta[1]), float(np.sqrt(variance[1, 1]))
