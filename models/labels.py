"""Labels: what a household bought in the week after an as-of, and when that can be relied on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

import narwhals as nw
from narwhals.typing import IntoFrame

from models.features.as_of import (
    BUSINESS_TIME_ZONE,
    AsOf,
    epoch_seconds,
    for_each,
    resolve,
    utc,
)
from models.features.basket_lines import cents, counted_units, held, lazy
from models.features.windows import WEEK, count, dollars

KEYS = ("household_id", "product_id")

# A drop may be one week late before the week it belongs to is taken as complete.
LATE_ARRIVAL_DAYS = 7

# What makes two lines the same line: everything that was on the receipt.
_RECEIPT_LINE = (
    "household_id",
    "store_id",
    "basket_id",
    "product_id",
    "quantity",
    "sales_value",
    "retail_disc",
    "coupon_disc",
    "coupon_match_disc",
    "sold_at",
)


def purchases(
    lines: IntoFrame,
    as_ofs: Sequence[date | datetime],
    *,
    time_zone: str = BUSINESS_TIME_ZONE,
    late_arrival_days: int = LATE_ARRIVAL_DAYS,
) -> Any:
    """One row per as-of, household and product bought in the seven days from the as-of on.

    For a Monday that is its business week, whatever the clocks do in it. A line that occurs twice
    counts once. A line without units is a purchase, too; it adds nothing to ``quantity``.

    Args:
        lines: ``marts.fct_basket_line``.
        as_ofs: Mondays or instants, see ``models.features.as_of``.
        time_zone: IANA name of the business time zone.
        late_arrival_days: Days after the window in which lines of it may still arrive.

    Returns:
        Lazy frame of the engine that came in: ``household_id, product_id, as_of`` (Monday of the
        week), ``as_of_at`` (the instant, naive UTC), ``quantity`` (``Int32``, units as features
        count them), ``spend`` (``Float32``, dollars), ``known_at`` (when the label is mature: end
        of the window and the allowance); in no order.

    Raises:
        ValueError: As ``models.features.as_of.resolve``, or a negative allowance.
    """
    if late_arrival_days < 0:
        raise ValueError(
            f"late_arrival_days is {late_arrival_days}; a label cannot be known before its window "
            "ends, pass 0 or more"
        )
    resolved = resolve(as_ofs, time_zone=time_zone)
    distinct = held(_distinct(lines, as_ofs=resolved))

    def build(as_of: AsOf) -> nw.LazyFrame:
        window = distinct.filter(
            nw.col("at") >= as_of.seconds, nw.col("at") < as_of.seconds_at(WEEK)
        )
        totals = window.group_by(*KEYS).agg(
            nw.col("units").sum().cast(nw.Int64), nw.col("paid_cents").sum().cast(nw.Int64)
        )
        return totals.select(
            *KEYS,
            nw.lit(as_of.week).alias("as_of"),
            utc(as_of.instant).alias("as_of_at"),
            count("units").alias("quantity"),
            dollars(nw.col("paid_cents")).alias("spend"),
            utc(as_of.shifted(WEEK + late_arrival_days)).alias("known_at"),
        )

    return nw.to_native(for_each(resolved, build))


def mature(labels: IntoFrame, *, at: datetime) -> Any:
    """Labels that can be relied on at ``at`` (naive UTC): known then or before.

    Returns:
        Lazy frame of the engine that came in.

    Raises:
        ValueError: ``at`` carries a time zone.
    """
    if at.tzinfo is not None:
        raise ValueError(f"at={at} carries a time zone; pass naive UTC, as known_at is")
    # Whole seconds are enough: known_at is one, and an instant within a second is not before it.
    return nw.to_native(lazy(labels).filter(nw.col("known_at") <= utc(at)))


def _distinct(lines: IntoFrame, *, as_ofs: Sequence[AsOf]) -> nw.LazyFrame:
    inside = (
        lazy(lines)
        .select(*_RECEIPT_LINE, epoch_seconds("sold_at").alias("at"))
        .filter(
            nw.col("at") >= min(a.seconds for a in as_ofs),
            nw.col("at") < max(a.seconds_at(WEEK) for a in as_ofs),
        )
    )
    return (
        inside.group_by(*_RECEIPT_LINE)
        .agg(nw.col("at").max())
        .select(
            *KEYS,
            "at",
            counted_units().alias("units"),
            cents("sales_value").alias("paid_cents"),
        )
    )
