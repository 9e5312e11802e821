"""Features of a household: how often, how much, how widely and at what discount it buys."""

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
    WEEK,
    YEAR,
    count,
    days_between,
    days_since,
    dollars,
    finish,
    named,
    past,
    ratio,
    recency_over_interval,
    window_sums,
    window_totals,
)

KEYS = ("household_id",)
DAYS = (WEEK, MONTH, QUARTER, YEAR)

FEATURES = (
    *named(("baskets", "lines", "units", "spend"), DAYS),
    "products_91d",
    "categories_91d",
    "basket_value_91d",
    "basket_value_364d",
    "days_since_last_basket",
    "days_since_first_basket",
    "days_between_baskets",
    "recency_over_interval",
    "discount_share_91d",
    "coupon_share_91d",
    "private_share_91d",
)

HOUSEHOLD = FeatureSet(
    name="household", keys=KEYS, features=FEATURES, version=1, window_days=max(DAYS)
)

_PRIVATE = "Private"
_QUARTER_SUMS = ("discount_cents", "coupon_cents", "regular_cents")


def household_features(
    lines: IntoFrame,
    as_ofs: Sequence[date | datetime],
    *,
    products: IntoFrame,
    time_zone: str = BUSINESS_TIME_ZONE,
) -> Any:
    """One row per as-of and household with a basket in the 364 days before it.

    Args:
        lines: ``marts.fct_basket_line``; rows at or after an as-of are ignored for it.
        as_ofs: Mondays or instants, see ``models.features.as_of``.
        products: ``marts.dim_product``; the version in force at each as-of is used.
        time_zone: IANA name of the business time zone.

    Returns:
        Lazy frame of the engine that came in: ``household_id``, ``as_of``, ``known_at`` (the
        instant) and ``FEATURES``; counts ``Int32``, all else ``Float32``; in no order. Money in
        dollars, times in days, shares in 0..1 of the value at regular price (``private_share`` of
        spend). ``days_since_first_basket`` sees 364 days, so that it does not depend on how much
        history was loaded.

    Raises:
        ValueError: As ``models.features.as_of.resolve``.
    """
    resolved = resolve(as_ofs, time_zone=time_zone)
    bought = exact_lines(
        lines, keep=(*KEYS, "product_id", "basket_id"), as_ofs=resolved, days=max(DAYS)
    )
    baskets = entity_baskets(bought, by=KEYS)
    versions = lazy(products)

    def build(as_of: AsOf) -> nw.LazyFrame:
        totals = window_totals(
            baskets,
            by=KEYS,
            as_of=as_of,
            days=DAYS,
            totals={"baskets": None, "lines": "lines", "units": "units", "spend": "paid_cents"},
            extra=window_sums(_QUARTER_SUMS, as_of=as_of, days=QUARTER),
        )
        rows = totals.join(
            _assortment(bought, versions=versions, as_of=as_of), on=list(KEYS), how="left"
        )
        return finish(rows, keys=KEYS, as_of=as_of, features=_features(as_of))

    return nw.to_native(for_each(resolved, build))


def _assortment(bought: nw.LazyFrame, *, versions: nw.LazyFrame, as_of: AsOf) -> nw.LazyFrame:
    """Distinct products and categories and private-label spend of the last quarter."""
    recent = (
        past(bought, as_of=as_of, days=QUARTER)
        .group_by(*KEYS, "product_id")
        .agg(nw.col("paid_cents").sum().cast(nw.Int64))
    )
    known = in_force(versions, as_of=as_of)
    private = nw.when(nw.col("brand") == _PRIVATE).then(nw.col("paid_cents")).otherwise(nw.lit(0))
    by_category = (
        recent.join(known, on="product_id", how="left")
        .with_columns(private.cast(nw.Int64).alias("private_cents"))
        .group_by(*KEYS, "category")
        .agg(
            nw.len().cast(nw.Int64).alias("products"),
            nw.col("private_cents").sum().cast(nw.Int64),
        )
        .with_columns((~nw.col("category").is_null()).cast(nw.Int64).alias("categories"))
    )
    return by_category.group_by(*KEYS).agg(
        *(nw.col(c).sum().cast(nw.Int64) for c in ("products", "categories", "private_cents"))
    )


def _features(as_of: AsOf) -> dict[str, nw.Expr]:
    counts = named(("baskets", "lines", "units"), DAYS)
    year = f"baskets_{YEAR}d"
    return {
        **{name: count(name) for name in counts},
        **{name: dollars(nw.col(name)) for name in named(("spend",), DAYS)},
        # No basket in the quarter leaves no row to join: none bought is zero.
        "products_91d": count("products").fill_null(0),
        "categories_91d": count("categories").fill_null(0),
        "basket_value_91d": ratio(nw.col("spend_91d"), nw.col("baskets_91d"), scale=100.0),
        "basket_value_364d": ratio(nw.col("spend_364d"), nw.col(year), scale=100.0),
        "days_since_last_basket": days_since("last_at", as_of=as_of),
        "days_since_first_basket": days_since("first_at", as_of=as_of),
        "days_between_baskets": days_between(year),
        "recency_over_interval": recency_over_interval(year, as_of=as_of),
        "discount_share_91d": ratio(nw.col("discount_cents"), nw.col("regular_cents")),
        "coupon_share_91d": ratio(nw.col("coupon_cents"), nw.col("regular_cents")),
        "private_share_91d": ratio(nw.col("private_cents"), nw.col("spend_91d")),
    }
