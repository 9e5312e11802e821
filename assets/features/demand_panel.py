"""The demand panel of drinks, week by week, the coming one last."""

import dagster as dg
import polars as pl

from assets.lake_asset import Input, TableContext, lake_asset
from assets.partitions import PAST, WeekWindow, last_data_week
from assets.table_body import Frames
from checks.contracts.demand import DEMAND_PANEL
from models.calendar import end_of_week, start_of_week
from models.demand.panel import demand_panel, drink_lines, sales_of
from models.demand.prices import coverage
from models.evaluation.scopes import BEVERAGE_CATEGORIES

# A year of sales for prices and assortment; of the week itself the plan, and the sales for
# ``units`` and for the discounts of other stores.
YEAR_AND_WEEK = WeekWindow(-52, 0)

# Each week is many small steps that leave a core idle.
WEEKS_PER_CHUNK = 14
PARALLEL = 2


def _drinks(products: pl.LazyFrame) -> pl.LazyFrame:
    return products.filter(pl.col("category").is_in(sorted(BEVERAGE_CATEGORIES))).select(
        "product_id", "category", "manufacturer_id", "type", "week_start"
    )


def _held(frames: Frames) -> Frames:
    """Every week reads the year before it: cut to drinks once."""
    drinks = _drinks(frames["products"]).collect()
    ids = drinks["product_id"].unique().to_list()
    return {
        "lines": drink_lines(frames["lines"], drinks=ids),
        "promotions": frames["promotions"]
        .filter(pl.col("product_id").is_in(ids))
        .select("store_id", "product_id", "week_start", "display", "mailer"),
        "products": drinks.lazy(),
    }


@lake_asset(
    DEMAND_PANEL,
    inputs={
        "lines": Input("marts.fct_basket_line", weeks=YEAR_AND_WEEK),
        "promotions": Input("marts.fct_promotion", weeks=YEAR_AND_WEEK),
        "products": Input("marts.dim_product", weeks=PAST),
    },
    group="demand",
    kinds={"polars", "ducklake"},
    weeks_per_chunk=WEEKS_PER_CHUNK,
    parallel_chunks=PARALLEL,
    hold=_held,
)
def panel(
    context: TableContext, lines: pl.LazyFrame, promotions: pl.LazyFrame, products: pl.LazyFrame
) -> pl.DataFrame:
    zone, last = context.settings.time_zone, last_data_week()
    made = demand_panel(
        sales_of(lines, promotions),
        promotions.collect(),
        products.collect(),
        weeks=context.weeks,
        last_sold=last,
    )
    known = {
        week: end_of_week(week, time_zone=zone)
        if week <= last
        else start_of_week(week, time_zone=zone)
        for week in context.weeks
    }
    context.metadata[f"prices {context.weeks[0]}"] = dg.MetadataValue.json(
        coverage(made).to_dicts()
    )
    return made.with_columns(
        pl.col("week_start").replace_strict(known, return_dtype=pl.Datetime("us")).alias("known_at")
    )
