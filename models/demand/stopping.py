"""Parameters and number of trees by the last training weeks, where there is no study to resume.

A few settings that suit sparse, middling and dense panels are tried with early stopping on weeks
that none of them learned from; the best one then learns from all weeks.
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

# Small steps: with early stopping they cost trees, not sharpness.
CANDIDATES: tuple[Mapping[str, Any], ...] = tuple(
    MappingProxyType({**xgboost_demand.DEFAULT_PARAMS, **changes})
    for changes in (
        {},
        {"tweedie_variance_power": 1.5},
    )
)
MAX_ROUNDS = 600
PATIENCE = 30


@dataclass(frozen=True)
class Stopped:
    """A model and how it came about.

    Attributes:
        model: Learned from all weeks.
        params: Chosen.
        rounds: Trees.
        deviance: Poisson deviance on the validation weeks.
        units: Sold in the validation weeks.
        means: Forecast for them by a model that had not seen them.
    """

    model: bytes
    params: Mapping[str, Any]
    rounds: int
    deviance: float
    units: np.ndarray
    means: np.ndarray


def train_stopped(
    examples: pl.DataFrame,
    *,
    validation_weeks: Sequence[date],
    seed: int,
    threads: int | None = None,
    candidates: Sequence[Mapping[str, Any]] = CANDIDATES,
    on_step: Callable[[str], None] = lambda _: None,
) -> Stopped:
    """Choose on the validation weeks, learn from all.

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
    best: tuple[float, Mapping[str, Any], int, np.ndarray] | None = None
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
        deviance = poisson_deviance(units, means)
        power = params.get("tweedie_variance_power", 1.0)
        on_step(
            f"depth {params['max_depth']}, variance power {power}, {rounds} trees: deviance "
            f"{deviance:.4f}"
        )
        if best is None or deviance < best[0]:
            best = (deviance, params, rounds, means)
    assert best is not None  # noqa: S101
    deviance, params, rounds, means = best
    del data
    final = xgboost_demand.train(
        examples, params=params, rounds=rounds, seed=seed, features=FEATURES, threads=threads
    )
    return Stopped(final, params, rounds, deviance, units, means)
