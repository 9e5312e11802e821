"""The feature sets: of a household, a product, a store, and of pairs of them."""

import dagster as dg
import polars as pl

from assets.lake_asset import Input, TableContext, lake_asset
from assets.partitions import PAST, PAST_QUARTER, PAST_YEAR
from assets.table_body import Frames
from assets.training.weeks import PROTOCOL
from checks.contracts.registry import contract_of
from models.features.coded import as_text, coded
from models.features.household import household_features
from models.features.household_product import household_product_features
from models.features.household_store import household_store_features
from models.features.household_type import household_type_features
from models.features.product import product_features
from models.features.store import store_features
from models.features.store_product import promotions_of_sold, store_product_features

GROUP = "features"
KINDS = {"polars", "narwhals", "ducklake"}

LINES = Input("marts.fct_basket_line", weeks=PAST_YEAR)
QUARTER_LINES = Input("marts.fct_basket_line", weeks=PAST_QUARTER)
PROMOTIONS = Input("marts.fct_promotion", weeks=PAST_QUARTER)
# The version of a product in force may be as old as the product.
PRODUCTS = Input("marts.dim_product", weeks=PAST)

# Each pass is many small steps that leave a core idle; two passes keep both busy.
PARALLEL = 2
# Bounds memory: five weeks of pairs are three million rows.
PAIR_WEEKS = 5
ENTITY_WEEKS = 9


def _held(frames: Frames) -> Frames:
    """Every week's query reads the year before it: read once, the sets take half the time."""
    return {name: coded(frame) for name, frame in frames.items()}


def _held_with_promotions(frames: Frames) -> Frames:
    held = _held(frames)
    return {
        "lines": held["lines"],
        "promotions": promotions_of_sold(held["promotions"], lines=held["lines"]),
    }


@lake_asset(
    contract_of("features.household"),
    inputs={"lines": LINES, "products": PRODUCTS},
    group=GROUP,
    kinds=KINDS,
    weeks_per_chunk=ENTITY_WEEKS,
    parallel_chunks=PARALLEL,
    hold=_held,
)
def household(context: TableContext, lines: pl.LazyFrame, products: pl.LazyFrame) -> pl.LazyFrame:
    return as_text(
        household_features(
            lines, context.weeks, products=products, time_zone=context.settings.time_zone
        )
    )


@lake_asset(
    contract_of("features.product"),
    inputs={"lines": LINES},
    group=GROUP,
    kinds=KINDS,
    weeks_per_chunk=ENTITY_WEEKS,
    parallel_chunks=PARALLEL,
    hold=_held,
)
def product(context: TableContext, lines: pl.LazyFrame) -> pl.LazyFrame:
    return as_text(product_features(lines, context.weeks, time_zone=context.settings.time_zone))


@lake_asset(
    contract_of("features.store"),
    inputs={"lines": LINES},
    group=GROUP,
    kinds=KINDS,
    weeks_per_chunk=ENTITY_WEEKS,
    parallel_chunks=PARALLEL,
    hold=_held,
)
def store(context: TableContext, lines: pl.LazyFrame) -> pl.LazyFrame:
    return as_text(store_features(lines, context.weeks, time_zone=context.settings.time_zone))


@lake_asset(
    contract_of("features.household_product"),
    inputs={"lines": LINES},
    group=GROUP,
    kinds=KINDS,
    weeks_per_chunk=PAIR_WEEKS,
    parallel_chunks=PARALLEL,
    hold=_held,
)
def household_product(context: TableContext, lines: pl.LazyFrame) -> pl.LazyFrame:
    return as_text(
        household_product_features(lines, context.weeks, time_zone=context.settings.time_zone)
    )


@lake_asset(
    contract_of("features.household_store"),
    inputs={"lines": LINES},
    group=GROUP,
    kinds=KINDS,
    weeks_per_chunk=ENTITY_WEEKS,
    parallel_chunks=PARALLEL,
    hold=_held,
    since=PROTOCOL.train[0],
)
def household_store(context: TableContext, lines: pl.LazyFrame) -> pl.LazyFrame:
    return as_text(
        household_store_features(lines, context.weeks, time_zone=context.settings.time_zone)
    )


@lake_asset(
    contract_of("features.household_type"),
    inputs={"lines": LINES, "products": PRODUCTS},
    group=GROUP,
    kinds=KINDS,
    weeks_per_chunk=PAIR_WEEKS,
    parallel_chunks=PARALLEL,
    hold=_held,
    # Only the ranker reads it; earlier weeks are there as soon as somebody backfills them.
    since=PROTOCOL.train[0],
)
def household_type(
    context: TableContext, lines: pl.LazyFrame, products: pl.LazyFrame
) -> pl.LazyFrame:
    return as_text(
        household_type_features(
            lines, context.weeks, products=products, time_zone=context.settings.time_zone
        )
    )


@lake_asset(
    contract_of("features.store_product"),
    inputs={"lines": QUARTER_LINES, "promotions": PROMOTIONS},
    group=GROUP,
    kinds=KINDS,
    weeks_per_chunk=PAIR_WEEKS,
    parallel_chunks=PARALLEL,
    hold=_held_with_promotions,
)
def store_product(
    context: TableContext, lines: pl.LazyFrame, promotions: pl.LazyFrame
) -> pl.LazyFrame:
    return as_text(
        store_product_features(
            lines, context.weeks, promotions=promotions, time_zone=context.settings.time_zone
        )
    )


FEATURE_SETS: list[dg.AssetsDefinition] = [
    household,
    product,
    store,
    household_product,
    household_store,
    household_type,
    store_product,
]
