"""What each household bought in the as-of week; the coming week has no rows yet."""

import polars as pl

from assets.lake_asset import Input, TableContext, lake_asset
from assets.partitions import SAME_WEEK
from checks.contracts.labels import PURCHASES
from models.labels import purchases as purchase_labels


@lake_asset(
    PURCHASES,
    inputs={"lines": Input("marts.fct_basket_line", weeks=SAME_WEEK)},
    group="labels",
    kinds={"polars", "narwhals", "ducklake"},
    weeks_per_chunk=18,
)
def purchases(context: TableContext, lines: pl.LazyFrame) -> pl.LazyFrame:
    return purchase_labels(
        lines,
        context.weeks,
        time_zone=context.settings.time_zone,
        late_arrival_days=context.settings.label_allowance_days,
    )
