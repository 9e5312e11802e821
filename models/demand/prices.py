"""Shelf prices and discounts of panel rows, never from the row's own sale.

Prices are seen only where something was sold, and a price that is there because the row sold would
tell a model that it did. So a row's discount is that of the same product and week in *other*
stores; where none sold it, that of its siblings (same maker, category and type) in the week; else
what the product had in past weeks under the same promotion; else none. The shelf price is what the
product cost without discount in past weeks. Each value names its source.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl

# Steps that discounts are rounded to: a mean of few sales would tell how many there were.
DISCOUNT_STEP = 0.05
# Free goods and errors of the till; a discount is below 1.
MAX_DISCOUNT = 0.95
# Weeks whose shelf prices are averaged, and whose discounts say what a promotion means.
PRICE_WEEKS = 8
PROMOTION_WEEKS = 26

OTHER_STORES, SIBLINGS, HISTORY, NOTHING = "other_stores", "siblings", "history", "none"
DISCOUNT_SOURCES = (OTHER_STORES, SIBLINGS, HISTORY, NOTHING)
STORE, CHAIN, CHAIN_YEAR = "store", "chain", "chain_year"
BASE_PRICE_SOURCES = (STORE, CHAIN, CHAIN_YEAR, NOTHING)


@dataclass(frozen=True)
class Sales:
    """What was sold, and how many baskets there were.

    Attributes:
        sold: ``store_id, product_id, week_start, units, revenue, regular_value, loyalty_value``
            (dollars), ``display, mailer``.
        trips: ``store_id, week_start, panel_trips``.
    """

    sold: pl.DataFrame
    trips: pl.DataFrame


def with_prices(
    rows: pl.DataFrame, sales: Sales, *, products: pl.DataFrame, week: date
) -> pl.DataFrame:
    """Rows of one week with ``price, base_price, discount`` and where they come from.

    Args:
        rows: ``store_id, product_id, display, mailer`` of the week.
        sales: Of the week and the year before.
        products: ``product_id, category, manufacturer_id, type``.
        week: The week.
    """
    seen = sales.sold.filter(
        pl.col("units") > 0, pl.col("regular_value") > 0, pl.col("week_start") <= week
    ).with_columns(
        (1.0 - pl.col("loyalty_value") / pl.col("regular_value"))
        .clip(0.0, MAX_DISCOUNT)
        .alias("seen_discount"),
        (pl.col("regular_value") / pl.col("units")).alias("seen_price"),
    )
    past = seen.filter(pl.col("week_start") < week)
    now = seen.filter(pl.col("week_start") == week)
    discounted = _with_discount(rows, now, past, products=products, week=week)
    return _with_base_price(discounted, past, week=week).with_columns(
        (pl.col("base_price") * (1.0 - pl.col("discount"))).alias("price")
    )


def _with_discount(
    rows: pl.DataFrame, now: pl.DataFrame, past: pl.DataFrame, *, products: pl.DataFrame, week: date
) -> pl.DataFrame:
    family = ["manufacturer_id", "category", "type"]
    own = now.select("store_id", "product_id", pl.col("seen_discount").alias("own"))
    chain = now.group_by("product_id").agg(
        pl.col("seen_discount").sum().alias("all"), pl.len().cast(pl.Int64).alias("n_all")
    )
    kin = (
        chain.join(products, on="product_id")
        .drop_nulls(family)
        .group_by(family)
        .agg(pl.col("all").sum().alias("kin"), pl.col("n_all").sum().alias("n_kin"))
    )
    others = pl.col("n_all") - pl.col("own").is_not_null().cast(pl.Int64)
    siblings = pl.col("n_kin") - pl.col("n_all")
    return (
        rows.with_columns(_state())
        .join(own, on=["store_id", "product_id"], how="left")
        .join(chain, on="product_id", how="left")
        .join(kin, on=family, how="left")
        .join(_usual(past, week=week), on=["product_id", "state"], how="left")
        .with_columns(pl.col("all", "n_all", "kin", "n_kin").fill_null(0))
        .with_columns(
            pl.when(others > 0)
            .then(pl.lit(OTHER_STORES))
            .when(siblings > 0)
            .then(pl.lit(SIBLINGS))
            .when(pl.col("usual").is_not_null())
            .then(pl.lit(HISTORY))
            .otherwise(pl.lit(NOTHING))
            .alias("discount_source"),
            _stepped(
                pl.when(others > 0)
                .then((pl.col("all") - pl.col("own").fill_null(0.0)) / others)
                .when(siblings > 0)
                .then((pl.col("kin") - pl.col("all")) / siblings)
                .otherwise(pl.col("usual").fill_null(0.0))
            ).alias("discount"),
        )
        .drop("own", "all", "n_all", "kin", "n_kin", "usual", "state")
    )


def _usual(past: pl.DataFrame, *, week: date) -> pl.DataFrame:
    """Discount of each product when it was last sold under each promotion state."""
    recent = past.filter(pl.col("week_start") >= week - timedelta(weeks=PROMOTION_WEEKS))
    by_week = (
        recent.with_columns(_state())
        .group_by("product_id", "state", "week_start")
        .agg(pl.col("seen_discount").mean().alias("usual"))
    )
    return (
        by_week.sort("week_start")
        .unique(["product_id", "state"], keep="last", maintain_order=True)
        .drop("week_start")
    )


def _state() -> pl.Expr:
    """Promotion state: 1 on display, plus 2 in the mailer."""
    display, mailer = pl.col("display") != "0", pl.col("mailer") != "0"
    return (display.cast(pl.Int8) + 2 * mailer.cast(pl.Int8)).alias("state")


def _stepped(discount: pl.Expr) -> pl.Expr:
    return ((discount / DISCOUNT_STEP).round() * DISCOUNT_STEP).clip(0.0, MAX_DISCOUNT)


def _with_base_price(rows: pl.DataFrame, past: pl.DataFrame, *, week: date) -> pl.DataFrame:
    recent = past.filter(pl.col("week_start") >= week - timedelta(weeks=PRICE_WEEKS))
    price = pl.col("seen_price").median()
    # One sale may be an error of the till; two agree or do not.
    store = (
        recent.group_by("store_id", "product_id")
        .agg(price.alias("store_price"), pl.len().alias("n"))
        .filter(pl.col("n") > 1)
        .drop("n")
    )
    chain = recent.group_by("product_id").agg(price.alias("chain_price"))
    year = past.group_by("product_id").agg(price.alias("year_price"))
    return (
        rows.join(store, on=["store_id", "product_id"], how="left")
        .join(chain, on="product_id", how="left")
        .join(year, on="product_id", how="left")
        .with_columns(
            pl.coalesce("store_price", "chain_price", "year_price").alias("base_price"),
            pl.when(pl.col("store_price").is_not_null())
            .then(pl.lit(STORE))
            .when(pl.col("chain_price").is_not_null())
            .then(pl.lit(CHAIN))
            .when(pl.col("year_price").is_not_null())
            .then(pl.lit(CHAIN_YEAR))
            .otherwise(pl.lit(NOTHING))
            .alias("base_price_source"),
        )
        .drop("store_price", "chain_price", "year_price")
    )


def coverage(panel: pl.DataFrame) -> pl.DataFrame:
    """Where the prices of a panel's active rows come from.

    Returns:
        ``what`` (``discount`` or ``base_price``), ``source``, ``rows`` and ``share``.
    """
    active = panel.filter("active")
    parts = [
        active.group_by(pl.col(f"{what}_source").alias("source"))
        .agg(pl.len().alias("rows"))
        .select(
            pl.lit(what).alias("what"),
            "source",
            "rows",
            (pl.col("rows") / active.height).alias("share"),
        )
        for what in ("discount", "base_price")
    ]
    return pl.concat(parts).sort("what", "rows", descending=[False, True])
