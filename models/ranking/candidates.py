"""Candidates: the products that may be offered to a household in a week, and where they came from.

A source proposes products: to one household, to the households of a store, or to everybody. Each
is a function returning one frame; ``unite`` joins any number of them into one row per pair. A new
source is one more function and one more entry in the mapping.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta

import polars as pl

from models.ranking.basket_history import basket_log
from models.ranking.neighbours import tifu_knn
from models.ranking.order import RANK, OrderBy, top

PERSONAL = "personal"
COUPON = "coupon"
NEIGHBOURS = "neighbours"
PROMOTED = "promoted"
STORE = "store"
SUBSTITUTE = "substitute"
GLOBAL = "global"
# In order of strength: the first that proposed a pair is its ``source``.
SOURCES = (PERSONAL, COUPON, NEIGHBOURS, PROMOTED, STORE, SUBSTITUTE, GLOBAL)

NEIGHBOURS_SCORE = "neighbours_score"
# What neighbours are judged by: a year of whole weeks.
WINDOW = timedelta(weeks=52)

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


def neighbours(
    lines: pl.DataFrame,
    *,
    as_ofs: Mapping[date, datetime],
    limit: int,
    households: pl.Series | None = None,
) -> pl.LazyFrame:
    """The products that a household and those that buy like it buy (TIFU-kNN).

    Args:
        lines: ``household_id, product_id, basket_id, sold_at, week_start`` of the year before each
            of the as-ofs.
        as_ofs: As-of week to its instant; only what was sold before it counts, in the 52 weeks
            before, though a range of as-ofs loads more.
        limit: Products per household and as-of.
        households: Who is proposed to; all by default. Neighbours are sought among all.

    Returns:
        ``household_id, product_id, as_of, rank, neighbours_score``.
    """
    found = []
    columns = ("household_id", "product_id", "basket_id", "week_start")
    # Numbered once: that takes as long as a week's neighbours.
    log = basket_log(lines.select(*columns, pl.col("sold_at").alias("at")))
    for as_of, instant in sorted(as_ofs.items()):
        history = log.cut(pl.col("at") < instant, pl.col("week_start") >= as_of - WINDOW)
        if not history.households.len():
            continue
        best = tifu_knn(history, limit=limit, households=households)
        found.append(
            best.select(
                "household_id",
                "product_id",
                pl.lit(as_of).alias("as_of"),
                "rank",
                pl.col("score").cast(pl.Float32).alias(NEIGHBOURS_SCORE),
            )
        )
    return pl.concat(found).lazy() if found else _no_neighbours()


def own_store(household_store: pl.LazyFrame) -> pl.LazyFrame:
    """The store each household visited most in the last quarter; of equals, in the last year.

    Args:
        household_store: Feature frame with ``household_id, store_id, as_of``.

    Returns:
        ``household_id, as_of, store_id``, one row per household and as-of.
    """
    return (
        household_store.sort(
            "as_of",
            "household_id",
            "baskets_91d",
            "baskets_364d",
            "store_id",
            descending=[False, False, True, True, False],
        )
        .group_by("as_of", "household_id", maintain_order=True)
        .agg(pl.col("store_id").first())
        .select("household_id", "as_of", "store_id")
    )


def store_popular(
    stores: pl.LazyFrame, store_product: pl.LazyFrame, *, order: Sequence[OrderBy], limit: int
) -> pl.LazyFrame:
    """The products that most households bought of late in the household's own store.

    Args:
        stores: From ``own_store``.
        store_product: Feature frame with ``store_id, product_id, as_of`` and the order's columns.
        order: Households in a recent window first. Rows whose count is zero propose nothing.
        limit: Products per store and as-of.

    Returns:
        ``household_id, product_id, as_of, rank``.
    """
    best = top(
        store_product.filter(pl.col(order[0].column) > 0).select(
            "store_id", "product_id", "as_of", *(o.column for o in order)
        ),
        group=("as_of", "store_id"),
        order=order,
        limit=limit,
        keep=("product_id",),
    )
    return _of_households(stores, best)


def promoted(
    stores: pl.LazyFrame,
    plan: pl.LazyFrame,
    product: pl.LazyFrame,
    *,
    order: Sequence[OrderBy],
    limit: int,
) -> pl.LazyFrame:
    """What the household's own store promotes in the as-of week, most bought first.

    The plan of a week is known before it begins; nothing else of that week is used.

    Args:
        stores: From ``own_store``.
        plan: ``store_id, product_id, as_of`` of what is on display or in the mailer.
        product: Product feature frame with the order's columns.
        order: As for ``global_frequency``.
        limit: Products per store and as-of.

    Returns:
        ``household_id, product_id, as_of, rank``.
    """
    known = product.select("product_id", "as_of", *(o.column for o in order))
    best = top(
        plan.select("store_id", "product_id", "as_of").join(
            known, on=["product_id", "as_of"], how="inner"
        ),
        group=("as_of", "store_id"),
        order=order,
        limit=limit,
        keep=("product_id",),
    )
    return _of_households(stores, best)


def coupon_linked(
    *,
    campaigns: pl.LazyFrame,
    targets: pl.LazyFrame,
    coupons: pl.LazyFrame,
    product: pl.LazyFrame,
    as_ofs: Mapping[date, datetime],
    order: Sequence[OrderBy],
    limit: int,
) -> pl.LazyFrame:
    """Products of the coupons that a household was sent and may use in the as-of week.

    Of each campaign the best ``limit`` products are taken before they meet its households: one
    campaign may have ten thousand of either.

    Args:
        campaigns: ``campaign_id, start_date, end_date, known_at``.
        targets: ``campaign_id, household_id, known_at``.
        coupons: ``campaign_id, product_id, known_at``.
        product: Product feature frame with the order's columns.
        as_ofs: As-of week to its instant; what was not known by then does not count.
        order: As for ``global_frequency``.
        limit: Products per household and as-of.

    Returns:
        ``household_id, product_id, as_of, rank``.
    """
    weeks = pl.LazyFrame(
        {"as_of": list(as_ofs), "instant": list(as_ofs.values())},
        schema={"as_of": pl.Date, "instant": pl.Datetime("us")},
    )
    running = (
        weeks.join(campaigns, how="cross")
        .filter(
            pl.col("known_at") <= pl.col("instant"),
            pl.col("start_date") < pl.col("as_of") + pl.duration(days=7),
            pl.col("end_date") >= pl.col("as_of"),
        )
        .select("as_of", "instant", "campaign_id")
    )

    def known(frame: pl.LazyFrame, column: str) -> pl.LazyFrame:
        joined = running.join(frame.select("campaign_id", column, "known_at"), on="campaign_id")
        return (
            joined.filter(pl.col("known_at") <= pl.col("instant"))
            .select("as_of", "campaign_id", column)
            .unique()
        )

    popular = product.select("product_id", "as_of", *(o.column for o in order))
    best = top(
        known(coupons, "product_id").join(popular, on=["product_id", "as_of"], how="inner"),
        group=("as_of", "campaign_id"),
        order=order,
        limit=limit,
        keep=("product_id", *(o.column for o in order)),
    ).drop("rank")
    offered = known(targets, "household_id").join(best, on=["as_of", "campaign_id"], how="inner")
    return top(
        offered.drop("campaign_id").unique(),
        group=("as_of", "household_id"),
        order=order,
        limit=limit,
        keep=("product_id",),
    ).select("household_id", "product_id", "as_of", "rank")


def substitutes(
    household_type: pl.LazyFrame,
    product: pl.LazyFrame,
    types: pl.LazyFrame,
    *,
    habit: Sequence[OrderBy],
    order: Sequence[OrderBy],
    types_limit: int,
    limit: int,
) -> pl.LazyFrame:
    """The most bought products of the types that a household buys most.

    Args:
        household_type: Feature frame with ``household_id, type, as_of`` and the habit's columns.
        product: Product feature frame with the order's columns.
        types: ``product_id, as_of, type``.
        habit: Order of a household's types.
        order: As for ``global_frequency``.
        types_limit: Types per household and as-of.
        limit: Products per type and as-of.

    Returns:
        ``household_id, product_id, as_of, rank``: by place in the type, then by place of the type.
    """
    mine = top(
        household_type.select(
            "household_id",
            "as_of",
            pl.col("type").alias("product_id"),
            *(o.column for o in habit),
        ),
        group=("as_of", "household_id"),
        order=habit,
        limit=types_limit,
        keep=("product_id",),
    ).select(
        "household_id", "as_of", pl.col("product_id").alias("type"), pl.col("rank").alias("habit")
    )
    known = product.select("product_id", "as_of", *(o.column for o in order)).join(
        types.drop_nulls("type"), on=["product_id", "as_of"], how="inner"
    )
    best = top(known, group=("as_of", "type"), order=order, limit=limit, keep=("product_id",))
    return (
        mine.join(best, on=["as_of", "type"], how="inner")
        .sort("as_of", "household_id", "rank", "habit", "product_id")
        .select(
            "household_id",
            "product_id",
            "as_of",
            pl.int_range(1, pl.len() + 1, dtype=RANK).over("as_of", "household_id").alias("rank"),
        )
    )


def _of_households(stores: pl.LazyFrame, best: pl.LazyFrame) -> pl.LazyFrame:
    return stores.join(best, on=["as_of", "store_id"], how="inner").select(
        "household_id", "product_id", "as_of", "rank"
    )


def _no_neighbours() -> pl.LazyFrame:
    return pl.LazyFrame(
        schema={
            "household_id": pl.String,
            "product_id": pl.String,
            "as_of": pl.Date,
            "rank": RANK,
            NEIGHBOURS_SCORE: pl.Float32,
        }
    )


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
