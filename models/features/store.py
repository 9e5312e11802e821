"""Features of a store, as the panel's households see it: visits, shoppers, sales."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

import narwhals as nw
from narwhals.typing import IntoFrame

from models.features.as_of import BUSINESS_TIME_ZONE, AsOf, for_each, resolve
from models.features.basket_lines import entity_baskets, exact_lines
from models.features.feature_set import FeatureSet
from models.features.windows import (
    MONTH,
    QUARTER,
    WEEK,
    YEAR,
    count,
    days_since,
    dollars,
    finish,
    named,
    ratio,
    reach,
    window_sums,
    window_totals,
)

KEYS = ("store_id",)
DAYS = (WEEK, MONTH, QUARTER, YEAR)

FEATURES = (
    *named(("households", "baskets", "lines", "units", "revenue"), DAYS),
    "basket_value_91d",
    "lines_per_basket_91d",
    "discount_share_91d",
    "baskets_trend",
    "days_since_last_sale",
)

STORE = FeatureSet(name="store", keys=KEYS, features=FEATURES, version=1, window_days=max(DAYS))


def store_features(
    lines: IntoFrame, as_ofs: Sequence[date | datetime], *, time_zone: str = BUSINESS_TIME_ZONE
) -> Any:
    """One row per as-of and store with a basket in the 364 days before it.

    Args:
        lines: ``marts.fct_basket_line``; rows at or after an as-of are ignored for it. A panel's
            lines: these are not the store's whole sales.
        as_ofs: Mondays or instants, see ``models.features.as_of``.
        time_zone: IANA name of the business time zone.

    Returns:
        Lazy frame of the engine that came in: ``store_id``, ``as_of``, ``known_at`` and
        ``FEATURES``; counts ``Int32``, all else ``Float32``; in no order. ``baskets_trend`` is the
        last month's baskets per day over the last quarter's.

    Raises:
        ValueError: As ``models.features.as_of.resolve``.
    """
    resolved = resolve(as_ofs, time_zone=time_zone)
    by = (*KEYS, "household_id")
    exact = exact_lines(lines, keep=(*by, "basket_id"), as_ofs=resolved, days=max(DAYS))
    baskets = entity_baskets(exact, by=by)

    def build(as_of: AsOf) -> nw.LazyFrame:
        totals = window_totals(
            baskets,
            by=KEYS,
            as_of=as_of,
            days=DAYS,
            totals={"baskets": None, "lines": "lines", "units": "units", "revenue": "paid_cents"},
            extra=window_sums(("discount_cents", "regular_cents"), as_of=as_of, days=QUARTER),
        )
        # Both sides hold the entities of the year, so none is lost.
        rows = totals.join(
            reach(baskets, by=KEYS, as_of=as_of, days=DAYS), on=list(KEYS), how="left"
        )
        return finish(rows, keys=KEYS, as_of=as_of, features=_features(as_of))

    return nw.to_native(for_each(resolved, build))


def _features(as_of: AsOf) -> dict[str, nw.Expr]:
    counts = named(("households", "baskets", "lines", "units"), DAYS)
    return {
        **{name: count(name) for name in counts},
        **{name: dollars(nw.col(name)) for name in named(("revenue",), DAYS)},
        "basket_value_91d": ratio(nw.col("revenue_91d"), nw.col("baskets_91d"), scale=100.0),
        "lines_per_basket_91d": ratio(nw.col("lines_91d"), nw.col("baskets_91d")),
        "discount_share_91d": ratio(nw.col("discount_cents"), nw.col("regular_cents")),
        "baskets_trend": ratio(
            nw.col("baskets_28d") * QUARTER, nw.col("baskets_91d"), scale=float(MONTH)
        ),
        "days_since_last_sale": days_since("last_at", as_of=as_of),
    }
