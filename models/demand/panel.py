"""The demand panel of a retailer: products x stores x weeks over the active assortment.

A row's own sale is in ``units`` and ``revenue`` and nowhere else. Which rows there are, and what a
plan says of them, is known before the week; discounts come from other stores (``prices``).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date, timedelta

import polars as pl

from models.demand.prices import Sales, with_prices
from models.features.basket_lines import MAX_COUNTED_UNITS

# Sold in the store in these weeks before: still on the shelf. A quarter; the mart keeps no plan of
# the shelf. Shorter windows lose slow products, longer ones add rows that never sell again.
ASSORTMENT_WEEKS = 13
# A product that the store sold in the last year is on the shelf in a week that it promotes it in.
PROMOTED_WEEKS = 52
# A store that reported a promotion of any product in these weeks is one whose promotions are known.
REPORTING_WEEKS = 4

PANEL = (
    "store_id",
    "product_id",
    "week_start",
    "units",
    "revenue",
    "price",
    "base_price",
    "discount",
    "display",
    "mailer",
    "category",
    "manufacturer_id",
    "type",
    "panel_trips",
    "active",
    "plan_known",
    "discount_source",
    "base_price_source",
)


def drink_lines(lines: pl.LazyFrame, *, drinks: Collection[str]) -> pl.LazyFrame:
    """Basket lines cut to what a panel needs: the drinks, and one line per basket without any.

    Args:
        lines: ``marts.fct_basket_line``.
        drinks: Products of the panel.

    Returns:
        The columns needed, ``product_id`` null on the lines that only count a basket.
    """
    drink = pl.col("product_id").is_in(sorted(drinks))
    kept = lines.select(
        "store_id",
        "basket_id",
        pl.when(drink).then("product_id").alias("product_id"),
        "week_start",
        *(
            pl.when(drink).then(pl.col(name)).otherwise(0).alias(name)
            for name in ("quantity", "sales_value", "retail_disc", "coupon_match_disc")
        ),
    )
    others = kept.filter(pl.col("product_id").is_null()).unique(
        ["store_id", "basket_id", "week_start"]
    )
    return pl.concat([kept.filter(pl.col("product_id").is_not_null()), others])


def sales_of(lines: pl.LazyFrame, promotions: pl.LazyFrame) -> Sales:
    """What was sold and how many baskets there were, per store and week.

    A line above ``MAX_COUNTED_UNITS`` is one purchase of something measured, and counts as one
    unit, in the prices too.

    Args:
        lines: As ``drink_lines`` returns them.
        promotions: ``marts.fct_promotion`` of the same weeks.
    """
    quantity = pl.col("quantity")
    units = pl.when(quantity > MAX_COUNTED_UNITS).then(1).otherwise(quantity)
    sold = (
        lines.filter(pl.col("product_id").is_not_null())
        .group_by("store_id", "product_id", "week_start")
        .agg(
            units.sum().cast(pl.Int64).alias("units"),
            pl.col("sales_value").sum().alias("revenue"),
            (pl.col("sales_value") + pl.col("retail_disc") + pl.col("coupon_match_disc"))
            .sum()
            .alias("regular_value"),
            (pl.col("sales_value") + pl.col("coupon_match_disc")).sum().alias("loyalty_value"),
        )
        .join(
            promotions.select("store_id", "product_id", "week_start", "display", "mailer"),
            on=["store_id", "product_id", "week_start"],
            how="left",
        )
        .with_columns(pl.col("display", "mailer").fill_null("0"))
        .sort("store_id", "product_id", "week_start")
    )
    trips = lines.group_by("store_id", "week_start").agg(
        pl.col("basket_id").n_unique().cast(pl.Int64).alias("panel_trips")
    )
    made = pl.collect_all([sold, trips.sort("store_id", "week_start")])
    return Sales(sold=made[0], trips=made[1])


def demand_panel(
    sales: Sales,
    promotions: pl.DataFrame,
    products: pl.DataFrame,
    *,
    weeks: Sequence[date],
    last_sold: date,
) -> pl.DataFrame:
    """The panel of some weeks.

    Active is a product that the store sold in the ``ASSORTMENT_WEEKS`` before the week, or that it
    promotes in the week and sold in the ``PROMOTED_WEEKS`` before. What was sold though it was not
    active is there too, with ``active`` false: it is history for later weeks, and never forecast.
    Only stores that report promotions are in it; in others no promotion means nothing.

    Args:
        sales: From ``sales_of``, of the weeks and the year before each.
        promotions: ``store_id, product_id, week_start, display, mailer`` of the panel's products in
            the weeks and the ``REPORTING_WEEKS`` before each.
        products: ``product_id, category, manufacturer_id, type`` and ``week_start`` of the drop
            that stated it: the version in force before each week is used.
        weeks: Mondays to make.
        last_sold: Last week whose sales are complete; units of later weeks are null.

    Returns:
        ``PANEL``, sorted by week, store and product. ``plan_known`` is false where the store
        reports no promotions for the week (yet).
    """
    made = [
        _week(sales, promotions, products, week=week, last_sold=last_sold) for week in sorted(weeks)
    ]
    return pl.concat(made).select(PANEL)


def _week(
    sales: Sales, promotions: pl.DataFrame, products: pl.DataFrame, *, week: date, last_sold: date
) -> pl.DataFrame:
    pair = ["store_id", "product_id"]
    before = sales.sold.filter(pl.col("week_start") < week, pl.col("units") > 0)
    recent = _since(before, week, ASSORTMENT_WEEKS).select(pair).unique()
    reported = promotions.filter(
        pl.col("week_start").is_between(week - timedelta(weeks=REPORTING_WEEKS), week)
    )
    plan = promotions.filter(pl.col("week_start") == week).select(*pair, "display", "mailer")
    year = _since(before, week, PROMOTED_WEEKS).select(pair).unique()
    promoted = plan.select(pair).join(year, on=pair, how="semi")
    active = pl.concat([recent, promoted]).unique().with_columns(pl.lit(value=True).alias("active"))
    sold = sales.sold.filter(pl.col("week_start") == week).select(*pair, "units", "revenue")
    ended = week <= last_sold
    # What was not sold in a week that has ended was zero; of a later week nothing is known.
    unsold = pl.lit(0 if ended else None, dtype=pl.Int64)
    rows = (
        active.join(sold, on=pair, how="full", coalesce=True)
        .join(reported.select("store_id").unique(), on="store_id", how="semi")
        .join(plan, on=pair, how="left")
        .join(
            plan.select("store_id", pl.lit(value=True).alias("plan_known")).unique(),
            on="store_id",
            how="left",
        )
        .join(
            sales.trips.filter(pl.col("week_start") == week).select("store_id", "panel_trips"),
            on="store_id",
            how="left",
        )
        .join(_in_force(products, week), on="product_id", how="left")
        .with_columns(
            pl.lit(week).alias("week_start"),
            pl.col("units").fill_null(unsold),
            pl.col("revenue").fill_null(unsold.cast(pl.Float64)),
            pl.col("panel_trips").fill_null(unsold),
            pl.col("active", "plan_known").fill_null(value=False),
            pl.col("display", "mailer").fill_null("0"),
        )
        .sort(pair)
    )
    return with_prices(rows, sales, products=_in_force(products, week), week=week)


def _since(sold: pl.DataFrame, week: date, weeks: int) -> pl.DataFrame:
    return sold.filter(pl.col("week_start") >= week - timedelta(weeks=weeks))


def _in_force(products: pl.DataFrame, week: date) -> pl.DataFrame:
    """The version of each product that was stated last before the week; later ones else."""
    known = products.with_columns((pl.col("week_start") < week).alias("known"))
    return (
        known.sort("known", "week_start")
        .unique("product_id", keep="last", maintain_order=True)
        .select("product_id", "category", "manufacturer_id", "type")
    )
