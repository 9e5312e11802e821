"""What a household without any history is offered: the popular products."""

from __future__ import annotations

import polars as pl

from models.ranking.candidates import GLOBAL, SOURCES, global_frequency, unite
from models.ranking.dataset import FeatureLists, examples
from models.ranking.order import OrderBy
from models.ranking.proposals import without_history

# Stands for any household that is not known; no pseudonym contains a hyphen.
NEWCOMER = "new-customer"


def popular_products(
    product: pl.LazyFrame,
    *,
    known: pl.LazyFrame,
    household: pl.LazyFrame,
    household_product: pl.LazyFrame,
    order: tuple[OrderBy, ...],
    features: FeatureLists,
    limit: int,
) -> pl.DataFrame:
    """The most popular products of one as-of as candidates of an unknown household.

    Args:
        product: Product features of the as-of.
        known: ``as_of, known_at`` of it, one row.
        household: Household features; only their columns matter.
        household_product: Household x product features; only their columns matter.
        order: What popular means.
        features: What the model sees.
        limit: How many.

    Returns:
        ``product_id, source`` and every feature, most popular first.
    """
    newcomer = known.with_columns(pl.lit(NEWCOMER).alias("household_id"))
    nobody = household_product.select("household_id", "product_id", "as_of").with_columns(
        pl.lit(None, dtype=pl.Int32).alias("rank")
    )
    proposed = unite(
        newcomer,
        {source: nobody.head(0) for source in SOURCES}
        | {GLOBAL: global_frequency(product, order=order, limit=limit)},
    )
    rows = examples(
        without_history(proposed),
        household=household.head(0),
        product=product,
        household_product=household_product.head(0),
        features=features,
    )
    return rows.sort("global_rank").select("product_id", "source", *features.names)
