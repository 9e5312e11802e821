"""Basket lines as exact integers, one row per entity and basket: what every feature set sums.

Sums of floats depend on the order an engine adds in, so money becomes whole cents here, once, and
every total is an integer. Ratios are one division of two exact integers, the same on every engine.
"""

from __future__ import annotations

from collections.abc import Sequence

import narwhals as nw
from narwhals.typing import IntoFrame

from models.features.as_of import AsOf, epoch_seconds

# Fuel and the like is recorded in other units than pieces. In the Complete Journey year 13,510 of
# 1,469,307 lines are above 100, 3 of them groceries; the 99th percentile is 12. A line above it is
# one purchase of something measured, and counts as one unit.
MAX_COUNTED_UNITS = 100

MEASURES = ("units", "paid_cents", "discount_cents", "coupon_cents", "regular_cents")


def lazy(frame: IntoFrame) -> nw.LazyFrame:
    """``frame`` as a Narwhals lazy frame, whatever engine it belongs to.

    Raises:
        TypeError: Narwhals does not know the engine.
    """
    return nw.from_native(frame).lazy()


def held(frame: nw.LazyFrame) -> nw.LazyFrame:
    """``frame``, computed once though every as-of reads it.

    Only Polars needs to be told: left to itself it shares the part of two as-ofs' queries, or of
    two branches of one, but not both.
    """
    if frame.implementation.is_polars():
        return nw.from_native(nw.to_native(frame).cache())
    return frame


def counted_units() -> nw.Expr:
    """Units of a line from ``quantity``; a line above ``MAX_COUNTED_UNITS`` is one unit."""
    quantity = nw.col("quantity")
    return nw.when(quantity > MAX_COUNTED_UNITS).then(nw.lit(1)).otherwise(quantity).cast(nw.Int64)


def cents(column: str) -> nw.Expr:
    """A dollar column as whole cents, halves upwards (``round`` differs between engines)."""
    return (nw.col(column) * 100 + 0.5).floor().cast(nw.Int64)


def exact_lines(
    lines: IntoFrame, *, keep: Sequence[str], as_ofs: Sequence[AsOf], days: int
) -> nw.LazyFrame:
    """Basket lines with exact integers, over the union of the windows.

    Args:
        lines: ``marts.fct_basket_line``.
        keep: Columns that are passed on.
        as_ofs: All as-ofs of the call.
        days: The longest window.

    Returns:
        ``keep``, ``at`` (seconds since 1970) and ``MEASURES``, all ``Int64``. ``coupon_cents`` is
        the coupon and its match; ``regular_cents`` the value at regular price, before discounts.
    """
    return (
        lazy(lines)
        .select(
            *keep,
            epoch_seconds("sold_at").alias("at"),
            counted_units().alias("units"),
            cents("sales_value").alias("paid_cents"),
            cents("retail_disc").alias("discount_cents"),
            cents("coupon_disc").alias("coupon_cents"),
            cents("coupon_match_disc").alias("match_cents"),
        )
        .filter(
            nw.col("at") >= min(a.window_start(days) for a in as_ofs),
            nw.col("at") < max(a.seconds for a in as_ofs),
        )
        .select(
            *keep,
            "at",
            "units",
            "paid_cents",
            "discount_cents",
            (nw.col("coupon_cents") + nw.col("match_cents")).alias("coupon_cents"),
            (nw.col("paid_cents") + nw.col("discount_cents") + nw.col("match_cents")).alias(
                "regular_cents"
            ),
        )
    )


def entity_baskets(exact: nw.LazyFrame, *, by: Sequence[str]) -> nw.LazyFrame:
    """Sum exact lines to one row per entity and basket.

    The time of sale is part of the group, so a line can never move one that was sold before it:
    what is the past at an as-of does not depend on what came after, though as-ofs share this frame.

    Args:
        exact: ``exact_lines`` with ``by`` and ``basket_id``. A basket has one time of sale, its
            receipt's.
        by: Columns that identify the entity.

    Returns:
        ``by``, ``at`` (seconds since 1970), ``lines`` and ``MEASURES``, all ``Int64``.
    """
    return held(
        exact.group_by(*by, "basket_id", "at")
        .agg(
            # An aggregate of its own group: a filter on a key would be pushed below the grouping,
            # which would then run once per as-of instead of once.
            nw.col("at").max().alias("sold"),
            nw.len().cast(nw.Int64).alias("lines"),
            *(nw.col(measure).sum().cast(nw.Int64) for measure in MEASURES),
        )
        .select(*by, nw.col("sold").alias("at"), "lines", *MEASURES)
    )
