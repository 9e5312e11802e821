"""What each household bought in the as-of week; the coming week has no rows yet."""

import polars as pl

from assets.lake_asset import Input, TableContext, lake_asset
from assets.partitions import SAME_WEEK
from assets.table_body import Frames
from checks.contracts.labels import PURCHASES
from models.features.coded import as_text, coded
from models.labels import purchases as purchase_labels
from resources.settings import get_settings


def _held(frames: Frames) -> Frames:
    """Every week's query reads all lines of its chunk: they are read once."""
    return {name: coded(frame) for name, frame in frames.items()}


@lake_asset(
    PURCHASES,
    inputs={"lines": Input("marts.fct_basket_line", weeks=SAME_WEEK)},
    group="labels",
    kinds={"polars", "narwhals", "ducklake"},
    weeks_per_chunk=18,
    hold=_held,
    depends_on=[get_settings().time_zone, str(get_settings().label_allowance_days)],
)
def purchases(context: TableContext, lines: pl.LazyFrame) -> pl.LazyFrame:
    return as_text(
        purchase_labels(
            lines,
            context.weeks,
            time_zone=context.settings.time_zone,
            late_arrival_days=context.settings.label_allowance_days,
        )
    )
