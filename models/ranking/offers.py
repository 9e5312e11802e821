"""Ranked offers: the best candidates of every event by a model's score."""

from __future__ import annotations

import numpy as np
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
            scored.filter(_possible(scored, k=k)).lazy(),
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


def _possible(scored: pl.DataFrame, *, k: int) -> pl.Series:
    """False where k neighbours of the same event score higher.

    Keeping a row too many, as where an event's rows lie scattered, is harmless: ``top`` decides.
    """
    starts = _starts(scored)
    sizes = np.diff(starts, append=scored.height)
    values = scored["score"].cast(pl.Float64).to_numpy()
    possible = np.ones(scored.height, dtype=bool)
    # Events of one size are a matrix; there are seldom more sizes than a few hundred.
    for size in np.unique(sizes[sizes > k]):
        rows = starts[sizes == size][:, None] + np.arange(size)
        block = values[rows]
        least = np.partition(block, size - k, axis=1)[:, size - k]
        possible[rows] = block >= least[:, None]
    return pl.Series(possible)


def _starts(scored: pl.DataFrame) -> np.ndarray:
    """Where a new event begins, row by row."""
    changed = pl.any_horizontal(
        pl.col(name).ne_missing(pl.col(name).shift(1)) for name in ("as_of", "household_id")
    )
    return scored.select(changed).to_series().arg_true().to_numpy()
