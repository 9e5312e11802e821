"""A challenger: LightGBM Tweedie on the same features and the same offset, without constraints.

Software: Ke et al., NIPS 2017. A model is its text. LightGBM is imported where it is used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import polars as pl

from models.demand.features import FEATURES
from models.demand.xgboost_demand import OFFSET, check_examples, weights
from models.xgboost_booster import to_matrix

FIXED_PARAMS: Mapping[str, Any] = MappingProxyType(
    {
        "objective": "tweedie",
        "max_bin": 127,
        "deterministic": True,
        # Left to itself LightGBM times both layouts and takes the faster, which differs by run.
        "force_row_wise": True,
        "feature_pre_filter": False,
        "verbosity": -1,
    }
)
DEFAULT_ROUNDS = 200
DEFAULT_PARAMS: Mapping[str, Any] = MappingProxyType(
    {
        "tweedie_variance_power": 1.1,
        "learning_rate": 0.06,
        "num_leaves": 48,
        "min_data_in_leaf": 100,
        "lambda_l2": 10.0,
        "feature_fraction": 0.5,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
    }
)


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
    """Train on labelled examples; arguments and errors as ``xgboost_demand.train``.

    Returns:
        The model as UTF-8 text.
    """
    import lightgbm as lgb

    check_examples(examples, offset=offset)
    settings = {**FIXED_PARAMS, **params, "seed": seed}
    if threads is not None:
        settings["num_threads"] = threads
    data = lgb.Dataset(
        to_matrix(examples, features),
        label=examples["units"].to_numpy(),
        weight=weights(examples),
        init_score=np.log(examples[offset].to_numpy()),
        feature_name=list(features),
        params=settings,
    )
    booster = lgb.train(settings, data, num_boost_round=rounds)
    return booster.model_to_string().encode()


def predict(model: bytes, examples: pl.DataFrame, *, offset: str = OFFSET) -> pl.Series:
    """Mean units of each example, ``mean`` (Float64)."""
    import lightgbm as lgb

    booster = lgb.Booster(model_str=model.decode())
    raw = booster.predict(to_matrix(examples, booster.feature_name()), raw_score=True)
    return pl.Series("mean", np.exp(np.log(examples[offset].to_numpy()) + np.asarray(raw)))
