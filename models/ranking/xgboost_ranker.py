"""The learned ranker: XGBoost ``rank:ndcg`` over candidate features, trained and scored.

A model is its UBJSON bytes, which carry the feature names. Training on rows in the same order gives
the same bytes on every run and with any number of threads. XGBoost is imported where it is used:
with scikit-learn behind it that takes two seconds, which a plan or a weekly load need not wait for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from models.ranking.dataset import EVENT, LABEL
from models.ranking.sampling import learnable
from models.xgboost_booster import feature_names, load, to_matrix

if TYPE_CHECKING:
    import xgboost as xgb

# Held equal for training and quantising: XGBoost asks for it twice. Twice as many rank the tuning
# weeks no better (NDCG@10 .3046 and .3045, the second with half the negatives) and take longer.
MAX_BIN = 64

FIXED_PARAMS: Mapping[str, Any] = {
    "objective": "rank:ndcg",
    "tree_method": "hist",
    "max_bin": MAX_BIN,
    # Pairs are taken from the top of the list by rank. The other method draws them at random.
    "lambdarank_pair_method": "topk",
    "lambdarank_num_pair_per_sample": 32,
    "verbosity": 1,
}

# On tuning weeks of The Complete Journey 100 trees of half the step rank better than 50 (NDCG@10
# .3091 and .3076) in twice the time; these are between the two.
DEFAULT_ROUNDS = 80

# A sound start before any tuning.
DEFAULT_PARAMS: Mapping[str, Any] = {
    "eta": 0.12,
    "max_depth": 5,
    "min_child_weight": 50.0,
    "reg_lambda": 5.0,
    "colsample_bytree": 0.5,
}


@dataclass(frozen=True)
class RankingData:
    """Examples in the form XGBoost takes: a quantised matrix, labels and one group per event."""

    matrix: xgb.QuantileDMatrix
    features: tuple[str, ...]
    rows: int
    events: int


def prepare(
    examples: pl.DataFrame, *, features: Sequence[str], threads: int | None = None
) -> RankingData:
    """Quantise labelled examples; events in which no candidate was bought are left out.

    Those events have no pair to learn from, and are about half of all.

    Args:
        examples: Frame of ``dataset.examples`` with ``label``, sorted by as-of, household and
            product.
        features: Feature columns.
        threads: Threads to use; all by default. The result does not depend on it.

    Raises:
        ValueError: Rows are not sorted, or no event has a bought candidate.
    """
    useful = learnable(examples)
    import xgboost as xgb

    groups = useful.select(pl.struct(*EVENT).rle_id().alias("group"))["group"]
    matrix = xgb.QuantileDMatrix(
        to_matrix(useful, features),
        label=useful[LABEL].to_numpy(),
        qid=groups.to_numpy(),
        feature_names=list(features),
        max_bin=MAX_BIN,
        nthread=threads,
    )
    return RankingData(
        matrix=matrix,
        features=tuple(features),
        rows=useful.height,
        events=int(groups[-1]) + 1,
    )


def fit(
    data: RankingData,
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
    rounds: int,
    seed: int,
    threads: int | None = None,
) -> bytes:
    """``prepare`` and ``fit`` in one call; arguments and errors as theirs."""
    data = prepare(examples, features=features, threads=threads)
    return fit(data, params=params, rounds=rounds, seed=seed, threads=threads)


def score(model: bytes | xgb.Booster, matrix: np.ndarray) -> np.ndarray:
    """Score rows; larger is better, comparable within one event.

    Args:
        model: UBJSON bytes, or a booster that is kept loaded.
        matrix: Float32, rows x features in the order of ``feature_names``.

    Returns:
        Float32 scores, one per row.
    """
    booster = load(model) if isinstance(model, bytes) else model
    return booster.inplace_predict(matrix)


def score_frame(
    model: bytes | xgb.Booster, frame: pl.DataFrame, *, predict_type: str = "value"
) -> pl.Series:
    """Score examples by the feature names the model carries, whatever their order in ``frame``.

    Args:
        model: UBJSON bytes, or a booster that is kept loaded.
        frame: Examples.
        predict_type: ``value``, or ``margin`` for what is summed before any link function.

    Returns:
        ``score`` (Float64), the same numbers as those of ``score`` on ``to_matrix``.
    """
    booster = load(model) if isinstance(model, bytes) else model
    columns = frame.select(pl.col(name).cast(pl.Float32) for name in feature_names(booster))
    if frame.is_empty():
        return pl.Series("score", [], dtype=pl.Float64)
    # Columns are read where they lie: making a matrix of them takes a fifth of the scoring.
    scores = booster.inplace_predict(columns.rechunk(), predict_type=predict_type)
    return pl.Series("score", scores, dtype=pl.Float32).cast(pl.Float64)
