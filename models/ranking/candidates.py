"""Candidates: the products that may be offered to a household in a week, and where they came from.

A source proposes products: to one household (``personal``) or to all of them (``global``). Each is
a function returning one frame; ``unite`` joins any number of them into one row per pair. A new
source is one more function and one more entry in the mapping.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from models.ranking.order import RANK, OrderBy, top

PERSONAL = "personal"
GLOBAL = "global"

# Reciprocal rank fusion; 60 is the constant of Cormack, Clarke and Buettcher (SIGIR 2009).
FUSION_CONSTANT = 60


def personal_frequency(
    household_product: pl.LazyFrame, *, order: Sequence[OrderBy], limit: int
) -> pl.LazyFrame:
    """The products each household bought most often.

    Args:
        household_product: Feature frame with ``household_id, product_id, as_of`` and the order's
            columns.
        order: A purchase count first, then what breaks its ties (recency, say). Rows whose count
            is zero or null propose nothing.
        limit: Products per household and as-of.

    Returns:
        ``household_id, product_id, as_of, rank``.
    """
    return top(
        household_product.filter(pl.col(order[0].column) > 0).select(
            "household_id", "product_id", "as_of", *(o.column for o in order)
        ),
        group=("as_of", "household_id"),
        order=order,
        limit=limit,
        keep=("product_id",),
    ).select("household_id", "product_id", "as_of", "rank")


def global_frequency(
    product: pl.LazyFrame, *, order: Sequence[OrderBy], limit: int
) -> pl.LazyFrame:
    """The products that most households bought of late; the same list for every household.

    Args:
        product: Feature frame with ``product_id, as_of`` and the order's columns.
        order: Households in a recent window first. Rows whose count is zero or null propose
            nothing.
        limit: Products per as-of.

    Returns:
        ``product_id, as_of, rank``.
    """
    return top(
        product.filter(pl.col(order[0].column) > 0).select(
            "product_id", "as_of", *(o.column for o in order)
        ),
        group=("as_of",),
        order=order,
        limit=limit,
        keep=("product_id",),
    ).select("product_id", "as_of", "rank")


def unite(households: pl.LazyFrame, sources: Mapping[str, pl.LazyFrame]) -> pl.LazyFrame:
    """One row per household, product and as-of that any source proposed.

    Args:
        households: ``household_id, as_of, known_at``, one row per household known at the as-of.
        sources: Name to ``[household_id,] product_id, as_of, rank``, the strongest evidence first.
            A source without ``household_id`` proposes to every household.

    Returns:
        ``household_id, product_id, as_of, known_at, source, {name}_rank ..., score``, sorted by
        as-of, household and product. ``source`` is the first source in the mapping's order that
        proposed the pair; ``{name}_rank`` (Int32) is null where that source did not. ``score`` is
        the sum of 1/(60 + rank) over the sources (reciprocal rank fusion), in (0, sources/61].

    Raises:
        ValueError: ``sources`` is empty.
    """
    if not sources:
        raise ValueError("unite(): no candidate source was given; name at least one")
    known = households.select("household_id", "as_of", "known_at")
    proposals = []
    for position, (name, frame) in enumerate(sources.items()):
        keys = ["as_of"]
        if "household_id" in frame.collect_schema():
            keys.append("household_id")
        proposals.append(
            known.join(frame, on=keys, how="inner").select(
                "household_id",
                "product_id",
                "as_of",
                "known_at",
                pl.lit(position, dtype=pl.Int8).alias("position"),
                *(
                    pl.when(other == name).then("rank").cast(RANK).alias(f"{other}_rank")
                    for other in sources
                ),
            )
        )
    ranks = [f"{name}_rank" for name in sources]
    names = dict(enumerate(sources))
    return (
        pl.concat(proposals)
        .group_by("as_of", "household_id", "product_id")
        .agg(pl.col("known_at").first(), pl.col("position").min(), pl.col(ranks).max())
        .select(
            "household_id",
            "product_id",
            "as_of",
            "known_at",
            pl.col("position").replace_strict(names, return_dtype=pl.String).alias("source"),
            *ranks,
            pl.sum_horizontal(
                (1 / (FUSION_CONSTANT + pl.col(rank))).fill_null(0.0) for rank in ranks
            ).alias("score"),
        )
        .sort("as_of", "household_id", "product_id")
    )


def candidates(
    *,
    households: pl.LazyFrame,
    household_product: pl.LazyFrame,
    product: pl.LazyFrame,
    personal_order: Sequence[OrderBy],
    global_order: Sequence[OrderBy],
    personal_limit: int,
    global_limit: int,
) -> pl.LazyFrame:
    """Candidates from personal and global frequency, for every as-of in ``households``.

    A household without a history gets the global ones. Memory grows with the as-ofs given, about
    100 bytes per candidate: pass a year in chunks of a few weeks.

    Args:
        households: As for ``unite``.
        household_product: As for ``personal_frequency``.
        product: As for ``global_frequency``.
        personal_order: As for ``personal_frequency``.
        global_order: As for ``global_frequency``.
        personal_limit: Personal products per household and as-of.
        global_limit: Global products per as-of.

    Returns:
        As ``unite``, with ``personal_rank`` and ``global_rank``.
    """
    return unite(
        households,
        {
            PERSONAL: personal_frequency(
                household_product, order=personal_order, limit=personal_limit
            ),
            GLOBAL: global_frequency(product, order=global_order, limit=global_limit),
        },
    )
