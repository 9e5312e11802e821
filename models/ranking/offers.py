"""Ranked offers: the best candidates of every event by a model's score."""

from __future__ import annotations

import polars as pl

from models.ranking.order import OrderBy, top


def ranked_offers(scored: pl.DataFrame, *, k: int, model_version: str) -> pl.DataFrame:
    """The k best-scored candidates per household and as-of.

    Args:
        scored: ``household_id, product_id, as_of, known_at, source, score``.
        k: Offers per event; an event with fewer candidates has fewer.
        model_version: Written beside every offer.

    Returns:
        ``household_id, as_of, rank (Int32, 1..k), product_id, score, source, model_version,
        known_at``, sorted by as-of, household and rank; equal scores are ordered by product id.

    Raises:
        ValueError: A score is null or NaN.
    """
    bad = scored.filter(pl.col("score").is_null() | pl.col("score").is_nan()).height
    if bad:
        raise ValueError(
            f"ranked_offers(): {bad:,} of {scored.height:,} scores are missing or NaN; "
            "score every candidate with a model whose features are present"
        )
    return (
        top(
            scored.lazy(),
            group=("as_of", "household_id"),
            order=(OrderBy("score"),),
            limit=k,
        )
        .select(
            "household_id",
            "as_of",
            "rank",
            "product_id",
            pl.col("score").cast(pl.Float64),
            "source",
            pl.lit(model_version).alias("model_version"),
            "known_at",
        )
        .collect()
    )
