"""Features of a household and a product type: whether it is due, whatever the brand."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

import narwhals as nw
from narwhals.typing import IntoFrame

from models.features.as_of import BUSINESS_TIME_ZONE, AsOf, for_each, resolve
from models.features.basket_lines import entity_baskets, exact_lines, lazy
from models.features.feature_set import FeatureSet
from models.features.product_versions import in_force
from models.features.windows import (
    MONTH,
    QUARTER,
    YEAR,
    count,
    days_between,
    days_since,
    finish,
    named,
    recency_over_interval,
    window_totals,
)

KEYS = ("household_id", "type")
DAYS = (MONTH, QUARTER, YEAR)

FEATURES = (
    *named(("purchases",), DAYS),
    "days_since_last_purchase",
    "days_between_purchases",
    "recency_over_interval",
)

HOUSEHOLD_TYPE = FeatureSet(
    name="household_type", keys=KEYS, features=FEATURES, version=1, window_days=max(DAYS)
)


def household_type_features(
    lines: IntoFrame,
    as_ofs: Sequence[date | datetime],
    *,
    products: IntoFrame,
    time_zone: str = BUSINESS_TIME_ZONE,
) -> Any:
    """One row per as-of, household and product type it bought in the 364 days before.

    Args:
        lines: ``marts.fct_basket_line``; rows at or after an as-of are ignored for it.
        as_ofs: Mondays or instants, see ``models.features.as_of``.
        products: ``marts.dim_product``; the type in force at each as-of is used. Products that no
            version names, or without a type, are left out.
        time_zone: IANA name of the business time zone.

    Returns:
        Lazy frame of the engine that came in: ``household_id, type, as_of, known_at`` and
        ``FEATURES``; counts ``Int32``, all else ``Float32``; in no order. A purchase is one
        product in one basket.

    Raises:
        ValueError: As ``models.features.as_of.resolve``.
    """
    resolved = resolve(as_ofs, time_zone=time_zone)
    pair = ("household_id", "product_id")
    exact = exact_lines(lines, keep=(*pair, "basket_id"), as_ofs=resolved, days=max(DAYS))
    bought = entity_baskets(exact, by=pair)
    versions = lazy(products)

    def build(as_of: AsOf) -> nw.LazyFrame:
        types = in_force(versions, as_of=as_of).filter(~nw.col("type").is_null())
        typed = bought.join(types.select("product_id", "type"), on="product_id", how="inner")
        totals = window_totals(typed, by=KEYS, as_of=as_of, days=DAYS, totals={"purchases": None})
        return finish(totals, keys=KEYS, as_of=as_of, features=_features(as_of))

    return nw.to_native(for_each(resolved, build))


def _features(as_of: AsOf) -> dict[str, nw.Expr]:
    year = f"purchases_{YEAR}d"
    return {
        **{name: count(name) for name in named(("purchases",), DAYS)},
        "days_since_last_purchase": days_since("last_at", as_of=as_of),
        "days_between_purchases": days_between(year),
        "recency_over_interval": recency_over_interval(year, as_of=as_of),
    }
