"""What each driver contributes to a forecast, in logs and in units, exactly.

In logs a forecast is its offset plus one contribution per feature (TreeSHAP: Lundberg et al. 2020,
"From local explanations to global understanding with explainable AI for trees"), summed here by
group. In units the difference between forecast and base is shared out by the additive logarithmic
mean Divisia index (Ang 2004, "Decomposition analysis for policymaking in energy: which is the
preferred method?"): each group's log contribution times L = (forecast - base) / ln(forecast /
base). That sums exactly, does not depend on an order of the groups, and keeps every sign.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from models.demand.features import GROUPS
from models.demand.series import KEYS
from models.demand.xgboost_demand import OFFSET
from models.xgboost_booster import feature_names, load, to_matrix

if TYPE_CHECKING:
    import xgboost as xgb

BASE = "base"
# Nearer to each other than this, a forecast and its base have the same logarithmic mean as one.
_SAME = 1e-6


def contributions(
    model: bytes | xgb.Booster,
    examples: pl.DataFrame,
    *,
    groups: Mapping[str, Sequence[str]] = GROUPS,
    offset: str = OFFSET,
) -> pl.DataFrame:
    """Drivers of each row's forecast.

    Args:
        model: From ``xgboost_demand``.
        examples: Rows with the features and the offset.
        groups: Group to its features; ``base`` must be one, and takes the offset and the bias.
        offset: Column of levels, positive.

    Returns:
        The keys; ``log_<group>``, which sum to the log of the forecast; ``units_<group>``, which
        sum to the forecast; and ``units``, the forecast itself.

    Raises:
        ValueError: A feature belongs to no group or to two, or there is no group ``base``.
    """
    import xgboost as xgb

    booster = load(model) if isinstance(model, bytes) else model
    features = feature_names(booster)
    owner = _owners(groups, features)
    shift = np.log(examples[offset].to_numpy().astype(np.float64))
    matrix = xgb.DMatrix(to_matrix(examples, features), base_margin=shift, feature_names=features)
    # The last column is the bias and, with it, the offset.
    found = booster.predict(matrix, pred_contribs=True).astype(np.float64)
    logs = {
        group: found[:, [i for i, f in enumerate(features) if owner[f] == group]].sum(axis=1)
        for group in groups
    }
    logs[BASE] += found[:, -1]
    return examples.select(KEYS).with_columns(
        **{f"log_{group}": pl.Series(values) for group, values in logs.items()},
        **{f"units_{group}": pl.Series(values) for group, values in in_units(logs).items()},
        units=pl.Series(np.exp(np.sum(list(logs.values()), axis=0))),
    )


def in_units(logs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Log contributions as units that sum to the forecast; ``base`` is what it starts from."""
    base = np.exp(logs[BASE])
    total = np.exp(np.sum(list(logs.values()), axis=0))
    mean = logarithmic_mean(total, base)
    return {group: base if group == BASE else values * mean for group, values in logs.items()}


def logarithmic_mean(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """``(a - b) / (ln a - ln b)``, and ``a`` where both are equal; positive numbers."""
    gap = np.log(a) - np.log(b)
    near = np.abs(gap) < _SAME
    # b (e^gap - 1) / gap without cancellation; its series near zero.
    return np.where(near, b * (1 + gap / 2), b * np.expm1(gap) / np.where(near, 1.0, gap))


def of_promoted(model: bytes, examples: pl.DataFrame, *, products: int) -> pl.DataFrame:
    """Drivers by product and week of the products that sell most while they are promoted.

    Args:
        model: From ``xgboost_demand``.
        examples: Rows with the features, the offset, ``promoted`` and ``units``.
        products: How many; contributions of a row cost a hundred forecasts.
    """
    most = (
        examples.filter("promoted")
        .group_by("product_id")
        .agg(pl.col("units").sum())
        .sort("units", "product_id", descending=[True, False])
        .head(products)
    )
    rows = examples.join(most, on="product_id", how="semi", maintain_order="left")
    return by_product_and_week(contributions(model, rows))


def by_product_and_week(drivers: pl.DataFrame) -> pl.DataFrame:
    """Units of each driver per product and week, summed over stores, and the forecast."""
    columns = [c for c in drivers.columns if c.startswith("units")]
    return (
        drivers.group_by("product_id", "week_start")
        # Sorted, because a sum of floats depends on the order of its terms.
        .agg(pl.col(c).sort_by("store_id").sum() for c in columns)
        .sort("product_id", "week_start")
    )


def _owners(groups: Mapping[str, Sequence[str]], features: Sequence[str]) -> dict[str, str]:
    if BASE not in groups:
        raise ValueError(f"drivers: no group {BASE} among {', '.join(groups)}; it takes the offset")
    owner: dict[str, str] = {}
    for group, members in groups.items():
        for feature in members:
            if feature in owner:
                raise ValueError(f"drivers: {feature} is in {owner[feature]} and in {group}")
            owner[feature] = group
    homeless = [f for f in features if f not in owner]
    if homeless:
        raise ValueError(f"drivers: {', '.join(homeless)} belong to no group; add them to one")
    return owner
