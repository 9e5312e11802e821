"""Features of a household and a product it has bought: habit, rhythm and price."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

import narwhals as nw
from narwhals.typing import IntoFrame

from models.features.as_of import BUSINESS_TIME_ZONE, AsOf, for_each, resolve
from models.features.basket_lines import entity_baskets, exact_lines, held
from models.features.feature_set import FeatureSet
from models.features.windows import (
    HALF_YEAR,
    MONTH,
    QUARTER,
    WEEK,
    YEAR,
    count,
    days_between,
    days_between_deviation,
    days_since,
    dollars,
    finish,
    habit,
    habit_of,
    named,
    overdue,
    past,
    price_of,
    priced_at,
    ratio,
    recency_over_interval,
    window_totals,
)

KEYS = ("household_id", "product_id")
DAYS = (MONTH, QUARTER, YEAR)
# Half weights of habit: this month's, and this season's.
HABITS = (20, 60)
SHORT = (WEEK, HALF_YEAR)

FEATURES = (
    *named(("baskets",), SHORT),
    *named(("baskets", "units", "spend"), DAYS),
    *named(("habit",), HABITS),
    "days_since_last_purchase",
    "days_since_first_purchase",
    "days_between_purchases",
    "days_between_deviation",
    "recency_over_interval",
    "overdue",
    "basket_share_364d",
    "last_unit_price",
    "discount_share_364d",
)

HOUSEHOLD_PRODUCT = FeatureSet(
    name="household_product", keys=KEYS, features=FEATURES, version=2, window_days=max(DAYS)
)


def household_product_features(
    lines: IntoFrame, as_ofs: Sequence[date | datetime], *, time_zone: str = BUSINESS_TIME_ZONE
) -> Any:
    """One row per as-of, household and product it bought in the 364 days before.

    Args:
        lines: ``marts.fct_basket_line``; rows at or after an as-of are ignored for it. Whole
            households: ``basket_share`` divides by all baskets of the household.
        as_ofs: Mondays or instants, see ``models.features.as_of``.
        time_zone: IANA name of the business time zone.

    Returns:
        Lazy frame of the engine that came in: ``household_id, product_id, as_of, known_at`` and
        ``FEATURES``; counts ``Int32``, all else ``Float32``; in no order. ``last_unit_price`` is
        dollars per counted unit in the newest basket with any, to the cent.

    Raises:
        ValueError: As ``models.features.as_of.resolve``.
    """
    resolved = resolve(as_ofs, time_zone=time_zone)
    exact = exact_lines(lines, keep=(*KEYS, "basket_id"), as_ofs=resolved, days=max(DAYS))
    bought = held(
        entity_baskets(exact, by=KEYS).with_columns(
            priced_at().alias("priced_at"),
            nw.col("at").shift(1).over(*KEYS, order_by="at").alias("previous"),
        )
    )
    visits = entity_baskets(exact, by=("household_id",))

    def build(as_of: AsOf) -> nw.LazyFrame:
        totals = window_totals(
            bought,
            by=KEYS,
            as_of=as_of,
            days=DAYS,
            totals={"baskets": None, "units": "units", "spend": "paid_cents"},
            extra=[
                nw.col("discount_cents").sum().cast(nw.Int64),
                nw.col("regular_cents").sum().cast(nw.Int64),
                nw.col("priced_at").max(),
                *(habit(as_of=as_of, days=d).alias(f"habit_{d}d") for d in HABITS),
                *(_in_last(d, as_of=as_of).alias(f"baskets_{d}d") for d in SHORT),
                _squared_gaps(as_of).alias("squared_gaps"),
            ],
        )
        household = (
            past(visits, as_of=as_of, days=YEAR)
            .group_by("household_id")
            .agg(nw.len().cast(nw.Int64).alias("household_baskets"))
        )
        rows = totals.join(household, on="household_id", how="left")
        return finish(rows, keys=KEYS, as_of=as_of, features=_features(as_of))

    return nw.to_native(for_each(resolved, build))


def _in_last(days: int, *, as_of: AsOf) -> nw.Expr:
    inside = nw.col("at") >= as_of.window_start(days)
    return nw.when(inside).then(nw.lit(1)).otherwise(nw.lit(0)).cast(nw.Int64).sum().cast(nw.Int64)


def _squared_gaps(as_of: AsOf) -> nw.Expr:
    """Over gaps inside the window: what came before it may not have been loaded."""
    gap = nw.col("at") - nw.col("previous")
    inside = nw.col("previous") >= as_of.window_start(YEAR)
    return nw.when(inside).then(gap * gap).otherwise(nw.lit(0)).sum().cast(nw.Int64)


def _features(as_of: AsOf) -> dict[str, nw.Expr]:
    year = f"baskets_{YEAR}d"
    return {
        **{name: count(name) for name in named(("baskets",), SHORT)},
        **{name: count(name) for name in named(("baskets", "units"), DAYS)},
        **{name: dollars(nw.col(name)) for name in named(("spend",), DAYS)},
        **{name: habit_of(name) for name in named(("habit",), HABITS)},
        "days_since_last_purchase": days_since("last_at", as_of=as_of),
        "days_since_first_purchase": days_since("first_at", as_of=as_of),
        "days_between_purchases": days_between(year),
        "days_between_deviation": days_between_deviation(year, squares="squared_gaps"),
        "recency_over_interval": recency_over_interval(year, as_of=as_of),
        "overdue": overdue(year, squares="squared_gaps", as_of=as_of),
        "basket_share_364d": ratio(nw.col(year), nw.col("household_baskets")),
        "last_unit_price": price_of("priced_at"),
        "discount_share_364d": ratio(nw.col("discount_cents"), nw.col("regular_cents")),
    }
