"""The demand model: XGBoost Poisson with an offset, monotone in price and promotion.

The offset is the log of the row's level: the trips foreseen in its store times the rate at which
the product sold there, promotions taken out. Trees learn what multiplies it. A model is its UBJSON
bytes, which carry the feature names; rows in the same order give the same bytes on every run and
with any number of threads. XGBoost is imported where it is used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from models.demand.features import FEATURES, MONOTONE
from models.demand.series import KEYS
from models.demand.thinning import WEIGHT
from models.xgboost_booster import feature_names, load, to_matrix

if TYPE_CHECKING:
    import xgboost as xgb

MAX_BIN = 128
SMALLEST_MEAN = 1e-6

FIXED_PARAMS: Mapping[str, Any] = MappingProxyType(
    {
        "objective": "count:poisson",
        "tree_method": "hist",
        "max_bin": MAX_BIN,
        # The offset is the start: a fitted intercept would be one more that nobody can explain.
        "base_score": 1.0,
        # Its own default for counts, .7, holds each leaf's step back for no gain here.
        "max_delta_step": 0.0,
        "verbosity": 1,
    }
)

DEFAULT_ROUNDS = 200

# A sound start before any tuning. Weights and penalties are in rows of average sales.
DEFAULT_PARAMS: Mapping[str, Any] = MappingProxyType(
    {
        "eta": 0.06,
        "max_depth": 6,
        "min_child_weight": 150.0,
        "reg_lambda": 50.0,
        "colsample_bytree": 0.5,
        "subsample": 0.8,
    }
)

# Column of the examples that the offset is the log of.
OFFSET = "clean_level"


@dataclass(frozen=True)
class DemandData:
    """Examples in the form XGBoost takes."""

    matrix: xgb.QuantileDMatrix
    features: tuple[str, ...]
    rows: int


def prepare(
    examples: pl.DataFrame,
    *,
    features: Sequence[str] = FEATURES,
    offset: str = OFFSET,
    threads: int | None = None,
) -> DemandData:
    """Quantise labelled examples.

    Args:
        examples: Of ``examples.demand_examples``, sorted by week, store and product; thinned ones
            with their weight.
        features: Feature columns.
        offset: Column of levels.
        threads: To use; all by default. The result does not depend on it.

    Raises:
        ValueError: There are no rows, rows are not sorted, or a row has no units or no level.
    """
    import xgboost as xgb

    check_examples(examples, offset=offset)
    # A Poisson leaf weighs as many units as it holds; so it weighs as many rows on any panel.
    rows = weights(examples)
    mean = float(np.average(examples["units"].to_numpy(), weights=rows))
    matrix = xgb.QuantileDMatrix(
        to_matrix(examples, features),
        label=examples["units"].to_numpy(),
        weight=rows / max(mean, SMALLEST_MEAN),
        base_margin=np.log(examples[offset].to_numpy()),
        feature_names=list(features),
        max_bin=MAX_BIN,
        nthread=threads,
    )
    return DemandData(matrix=matrix, features=tuple(features), rows=examples.height)


def check_examples(examples: pl.DataFrame, *, offset: str) -> None:
    """Refuse examples that no model could learn from.

    Raises:
        ValueError: As ``prepare`` says.
    """
    if examples.is_empty():
        raise ValueError("demand model: there are no examples to learn from")
    for name in ("units", offset):
        values = examples[name]
        bad = int((values.is_null() | values.is_nan()).sum())
        if bad:
            raise ValueError(
                f"demand model: {bad:,} of {examples.height:,} examples have no {name}; leave "
                "weeks out whose sales are not known yet"
            )
    if not examples.select((pl.col(offset) > 0).all()).item():
        raise ValueError(f"demand model: {offset} must be above zero; it is the offset's antilog")
    keys = examples.select(pl.struct("week_start", *KEYS[:2]).alias("key"))["key"]
    if not keys.is_sorted():
        raise ValueError(
            "demand model: examples are not sorted by week_start, store_id and product_id; "
            "demand_examples() sorts them"
        )


def weights(examples: pl.DataFrame) -> np.ndarray:
    """How many rows each stands for (``thinning``); 1 where nothing was thinned."""
    if WEIGHT not in examples.columns:
        return np.ones(examples.height)
    return examples[WEIGHT].to_numpy()


def constraints(features: Sequence[str]) -> tuple[int, ...]:
    """1 where a feature may only raise the forecast, -1 where it may only lower it, else 0."""
    return tuple(MONOTONE.get(name, 0) for name in features)


def fit(
    data: DemandData,
    *,
    params: Mapping[str, Any],
    rounds: int,
    seed: int,
    threads: int | None = None,
) -> bytes:
    """Train on prepared data.

    Args:
        data: From ``prepare``.
        params: XGBoost parameters beside the fixed ones; a ``tweedie_variance_power`` makes the
            objective Tweedie's, for sales whose variance grows faster than their mean.
        rounds: Number of trees.
        seed: Of row and column sampling.
        threads: As for ``prepare``.

    Returns:
        The booster as UBJSON.

    Raises:
        ValueError: ``params`` would override a fixed parameter.
    """
    import xgboost as xgb

    settings = _settings(data, params=params, seed=seed, threads=threads)
    booster = xgb.train(settings, data.matrix, num_boost_round=rounds)
    return bytes(booster.save_raw(raw_format="ubj"))


def fit_stopped(
    data: DemandData,
    unseen: pl.DataFrame,
    *,
    params: Mapping[str, Any],
    rounds: int,
    patience: int,
    seed: int,
    offset: str = OFFSET,
    threads: int | None = None,
) -> tuple[bytes, int]:
    """Train until the likelihood of unseen rows has not improved for a while.

    Args:
        data: From ``prepare``.
        unseen: Labelled examples of later weeks.
        params: As for ``fit``.
        rounds: Trees at most.
        patience: Trees without improvement after which to stop.
        seed: As for ``fit``.
        offset: As for ``prepare``.
        threads: As for ``prepare``.

    Returns:
        The booster up to its best tree as UBJSON, and the number of its trees.
    """
    import xgboost as xgb

    settings = _settings(data, params=params, seed=seed, threads=threads)
    watched = xgb.QuantileDMatrix(
        to_matrix(unseen, data.features),
        label=unseen["units"].to_numpy(),
        base_margin=np.log(unseen[offset].to_numpy()),
        feature_names=list(data.features),
        max_bin=MAX_BIN,
        ref=data.matrix,
        nthread=threads,
    )
    booster = xgb.train(
        {**settings, "eval_metric": "poisson-nloglik"},
        data.matrix,
        num_boost_round=rounds,
        evals=[(watched, "unseen")],
        early_stopping_rounds=patience,
        verbose_eval=False,
    )
    best = booster.best_iteration + 1
    return bytes(booster[:best].save_raw(raw_format="ubj")), best


def _settings(
    data: DemandData, *, params: Mapping[str, Any], seed: int, threads: int | None
) -> dict[str, Any]:
    fixed = sorted(set(params) & {*FIXED_PARAMS, "seed", "nthread", "monotone_constraints"})
    if fixed:
        raise ValueError(
            f"fit(): {fixed} are fixed for this model; remove them from the parameters"
        )
    settings = {
        **FIXED_PARAMS,
        **params,
        "monotone_constraints": constraints(data.features),
        "seed": seed,
    }
    if "tweedie_variance_power" in params:
        settings["objective"] = "reg:tweedie"
    return settings if threads is None else settings | {"nthread": threads}


def train(
    examples: pl.DataFrame,
    *,
    params: Mapping[str, Any] = DEFAULT_PARAMS,
    seed: int,
    rounds: int = DEFAULT_ROUNDS,
    features: Sequence[str] = FEATURES,
    offset: str = OFFSET,
    threads: int | None = None,
) -> bytes:
    """``prepare`` and ``fit`` in one call; arguments and errors as theirs."""
    data = prepare(examples, features=features, offset=offset, threads=threads)
    return fit(data, params=params, rounds=rounds, seed=seed, threads=threads)


def predict(
    model: bytes | xgb.Booster, examples: pl.DataFrame, *, offset: str = OFFSET
) -> pl.Series:
    """Mean units of each example.

    Args:
        model: UBJSON bytes, or a booster that is kept loaded.
        examples: Rows with the model's features and the level, in any order.
        offset: As the model was trained with.

    Returns:
        ``mean`` (Float64), above zero.
    """
    return pl.Series("mean", np.exp(margin(model, examples, offset=offset)))


def margin(
    model: bytes | xgb.Booster, examples: pl.DataFrame, *, offset: str = OFFSET
) -> np.ndarray:
    """Log of the mean: the offset plus what the trees add (SHAP values sum to the latter)."""
    booster = load(model) if isinstance(model, bytes) else model
    start = np.log(examples[offset].to_numpy())
    if examples.is_empty():
        return start
    features = to_matrix(examples, feature_names(booster))
    # The base score of 1 adds a log of 0.
    return start + booster.inplace_predict(features, predict_type="margin").astype(np.float64)
