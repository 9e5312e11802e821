"""Boosters as UBJSON bytes: read them, feed them, and see what they look at.

XGBoost is imported where it is used: with scikit-learn behind it that takes two seconds, which a
plan or a weekly load need not wait for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

if TYPE_CHECKING:
    import xgboost as xgb


def load(model: bytes) -> xgb.Booster:
    """The booster of UBJSON bytes."""
    import xgboost as xgb

    return xgb.Booster(model_file=bytearray(model))


def to_matrix(frame: pl.DataFrame, features: Sequence[str]) -> np.ndarray:
    """The features as a C-ordered float32 array, null as NaN.

    Args:
        frame: Examples.
        features: Columns, in the model's order.
    """
    return frame.select(pl.col(name).cast(pl.Float32) for name in features).to_numpy(order="c")


def feature_names(model: bytes | xgb.Booster) -> list[str]:
    """The features the model was trained on, in its order.

    Raises:
        ValueError: The model carries none.
    """
    booster = load(model) if isinstance(model, bytes) else model
    if not booster.feature_names:
        raise ValueError("the model carries no feature names; train it with train()")
    return list(booster.feature_names)


def importance(model: bytes | xgb.Booster) -> pl.DataFrame:
    """Share of the total gain by feature, largest first; unused features are listed with 0.

    Returns:
        ``feature`` (String), ``gain`` (Float64, sums to 1 unless no tree splits).
    """
    booster = load(model) if isinstance(model, bytes) else model
    gains = booster.get_score(importance_type="total_gain")
    total = sum(float(np.sum(gain)) for gain in gains.values()) or 1.0
    rows = [(name, float(np.sum(gains.get(name, 0.0))) / total) for name in feature_names(booster)]
    return pl.DataFrame(rows, schema={"feature": pl.String, "gain": pl.Float64}, orient="row").sort(
        "gain", "feature", descending=[True, False]
    )
