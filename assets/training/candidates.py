"""Candidates: for each household, the products worth ranking, and where each came from."""

import polars as pl

from assets.lake_asset import Input, TableContext, lake_asset
from assets.partitions import PAST, PAST_YEAR, SAME_WEEK
from assets.training.weeks import PROTOCOL
from checks.contracts.ranking import CANDIDATES
from models.calendar import start_of_week
from models.ranking.proposals import Known, propose


@lake_asset(
    CANDIDATES,
    inputs={
        "household": Input("features.household", weeks=SAME_WEEK),
        "household_product": Input("features.household_product", weeks=SAME_WEEK),
        "household_store": Input("features.household_store", weeks=SAME_WEEK),
        "household_type": Input("features.household_type", weeks=SAME_WEEK),
        "product": Input("features.product", weeks=SAME_WEEK),
        "store_product": Input("features.store_product", weeks=SAME_WEEK),
        "lines": Input("marts.fct_basket_line", weeks=PAST_YEAR),
        "products": Input("marts.dim_product", weeks=PAST),
        # The plan of the week itself is known before it begins.
        "plan": Input("marts.fct_promotion", weeks=SAME_WEEK),
        "campaigns": Input("marts.dim_campaign", weeks=PAST),
        "targets": Input("marts.fct_campaign_target", weeks=PAST),
        "coupons": Input("marts.fct_coupon_product", weeks=PAST),
    },
    group="ranking",
    kinds={"polars", "ducklake"},
    weeks_per_chunk=6,
    # Earlier weeks have candidates as soon as somebody backfills them.
    since=PROTOCOL.train[0],
)
def candidates(context: TableContext, **known: pl.LazyFrame) -> pl.LazyFrame:
    zone = context.settings.time_zone
    return propose(
        Known(**known), as_ofs={w: start_of_week(w, time_zone=zone) for w in context.weeks}
    )
