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
        per_sale: As for ``zeros_kept``.

    Returns:
        The rows that stay, with ``weight``: how many rows each stands for.
    """
    return keep_zeros(examples, share=zeros_kept(examples, per_sale=per_sale), seed=seed)


def zeros_kept(rows: pl.DataFrame | pl.LazyFrame, *, per_sale: float = ZEROS_PER_SALE) -> float:
    """The share of the rows without a sale that is kept.

    Args:
        rows: With ``units``.
        per_sale: Zeros for each sale, above 0; all are kept where there are no more.

    Returns:
        In (0, 1].

    Raises:
        ValueError: ``per_sale`` is not above 0.
    """
    if not per_sale > 0:
        raise ValueError(f"zeros_kept(): per_sale is {per_sale}; give more than 0")
    sold = pl.col("units") > 0
    counts = rows.lazy().select(sales=sold.sum(), zeros=(~sold).sum()).collect()
    sales, zeros = counts.row(0)
    return 1.0 if zeros <= per_sale * sales else per_sale * sales / zeros


def keep_zeros(examples: pl.DataFrame, *, share: float, seed: int) -> pl.DataFrame:
    """As ``thin_zeros``, for a part of the rows that ``share`` was found of."""
    if share == 1.0:
        return examples.with_columns(pl.lit(1.0).alias(WEIGHT))
    key = examples.select(
        pl.col("week_start").alias("as_of"), pl.col("store_id").alias("household_id"), "product_id"
    )
    kept = pl.Series(uniform(key, seed=seed)) < share
    weight = pl.when(pl.col("units") > 0).then(1.0).otherwise(1.0 / share).alias(WEIGHT)
    return examples.with_columns(weight).filter(kept | (pl.col("units") > 0))
