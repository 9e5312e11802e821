"""Poisson pseudo-maximum likelihood with effects of product-store and week.

Santos Silva and Tenreyro, "The log of gravity" (2006): the mean is exp(product-store + week +
coefficients x promotion), fitted by the Poisson score whatever the distribution. Given the
coefficients both sets of effects have a closed form, so the fit alternates between them and a
Newton step on the coefficients; no dummy matrix is built.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from models.demand.scan_pro import terms

# Change of a coefficient or effect, on the log scale, at which it has settled.
TOLERANCE = 1e-6
MAX_ROUNDS = 500
# A coefficient moves at most so far in one round.
MAX_STEP = 1.0
# Weeks whose effects the coming one is expected to have.
RECENT_WEEKS = 4


@dataclass(frozen=True)
class Ppml:
    """A fitted model.

    Attributes:
        pairs: ``store_id, product_id, pair_effect``; without those that never sold.
        weeks: Week to its effect; they sum to zero.
        coefficients: Of ``scan_pro.TERMS``.
        rounds: Until it settled.
    """

    pairs: pl.DataFrame
    weeks: dict[date, float]
    coefficients: np.ndarray
    rounds: int


def fit(train: pl.DataFrame) -> Ppml:
    """Fit to labelled examples.

    Raises:
        ValueError: Nothing was sold, or the fit does not settle.
    """
    pair = ["store_id", "product_id"]
    sold = train.filter(
        pl.col("units").sum().over(pair) > 0, pl.col("units").sum().over("week_start") > 0
    )
    if sold.is_empty():
        raise ValueError("PPML: nothing was sold in the training weeks; choose weeks with sales")
    x = terms(sold).to_numpy()
    y = sold["units"].cast(pl.Float64).to_numpy()
    keys = sold.select(pair).unique(maintain_order=True).with_row_index("i")
    i = sold.select(pair).join(keys, on=pair, how="left", maintain_order="left")["i"].to_numpy()
    names = sold["week_start"].unique().sort()
    t = np.searchsorted(names.to_numpy(), sold["week_start"].to_numpy())
    sums_i, sums_t = np.bincount(i, weights=y), np.bincount(t, weights=y)
    beta = np.zeros(x.shape[1])
    alpha, gamma = np.zeros(keys.height), np.zeros(names.len())
    for done in range(1, MAX_ROUNDS + 1):
        before = np.concatenate([beta, gamma])
        lift = np.exp(x @ beta)
        alpha = np.log(sums_i / np.bincount(i, weights=lift * np.exp(gamma)[t]))
        gamma = np.log(sums_t / np.bincount(t, weights=lift * np.exp(alpha)[i]))
        alpha, gamma = alpha + gamma.mean(), gamma - gamma.mean()
        mean = lift * np.exp(alpha[i] + gamma[t])
        beta = beta + _newton(x, y, mean, i=i)
        if np.abs(np.concatenate([beta, gamma]) - before).max() < TOLERANCE:
            return Ppml(
                pairs=keys.drop("i").with_columns(pl.Series("pair_effect", alpha)),
                weeks=dict(zip(names.to_list(), gamma.tolist(), strict=True)),
                coefficients=beta,
                rounds=done,
            )
    raise ValueError(
        f"PPML: no fit after {MAX_ROUNDS} rounds; a promotion may never have been sold under, or "
        "always: look at its weeks"
    )


def _newton(x: np.ndarray, y: np.ndarray, mean: np.ndarray, *, i: np.ndarray) -> np.ndarray:
    """A step on the coefficients with the product-store effects profiled out."""
    weight = np.bincount(i, weights=mean)
    centred = np.column_stack([v - (np.bincount(i, weights=v * mean) / weight)[i] for v in x.T])
    information = (centred * mean[:, None]).T @ centred
    # A term that never varies has no information, and no effect.
    information[np.diag_indices_from(information)] += 1e-9 * max(1.0, float(mean.sum()))
    step = np.linalg.solve(information, centred.T @ (y - mean))
    return np.clip(step, -MAX_STEP, MAX_STEP)


def predict(model: Ppml, examples: pl.DataFrame) -> pl.Series:
    """Mean units: the pair's effect, the recent weeks' mean effect, the plan.

    A pair that never sold in training sells nothing.
    """
    recent = sorted(model.weeks)[-RECENT_WEEKS:]
    week = float(np.log(np.mean([np.exp(model.weeks[w]) for w in recent])))
    pair = ["store_id", "product_id"]
    effects = examples.select(pair).join(model.pairs, on=pair, how="left", maintain_order="left")
    log_mean = terms(examples).to_numpy() @ model.coefficients + week
    effect = effects["pair_effect"].fill_null(-np.inf).to_numpy()
    return pl.Series("mean", np.exp(effect + log_mean))


def ppml_fe(train: pl.DataFrame, examples: pl.DataFrame) -> pl.Series:
    """``fit`` and ``predict`` in one call."""
    return predict(fit(train), examples)
