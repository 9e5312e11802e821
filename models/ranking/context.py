"""What surrounds a candidate in its week: the type's rhythm, the own store's sales, price and plan.

Joined to the candidates once, so that training, evaluation and serving see the same columns.
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

# Name in the candidates to column of the feature set.
TYPE_CONTEXT: Mapping[str, str] = {
    "hc_purchases_28d": "purchases_28d",
    "hc_purchases_91d": "purchases_91d",
    "hc_purchases_364d": "purchases_364d",
    "hc_days_since_last_purchase": "days_since_last_purchase",
    "hc_days_between_purchases": "days_between_purchases",
    "hc_recency_over_interval": "recency_over_interval",
}
STORE_CONTEXT: Mapping[str, str] = {
    "sp_households_7d": "households_7d",
    "sp_households_28d": "households_28d",
    "sp_households_91d": "households_91d",
    "sp_last_unit_price": "last_unit_price",
    "sp_regular_price_91d": "regular_price_91d",
    "sp_discount_share_91d": "discount_share_91d",
    "sp_mailer_weeks_28d": "mailer_weeks_28d",
    "sp_display_weeks_28d": "display_weeks_28d",
}
# Of the promotion plan: here 1 or 0; of all stores, how many.
PLAN_CONTEXT = ("plan_display", "plan_mailer", "plan_display_stores", "plan_mailer_stores")

CONTEXT = (*TYPE_CONTEXT, *STORE_CONTEXT, *PLAN_CONTEXT)


def with_context(
    candidates: pl.LazyFrame,
    *,
    types: pl.LazyFrame,
    household_type: pl.LazyFrame,
    stores: pl.LazyFrame,
    store_product: pl.LazyFrame,
    plan: pl.LazyFrame,
) -> pl.LazyFrame:
    """Add ``CONTEXT`` to candidates.

    Args:
        candidates: ``household_id, product_id, as_of`` and any other columns.
        types: ``product_id, as_of, type`` as known at the as-of, one row per product and as-of.
        household_type: ``features.household_type``.
        stores: ``household_id, as_of, store_id``: each household's own store.
        store_product: ``features.store_product``.
        plan: ``product_id, store_id, as_of, on_display, in_mailer`` of the as-of week.

    Returns:
        The candidates with ``CONTEXT``, Float32, null where it is not known; one row per
        candidate. A product without a promotion row is not promoted: 0.
    """
    habits = household_type.select(
        "household_id",
        "type",
        "as_of",
        *(pl.col(column).cast(pl.Float32).alias(name) for name, column in TYPE_CONTEXT.items()),
    )
    sales = store_product.select(
        "store_id",
        "product_id",
        "as_of",
        *(pl.col(column).cast(pl.Float32).alias(name) for name, column in STORE_CONTEXT.items()),
    )
    here = plan.select(
        "product_id",
        "store_id",
        "as_of",
        pl.col("on_display").cast(pl.Float32).alias("plan_display"),
        pl.col("in_mailer").cast(pl.Float32).alias("plan_mailer"),
    )
    everywhere = plan.group_by("product_id", "as_of").agg(
        pl.col("on_display").sum().cast(pl.Float32).alias("plan_display_stores"),
        pl.col("in_mailer").sum().cast(pl.Float32).alias("plan_mailer_stores"),
    )
    return (
        candidates.join(types, on=["product_id", "as_of"], how="left")
        .join(habits, on=["household_id", "type", "as_of"], how="left")
        .join(stores, on=["household_id", "as_of"], how="left")
        .join(sales, on=["store_id", "product_id", "as_of"], how="left")
        .join(here, on=["store_id", "product_id", "as_of"], how="left")
        .join(everywhere, on=["product_id", "as_of"], how="left")
        .with_columns(pl.col(PLAN_CONTEXT).fill_null(0.0))
        .drop("type", "store_id")
    )
