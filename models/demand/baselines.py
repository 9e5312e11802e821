"""What the demand model has to beat.

Each takes labelled examples to learn from and examples to forecast, and returns the mean units of
the latter. The rules need no training. Names in reports: ``ma13``, ``scan_pro``, ``ppml_fe``,
``gbm_no_promo``, ``lightgbm``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from models.demand import lightgbm_demand, xgboost_demand
from models.demand.features import NO_PROMOTION
from models.demand.ppml import ppml_fe
from models.demand.scan_pro import scan_pro

__all__ = [
    "LEARNED",
    "forecasts",
    "gbm_no_promo",
    "lightgbm",
    "ma13",
    "ppml_fe",
    "scan_pro",
    "zero",
]

# The offset of a model that knows of no promotion: the level as it was sold.
PLAIN_OFFSET = "level"

LEARNED = ("ma13", "scan_pro", "ppml_fe", "gbm_no_promo", "lightgbm")


def ma13(examples: pl.DataFrame) -> pl.Series:
    """Mean units of the last 13 known weeks."""
    return examples["mean_13"].cast(pl.Float64).alias("mean")


def zero(examples: pl.DataFrame) -> pl.Series:
    """Nothing will be sold: the forecast that most of a sparse panel cannot be told from."""
    return pl.Series("mean", np.zeros(examples.height))


def gbm_no_promo(
    train: pl.DataFrame,
    examples: pl.DataFrame,
    *,
    seed: int,
    params: Mapping[str, Any] = xgboost_demand.DEFAULT_PARAMS,
    rounds: int = xgboost_demand.DEFAULT_ROUNDS,
    threads: int | None = None,
) -> pl.Series:
    """The demand model without prices and promotions, past or planned."""
    model = xgboost_demand.train(
        train,
        params=params,
        rounds=rounds,
        seed=seed,
        features=NO_PROMOTION,
        offset=PLAIN_OFFSET,
        threads=threads,
    )
    return xgboost_demand.predict(model, examples, offset=PLAIN_OFFSET)


def lightgbm(
    train: pl.DataFrame,
    examples: pl.DataFrame,
    *,
    seed: int,
    params: Mapping[str, Any] = lightgbm_demand.DEFAULT_PARAMS,
    rounds: int = lightgbm_demand.DEFAULT_ROUNDS,
    threads: int | None = None,
) -> pl.Series:
    """LightGBM Tweedie on the demand model's features."""
    model = lightgbm_demand.train(train, params=params, rounds=rounds, seed=seed, threads=threads)
    return lightgbm_demand.predict(model, examples)


def forecasts(
    train: pl.DataFrame,
    examples: pl.DataFrame,
    *,
    seed: int,
    rounds: int = xgboost_demand.DEFAULT_ROUNDS,
    threads: int | None = None,
    names: Sequence[str] = LEARNED,
) -> dict[str, pl.Series]:
    """Every baseline's mean units of the examples, by name.

    Args:
        train: Labelled examples, sorted as ``demand_examples`` does.
        examples: What to forecast.
        seed: Of the two GBMs.
        rounds: Of the two GBMs.
        threads: Of the two GBMs.
        names: Which of ``LEARNED`` to make.
    """
    makers = {
        "ma13": lambda: ma13(examples),
        "scan_pro": lambda: scan_pro(train, examples),
        "ppml_fe": lambda: ppml_fe(train, examples),
        "gbm_no_promo": lambda: gbm_no_promo(
            train, examples, seed=seed, rounds=rounds, threads=threads
        ),
        "lightgbm": lambda: lightgbm(train, examples, seed=seed, rounds=rounds, threads=threads),
    }
    return {name: makers[name]() for name in names}
