"""What a product would sell in a store under another plan: the forecast's own answer, one row.

The features of the asked plan come from the functions that made those of every forecast, over the
rows they look at: the product's rivals in the store and the product in all stores. So the answer is
that of a forecast of the whole panel with the asked plan in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from models.demand import xgboost_demand
from models.demand.dispersion import Dispersion
from models.demand.drivers import contributions
from models.demand.features import FEATURES, GROUPS
from models.demand.plan import own_features, rival_features
from models.demand.plan_basis import PlanBasis
from models.demand.prices import MAX_DISCOUNT
from models.demand.series import KEYS

if TYPE_CHECKING:
    import xgboost as xgb


@dataclass(frozen=True)
class AskedPlan:
    """A plan for one product in one store and week.

    Attributes:
        price: Per unit, above zero.
        display: Code, "0" for none.
        mailer: Code, "0" for none.
    """

    price: float
    display: str
    mailer: str


@dataclass(frozen=True)
class Expected:
    """Units of a week under one plan.

    Attributes:
        units: Mean.
        low: Lower end of the 95 % interval.
        high: Upper end.
        drivers: Units that each group of features brings; they sum to the mean.
    """

    units: float
    low: float
    high: float
    drivers: Mapping[str, float]


@dataclass(frozen=True)
class WhatIf:
    """An asked plan beside the one that stands.

    Attributes:
        asked: Under the asked plan.
        standing: Under the plan that stands.
        discount: Share off the base price that the asked price is; 0 without a base price.
    """

    asked: Expected
    standing: Expected
    discount: float


def what_if(
    basis: PlanBasis,
    asked: AskedPlan,
    *,
    place: int,
    booster: xgb.Booster,
    dispersion: Dispersion,
    correction: float,
) -> WhatIf:
    """Expected units under the asked plan and under the one that stands.

    Args:
        basis: Of the week.
        asked: The plan; all others stay as they stand.
        place: Row of the product in the store.
        booster: One week ahead.
        dispersion: Of the same training.
        correction: Factor of the week's forecasts (``drift.corrected``).
    """
    base = basis.rows["base_price"][place]
    discount = min(max(1.0 - asked.price / base, 0.0), MAX_DISCOUNT) if base else 0.0
    features = np.stack(
        [_features(basis, asked, place=place, discount=discount), basis.features[place]]
    )
    level = basis.rows["clean_level"][place]
    examples = pl.DataFrame(features, schema=dict.fromkeys(FEATURES, pl.Float32)).with_columns(
        *(pl.lit(basis.rows[name][place]).alias(name) for name in KEYS),
        pl.lit(level).alias(xgboost_demand.OFFSET),
    )
    mean = xgboost_demand.predict(booster, examples).to_numpy() * correction
    low, high = dispersion.interval(mean)
    brought = contributions(booster, examples)
    first, second = (
        Expected(
            units=float(mean[i]),
            low=float(low[i]),
            high=float(high[i]),
            drivers={g: float(brought[f"units_{g}"][i]) * correction for g in GROUPS},
        )
        for i in (0, 1)
    )
    return WhatIf(asked=first, standing=second, discount=discount)


def _features(basis: PlanBasis, asked: AskedPlan, *, place: int, discount: float) -> np.ndarray:
    """The row's features under the asked plan."""
    s = basis.history.series
    seen = np.flatnonzero(
        (s.store_category.of_row == s.store_category.of_row[place])
        | (s.product.of_row == s.product.of_row[place])
    )
    here = int(np.searchsorted(seen, place))
    chosen = pl.Series(np.arange(seen.size) == here)
    plan = basis.rows[seen].with_columns(
        pl.when(chosen).then(pl.lit(value)).otherwise(pl.col(name)).alias(name)
        for name, value in {
            "price": asked.price,
            "discount": discount,
            "display": asked.display,
            "mailer": asked.mailer,
        }.items()
    )
    made = own_features(basis.history, seen, plan) | rival_features(
        basis.history, seen, plan, level=plan["clean_level"].to_numpy()
    )
    row = basis.features[place].copy()
    for name, values in made.items():
        row[FEATURES.index(name)] = np.float32(values[here])
    return row
