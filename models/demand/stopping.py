"""Parameters and number of trees by the last training weeks, where there is no study to resume.

A few settings are tried with early stopping on weeks that none of them learned from. Whichever
forecasts those best, one of them or the mean of all, then learns from all weeks, several times with
different draws of rows and columns, and forecasts by the mean: what is left of the chance in a
single model goes for nothing but time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType
from typing import Any

import numpy as np
import polars as pl

from models.demand import xgboost_demand
from models.demand.features import FEATURES

# Small steps: with early stopping they cost trees, not sharpness. Variance grows as the mean, or
# faster.
CANDIDATES: tuple[Mapping[str, Any], ...] = tuple(
    MappingProxyType({**xgboost_demand.DEFAULT_PARAMS, **changes})
    for changes in (
        {},
        {"tweedie_variance_power": 1.5},
    )
)
MAX_ROUNDS = 600
PATIENCE = 30
# Models that are averaged: a third and fourth of the same kind bring a tenth of what two do.
SEEDS = 2


@dataclass(frozen=True)
class Setting:
    """Parameters, and the trees that the validation weeks found enough."""

    params: Mapping[str, Any]
    rounds: int


@dataclass(frozen=True)
class Stopped:
    """What the validation weeks say.

    Attributes:
        settings: Chosen: one, or all of them, to be averaged.
        deviance: Poisson deviance on the validation weeks.
        units: Sold in the validation weeks.
        means: Forecast for them by models that had not seen them.
    """

    settings: tuple[Setting, ...]
    deviance: float
    units: np.ndarray
    means: np.ndarray


def stop(
    examples: pl.DataFrame,
    *,
    validation_weeks: Sequence[date],
    seed: int,
    threads: int | None = None,
    candidates: Sequence[Mapping[str, Any]] = CANDIDATES,
    on_step: Callable[[str], None] = lambda _: None,
) -> Stopped:
    """Choose on the validation weeks.

    Args:
        examples: Labelled examples, sorted.
        validation_weeks: The last of their weeks.
        seed: Of row and column sampling.
        threads: To use; all by default.
        candidates: Parameters to choose from.
        on_step: Told in words what was done.

    Raises:
        ValueError: As ``xgboost_demand.prepare``.
    """
    from models.evaluation.demand_metrics import poisson_deviance

    unseen = pl.col("week_start").is_in(list(validation_weeks))
    held = examples.filter(unseen)
    units = held["units"].to_numpy()
    data = xgboost_demand.prepare(examples.filter(~unseen), threads=threads)
    tried: list[tuple[tuple[Setting, ...], np.ndarray]] = []
    for params in candidates:
        model, rounds = xgboost_demand.fit_stopped(
            data,
            held,
            params=params,
            rounds=MAX_ROUNDS,
            patience=PATIENCE,
            seed=seed,
            threads=threads,
        )
        means = xgboost_demand.predict(model, held).to_numpy()
        tried.append(((Setting(params, rounds),), means))
        on_step(
            f"depth {params['max_depth']}, variance power "
            f"{params.get('tweedie_variance_power', 1.0)}, {rounds} trees: deviance "
            f"{poisson_deviance(units, means):.4f}"
        )
    together = tuple(setting for settings, _ in tried for setting in settings)
    tried.append((together, np.mean([means for _, means in tried], axis=0)))
    settings, means = min(tried, key=lambda each: poisson_deviance(units, each[1]))
    return Stopped(settings, poisson_deviance(units, means), units, means)


def learn(
    examples: pl.DataFrame,
    settings: Sequence[Setting],
    *,
    seed: int,
    threads: int | None = None,
    seeds: int = SEEDS,
) -> tuple[bytes, ...]:
    """Models of every setting, each learned ``seeds`` times with draws of its own.

    Args:
        examples: Labelled examples, sorted.
        settings: Of ``stop``.
        seed: The first seed.
        threads: To use; all by default.
        seeds: How often.
    """
    data = xgboost_demand.prepare(examples, features=FEATURES, threads=threads)
    return tuple(
        xgboost_demand.fit(
            data,
            params=setting.params,
            rounds=setting.rounds,
            seed=seed + draw,
            threads=threads,
        )
        for setting in settings
        for draw in range(seeds)
    )


def mean_of(models: Sequence[bytes], examples: pl.DataFrame) -> pl.Series:
    """Mean units of each example, the mean over the models."""
    each = [xgboost_demand.predict(model, examples).to_numpy() for model in models]
    return pl.Series("mean", np.mean(each, axis=0))
