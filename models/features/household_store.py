"""Features of a household and a store: which store is its own."""

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
    YEAR,
    count,
    days_since,
    dollars,
    finish,
    named,
    window_totals,
)

KEYS = ("household_id", "store_id")
DAYS = (MONTH, QUARTER, YEAR)

FEATURES = (*named(("baskets", "spend"), DAYS), "days_since_last_basket")

HOUSEHOLD_STORE = FeatureSet(
    name="household_store", keys=KEYS, features=FEATURES, version=1, window_days=max(DAYS)
)


def household_store_features(
    lines: IntoFrame, as_ofs: Sequence[date | datetime], *, time_zone: str = BUSINESS_TIME_ZONE
) -> Any:
    """One row per as-of, household and store it visited in the 364 days before.

    Args:
        lines: ``marts.fct_basket_line``; rows at or after an as-of are ignored for it.
        as_ofs: Mondays or instants, see ``models.features.as_of``.
        time_zone: IANA name of the business time zone.

    Returns:
        Lazy frame of the engine that came in: ``household_id, store_id, as_of, known_at`` and
        ``FEATURES``; counts ``Int32``, all else ``Float32``; in no order.

    Raises:
        ValueError: As ``models.features.as_of.resolve``.
    """
    resolved = resolve(as_ofs, time_zone=time_zone)
    exact = exact_lines(lines, keep=(*KEYS, "basket_id"), as_ofs=resolved, days=max(DAYS))
    visits = entity_baskets(exact, by=KEYS)

    def build(as_of: AsOf) -> nw.LazyFrame:
        totals = window_totals(
            visits,
            by=KEYS,
            as_of=as_of,
            days=DAYS,
            totals={"baskets": None, "spend": "paid_cents"},
        )
        features = {
            **{name: count(name) for name in named(("baskets",), DAYS)},
            **{name: dollars(nw.col(name)) for name in named(("spend",), DAYS)},
            "days_since_last_basket": days_since("last_at", as_of=as_of),
        }
        return finish(totals, keys=KEYS, as_of=as_of, features=features)

    return nw.to_native(for_each(resolved, build))
