"""Features of a product in a store: sales, price, display and mailer of the last quarter."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any

import narwhals as nw
from narwhals.typing import IntoFrame

from models.features.as_of import BUSINESS_TIME_ZONE, AsOf, for_each, resolve
from models.features.basket_lines import entity_baskets, exact_lines, lazy
from models.features.feature_set import FeatureSet
from models.features.windows import (
    MONTH,
    QUARTER,
    WEEK,
    count,
    days_since,
    dollars,
    finish,
    named,
    price_of,
    priced_at,
    ratio,
    reach,
    window_totals,
)

KEYS = ("store_id", "product_id")
DAYS = (WEEK, MONTH, QUARTER)

FEATURES = (
    *named(("households", "baskets", "units", "revenue"), DAYS),
    *named(("display_weeks", "mailer_weeks"), DAYS),
    "unit_price_91d",
    "regular_price_91d",
    "last_unit_price",
    "discount_share_91d",
    "days_since_last_sale",
)

STORE_PRODUCT = FeatureSet(
    name="store_product", keys=KEYS, features=FEATURES, version=1, window_days=max(DAYS)
)

_PLACEMENTS = {"display_weeks": "on_display", "mailer_weeks": "in_mailer"}


def store_product_features(
    lines: IntoFrame,
    as_ofs: Sequence[date | datetime],
    *,
    promotions: IntoFrame,
    time_zone: str = BUSINESS_TIME_ZONE,
) -> Any:
    """One row per as-of, store and product sold there in the 91 days before.

    Args:
        lines: ``marts.fct_basket_line``; rows at or after an as-of are ignored for it.
        as_ofs: Mondays or instants, see ``models.features.as_of``.
        promotions: ``marts.fct_promotion``. Only whole weeks before the as-of's own week count:
            the coming week's plan is known, but is plan input, not history.
        time_zone: IANA name of the business time zone.

    Returns:
        Lazy frame of the engine that came in: ``store_id, product_id, as_of, known_at`` and
        ``FEATURES``; counts ``Int32``, all else ``Float32``; in no order. ``display_weeks`` and
        ``mailer_weeks`` count weeks, 0 where no promotion row exists; prices are dollars per
        counted unit.

    Raises:
        ValueError: As ``models.features.as_of.resolve``.
    """
    resolved = resolve(as_ofs, time_zone=time_zone)
    by = (*KEYS, "household_id")
    exact = exact_lines(lines, keep=(*by, "basket_id"), as_ofs=resolved, days=max(DAYS))
    sold = entity_baskets(exact, by=by).with_columns(priced_at().alias("priced_at"))
    promoted = lazy(promotions)

    def build(as_of: AsOf) -> nw.LazyFrame:
        totals = window_totals(
            sold,
            by=KEYS,
            as_of=as_of,
            days=DAYS,
            totals={"baskets": None, "units": "units", "revenue": "paid_cents"},
            extra=[
                nw.col("discount_cents").sum().cast(nw.Int64),
                nw.col("regular_cents").sum().cast(nw.Int64),
                nw.col("priced_at").max(),
            ],
        )
        households = reach(sold, by=KEYS, as_of=as_of, days=DAYS)
        placed = _placements(promoted, as_of=as_of)
        rows = totals.join(households, on=list(KEYS), how="left").join(
            placed, on=list(KEYS), how="left"
        )
        return finish(rows, keys=KEYS, as_of=as_of, features=_features(as_of))

    return nw.to_native(for_each(resolved, build))


def promotions_of_sold(promotions: IntoFrame, *, lines: IntoFrame) -> Any:
    """The promotions of store and product pairs that ``lines`` hold.

    Seven in eight promotion rows of the Complete Journey are of products the panel did not buy in
    that store. ``store_product_features`` gives the same with them; a range drops them once.
    """
    pairs = lazy(lines).select(*KEYS).unique()
    return nw.to_native(lazy(promotions).join(pairs, on=list(KEYS), how="semi"))


def _placements(promoted: nw.LazyFrame, *, as_of: AsOf) -> nw.LazyFrame:
    first = {d: as_of.week - timedelta(days=d) for d in DAYS}
    rows = promoted.filter(
        nw.col("week_start") < as_of.week,
        nw.col("week_start") >= first[max(DAYS)],
        nw.col("on_display") | nw.col("in_mailer"),
    )
    return rows.group_by(*KEYS).agg(
        *(
            (nw.col(flag) & (nw.col("week_start") >= first[d]))
            .cast(nw.Int64)
            .sum()
            .cast(nw.Int64)
            .alias(f"{name}_{d}d")
            for name, flag in _PLACEMENTS.items()
            for d in DAYS
        )
    )


def _features(as_of: AsOf) -> dict[str, nw.Expr]:
    counts = named(("households", "baskets", "units"), DAYS)
    return {
        **{name: count(name) for name in counts},
        **{name: dollars(nw.col(name)) for name in named(("revenue",), DAYS)},
        **{name: count(name).fill_null(0) for name in named(_PLACEMENTS, DAYS)},
        "unit_price_91d": ratio(nw.col("revenue_91d"), nw.col("units_91d"), scale=100.0),
        "regular_price_91d": ratio(nw.col("regular_cents"), nw.col("units_91d"), scale=100.0),
        "last_unit_price": price_of("priced_at"),
        "discount_share_91d": ratio(nw.col("discount_cents"), nw.col("regular_cents")),
        "days_since_last_sale": days_since("last_at", as_of=as_of),
    }
