"""All candidates of some as-of weeks: every source, united, with what surrounds each pair."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import date, datetime

import polars as pl

from models.ranking import candidates as sources
from models.ranking import inputs
from models.ranking.context import CONTEXT, with_context


@dataclass(frozen=True)
class Known:
    """What is known at the as-ofs: lazy frames of the lake's tables.

    Attributes:
        household: Feature frame of the as-of weeks, as all of the next five.
        lines: ``marts.fct_basket_line`` of the year before the as-ofs.
        products: ``marts.dim_product``, every version known.
        plan: ``marts.fct_promotion`` of the as-of weeks: known before they begin.
        campaigns: ``marts.dim_campaign``.
        targets: ``marts.fct_campaign_target``.
        coupons: ``marts.fct_coupon_product``.
    """

    household: pl.LazyFrame
    household_product: pl.LazyFrame
    household_store: pl.LazyFrame
    household_type: pl.LazyFrame
    product: pl.LazyFrame
    store_product: pl.LazyFrame
    lines: pl.LazyFrame
    products: pl.LazyFrame
    plan: pl.LazyFrame
    campaigns: pl.LazyFrame
    targets: pl.LazyFrame
    coupons: pl.LazyFrame


def propose(known: Known, *, as_ofs: Mapping[date, datetime]) -> pl.LazyFrame:
    """The candidates of the as-of weeks, as ``candidates.unite``, with score and context.

    Args:
        known: What the sources may read.
        as_ofs: As-of week to its instant, naive UTC.

    Returns:
        One row per household, product and as-of: ``unite``'s columns, ``neighbours_score`` and
        ``CONTEXT``; sorted by as-of, household and product.
    """
    proposed = {name: source() for name, source in _sources(known, as_ofs=as_ofs).items()}
    united = sources.unite(known.household.select("household_id", "as_of", "known_at"), proposed)
    close = proposed[sources.NEIGHBOURS].drop("rank")
    scored = united.join(close, on=["household_id", "product_id", "as_of"], how="left")
    return with_context(
        scored,
        types=types_at(known.products, as_ofs=as_ofs),
        household_type=known.household_type,
        stores=sources.own_store(known.household_store),
        store_product=known.store_product,
        plan=promotion_plan(known),
    ).sort("as_of", "household_id", "product_id")


def source_seconds(known: Known, *, as_ofs: Mapping[date, datetime]) -> dict[str, float]:
    """What each source takes by itself, from its tables in memory to its proposals, in seconds.

    Args:
        known: As for ``propose``.
        as_ofs: As for ``propose``.
    """
    held = Known(**{f.name: getattr(known, f.name).collect().lazy() for f in fields(known)})
    taken = {}
    for name, source in _sources(held, as_ofs=as_ofs).items():
        started = time.perf_counter()
        source().collect()
        taken[name] = time.perf_counter() - started
    return taken


def _sources(
    known: Known, *, as_ofs: Mapping[date, datetime]
) -> dict[str, Callable[[], pl.LazyFrame]]:
    """Source to what makes its proposals, the strongest evidence first."""

    def personal() -> pl.LazyFrame:
        return sources.personal_frequency(
            known.household_product, order=inputs.PERSONAL_ORDER, limit=inputs.PERSONAL_LIMIT
        )

    def coupon() -> pl.LazyFrame:
        return sources.coupon_linked(
            campaigns=known.campaigns,
            targets=known.targets,
            coupons=known.coupons,
            product=known.product,
            as_ofs=as_ofs,
            order=inputs.GLOBAL_ORDER,
            limit=inputs.COUPON_LIMIT,
        )

    def neighbours() -> pl.LazyFrame:
        lines = known.lines.select(
            "household_id", "product_id", "basket_id", "sold_at", "week_start"
        )
        # Nobody else is proposed anything.
        asked = known.household.select(pl.col("household_id").unique()).collect().to_series()
        return sources.neighbours(
            lines.collect(), as_ofs=as_ofs, limit=inputs.NEIGHBOURS_LIMIT, households=asked
        )

    def promoted() -> pl.LazyFrame:
        return sources.promoted(
            sources.own_store(known.household_store),
            promotion_plan(known),
            known.product,
            order=inputs.GLOBAL_ORDER,
            limit=inputs.PROMOTED_LIMIT,
        )

    def store() -> pl.LazyFrame:
        return sources.store_popular(
            sources.own_store(known.household_store),
            known.store_product,
            order=inputs.STORE_ORDER,
            limit=inputs.STORE_LIMIT,
        )

    def substitute() -> pl.LazyFrame:
        return sources.substitutes(
            known.household_type,
            known.product,
            types_at(known.products, as_ofs=as_ofs),
            habit=inputs.TYPE_ORDER,
            order=inputs.GLOBAL_ORDER,
            types_limit=inputs.SUBSTITUTE_TYPES,
            limit=inputs.SUBSTITUTES_PER_TYPE,
        )

    def everybody() -> pl.LazyFrame:
        return sources.global_frequency(
            known.product, order=inputs.GLOBAL_ORDER, limit=inputs.GLOBAL_LIMIT
        )

    return {
        sources.PERSONAL: personal,
        sources.COUPON: coupon,
        sources.NEIGHBOURS: neighbours,
        sources.PROMOTED: promoted,
        sources.STORE: store,
        sources.SUBSTITUTE: substitute,
        sources.GLOBAL: everybody,
    }


def promotion_plan(known: Known) -> pl.LazyFrame:
    """The plan of the as-of weeks: ``product_id, store_id, as_of, on_display, in_mailer``."""
    return known.plan.rename({"week_start": "as_of"}).select(
        "product_id", "store_id", "as_of", "on_display", "in_mailer"
    )


def types_at(products: pl.LazyFrame, *, as_ofs: Mapping[date, datetime]) -> pl.LazyFrame:
    """The type of each product by the newest version known at each as-of.

    Args:
        products: ``product_id, type, known_at``.
        as_ofs: As-of week to its instant.

    Returns:
        ``product_id, as_of, type``, one row per product and as-of.
    """
    return pl.concat(
        products.filter(pl.col("known_at") <= instant)
        .sort("product_id", "known_at")
        .group_by("product_id", maintain_order=True)
        .agg(pl.col("type").last())
        .select("product_id", pl.lit(as_of).alias("as_of"), "type")
        for as_of, instant in sorted(as_ofs.items())
    )


def without_history(proposed: pl.LazyFrame) -> pl.LazyFrame:
    """Candidates of a household nobody knows: no neighbours, no store, no habit."""
    return proposed.with_columns(
        pl.lit(None, dtype=pl.Float32).alias(name) for name in (sources.NEIGHBOURS_SCORE, *CONTEXT)
    )
