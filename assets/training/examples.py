"""The ranker's training set: candidates, what was known of them, and whether they were bought."""

import dagster as dg
import polars as pl

from assets.lake_asset import Input, TableContext, lake_asset
from assets.training.weeks import PROTOCOL, TRAIN
from checks.contracts.ranking import OFFER_EXAMPLES
from models.calendar import start_of_week
from models.labels import mature
from models.ranking.dataset import examples
from models.ranking.inputs import FEATURES


@lake_asset(
    OFFER_EXAMPLES,
    inputs={
        "candidates": Input("ranking.candidates", weeks=TRAIN),
        "household": Input("features.household", weeks=TRAIN),
        "product": Input("features.product", weeks=TRAIN),
        "household_product": Input("features.household_product", weeks=TRAIN),
        "purchases": Input("labels.purchases", weeks=TRAIN),
    },
    group="training",
    kinds={"polars", "ducklake"},
    partitioned=False,
)
def offer_examples(
    context: TableContext,
    candidates: pl.LazyFrame,
    household: pl.LazyFrame,
    product: pl.LazyFrame,
    household_product: pl.LazyFrame,
    purchases: pl.LazyFrame,
) -> pl.DataFrame:
    cut = start_of_week(PROTOCOL.held_out[0], time_zone=context.settings.time_zone)
    context.metadata["maturity_cut"] = cut.isoformat()
    context.metadata["as_ofs"] = dg.MetadataValue.json([str(w) for w in PROTOCOL.train])
    return examples(
        candidates,
        household=household,
        product=product,
        household_product=household_product,
        features=FEATURES,
        purchases=mature(purchases, at=cut),
    )
