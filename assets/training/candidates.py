"""Candidates: for each household, the products worth ranking, and where each came from."""

import polars as pl

from assets.lake_asset import Input, TableContext, lake_asset
from assets.partitions import SAME_WEEK
from assets.training.weeks import PROTOCOL
from checks.contracts.ranking import CANDIDATES
from models.ranking.candidates import candidates as unite_candidates
from models.ranking.inputs import GLOBAL_LIMIT, GLOBAL_ORDER, PERSONAL_LIMIT, PERSONAL_ORDER


@lake_asset(
    CANDIDATES,
    inputs={
        "household": Input("features.household", weeks=SAME_WEEK),
        "household_product": Input("features.household_product", weeks=SAME_WEEK),
        "product": Input("features.product", weeks=SAME_WEEK),
    },
    group="ranking",
    kinds={"polars", "ducklake"},
    weeks_per_chunk=4,
    # Earlier weeks have candidates as soon as somebody backfills them.
    since=PROTOCOL.train[0],
)
def candidates(
    context: TableContext,  # noqa: ARG001
    household: pl.LazyFrame,
    household_product: pl.LazyFrame,
    product: pl.LazyFrame,
) -> pl.LazyFrame:
    return unite_candidates(
        households=household.select("household_id", "as_of", "known_at"),
        household_product=household_product,
        product=product,
        personal_order=PERSONAL_ORDER,
        global_order=GLOBAL_ORDER,
        personal_limit=PERSONAL_LIMIT,
        global_limit=GLOBAL_LIMIT,
    )
