"""Fewer rows to learn from where nearly all of them are zero.

A zero of a panel that is 94 % zeros tells little, and there are many. Keeping every sale and a
share of the zeros, each standing for those that went, leaves the likelihood unbiased.
"""

from __future__ import annotations

import polars as pl

from models.ranking.sampling import uniform

# On tuning weeks: a deviance of .3995 against .3991 with every row, in a quarter of the time.
ZEROS_PER_SALE = 4.0
WEIGHT = "weight"


def thin_zeros(
    examples: pl.DataFrame, *, seed: int, per_sale: float = ZEROS_PER_SALE
) -> pl.DataFrame:
    """Every row with a sale, and about ``per_sale`` without for each, in the same order.

    A row stays or goes by a hash of its key, so neither other rows nor their order matter.

    Args:
        examples: Labelled examples.
        seed: Of the hash.
        per_sale: Above 0; all rows stay where there are no more zeros than these.

    Returns:
        The rows that stay, with ``weight``: how many rows each stands for.

    Raises:
        ValueError: ``per_sale`` is not above 0.
    """
    if not per_sale > 0:
        raise ValueError(f"thin_zeros(): per_sale is {per_sale}; give more than 0")
    sales = int((examples["units"] > 0).sum())
    zeros = examples.height - sales
    if zeros <= per_sale * sales:
        return examples.with_columns(pl.lit(1.0).alias(WEIGHT))
    share = per_sale * sales / zeros
    key = examples.select(
        pl.col("week_start").alias("as_of"), pl.col("store_id").alias("household_id"), "product_id"
    )
    kept = pl.Series(uniform(key, seed=seed)) < share
    weight = pl.when(pl.col("units") > 0).then(1.0).otherwise(1.0 / share).alias(WEIGHT)
    return examples.with_columns(weight).filter(kept | (pl.col("units") > 0))
