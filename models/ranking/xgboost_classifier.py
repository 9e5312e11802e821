"""The second head: XGBoost ``binary:logistic``, the chance that a candidate is bought.

It learns from every event, those without a purchase too: a household that does not shop buys
nothing, and a probability must know. Most of what was not bought is left out, so the probabilities
are too high until ``models.ranking.calibration`` has mapped them. A model is its UBJSON bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from models.ranking import xgboost_ranker
from models.ranking.dataset import LABEL
from models.ranking.sampling import require_sorted, thin_negatives
from models.ranking.xgboost_ranker import MAX_BIN
from models.xgboost_booster import to_matrix

if TYPE_CHECKING:
    import xgboost as xgb

FIXED_PARAMS: Mapping[str, Any] = {
    "objective": "binary:logistic",
    "tree_method": "hist",
    "max_bin": MAX_BIN,
    "verbosity": 1,
}

# As many as the rankers get.
NEGATIVES_PER_POSITIVE = 5.0
DEFAULT_ROUNDS = 80

# A sound start before any tuning.
DEFAULT_PARAMS: Mapping[str, Any] = {
    "eta": 0.12,
    "max_depth": 5,
    "min_child_weight": 10.0,
    "reg_lambda": 5.0,
    "colsample_bytree": 0.5,
}


@dataclass(frozen=True)
class ClassifierData:
    """Examples in the form XGBoost takes: a quantised matrix with labels."""

    matrix: xgb.QuantileDMatrix
    features: tuple[str, ...]
    rows: int


def prepare(
    examples: pl.DataFrame,
    *,
    features: Sequence[str],
    seed: int,
    threads: int | None = None,
    negatives_per_positive: float = NEGATIVES_PER_POSITIVE,
) -> ClassifierData:
    """Quantise labelled examples; most of what was not bought is left out by a seeded hash.

    Args:
        examples: Frame of ``dataset.examples`` with ``label``, sorted by as-of, household and
            product.
        features: Feature columns.
        seed: Of the hash.
        threads: Threads to use; all by default. The result does not depend on it.
        negatives_per_positive: Candidates kept that were not bought, for each that was.

    Raises:
        ValueError: Rows are not sorted, or no candidate was bought.
    """
    require_sorted(examples)
    if not examples[LABEL].sum():
        raise ValueError(
            f"prepare(): none of {examples.height:,} candidates was bought, so there is nothing to "
            "learn from; check that the labels' weeks are those of the examples and are mature"
        )
    rows = thin_negatives(examples, per_positive=negatives_per_positive, seed=seed)
    import xgboost as xgb

    matrix = xgb.QuantileDMatrix(
        to_matrix(rows, features),
        label=rows[LABEL].to_numpy(),
        feature_names=list(features),
        max_bin=MAX_BIN,
        nthread=threads,
    )
    return ClassifierData(matrix=matrix, features=tuple(features), rows=rows.height)


def fit(
    data: ClassifierData,
    *,
    params: Mapping[str, Any],
    rounds: int,
    seed: int,
    threads: int | None = None,
) -> bytes:
    """Train on prepared data.

    Args:
        data: From ``prepare``.
        params: XGBoost parameters beside the fixed ones.
        rounds: Number of trees.
        seed: Of row and column sampling.
        threads: As for ``prepare``.

    Returns:
        The booster as UBJSON.

    Raises:
        ValueError: ``params`` would override a fixed parameter.
    """
    fixed = sorted(set(params) & {*FIXED_PARAMS, "seed", "nthread"})
    if fixed:
        raise ValueError(
            f"fit(): {fixed} are fixed for this model family; remove them from the parameters"
        )
    import xgboost as xgb

    settings = {**FIXED_PARAMS, **params, "seed": seed}
    if threads is not None:
        settings["nthread"] = threads
    booster = xgb.train(settings, data.matrix, num_boost_round=rounds)
    return bytes(booster.save_raw(raw_format="ubj"))


def train(
    examples: pl.DataFrame,
    *,
    features: Sequence[str],
    params: Mapping[str, Any] = DEFAULT_PARAMS,
    rounds: int = DEFAULT_ROUNDS,
    seed: int,
    threads: int | None = None,
) -> bytes:
    """``prepare`` and ``fit`` in one call; arguments and errors as theirs."""
    data = prepare(examples, features=features, seed=seed, threads=threads)
    return fit(data, params=params, rounds=rounds, seed=seed, threads=threads)


def score_frame(model: bytes | xgb.Booster, frame: pl.DataFrame) -> pl.Series:
    """Log-odds of a purchase by the feature names the model carries.

    Log-odds, not probabilities: near 0 and 1 a float32 cannot tell probabilities apart.

    Args:
        model: UBJSON bytes, or a booster that is kept loaded.
        frame: Examples, columns in any order.

    Returns:
        ``score`` (Float64), uncalibrated; larger is better.
    """
    return xgboost_ranker.score_frame(model, frame, predict_type="margin")
