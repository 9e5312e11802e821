"""Contracts of ``features.*``: one row per entity and as-of week, numeric model inputs only.

The columns come from the feature sets themselves, so a feature without a declared meaning is an
error here, not an undeclared column in the lake.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandera.polars as pa
import polars as pl

from checks.contracts.contract import Contract, Privacy, column
from checks.contracts.raw import DATA_TEAM
from models.features import (
    HOUSEHOLD,
    HOUSEHOLD_PRODUCT,
    HOUSEHOLD_STORE,
    HOUSEHOLD_TYPE,
    PRODUCT,
    STORE,
    STORE_PRODUCT,
    FeatureSet,
)

# A weekly feature set stands at the coming week; older than this, a week was missed.
FRESHNESS_DAYS = 14

_ID = {"min_value": 1, "max_value": 64}
_TYPE = {"min_value": 1, "max_value": 200}
_PSEUDONYM = {"min_value": 12, "max_value": 12}


class AsOfWeek(pa.DataFrameModel):
    as_of: pl.Date = column("Monday of the as-of week", privacy="public")
    known_at: pl.Datetime("us") = column(  # type: ignore[valid-type]
        "The as-of instant: the row holds only what came before it", unit="UTC", privacy="public"
    )

    @pa.dataframe_check(error="as_of is a Monday")
    def as_of_is_a_monday(cls, data: pa.PolarsData) -> pl.LazyFrame:  # noqa: N805
        return data.lazyframe.select(pl.col("as_of").dt.weekday() == 1)


@dataclass(frozen=True)
class _Meaning:
    """What a feature is; ``{}`` in the description stands for its window in days."""

    description: str
    dtype: Any = pl.Float32
    unit: str | None = None
    checks: dict[str, Any] = field(default_factory=lambda: {"ge": 0})
    nullable: bool = False


def _count(description: str, unit: str) -> _Meaning:
    return _Meaning(description, dtype=pl.Int32, unit=unit)


def _share(description: str) -> _Meaning:
    return _Meaning(
        description, checks={"in_range": {"min_value": 0, "max_value": 1}}, nullable=True
    )


_MEANINGS = {
    "baskets": _count("Baskets in the last {} days", "baskets"),
    "lines": _count("Basket lines in the last {} days", "lines"),
    "units": _count(
        "Units in the last {} days; a line of more than 100 is measured, not counted, and is one",
        "units",
    ),
    "households": _count("Distinct households in the last {} days", "households"),
    "purchases": _count("Products in baskets in the last {} days", "purchases"),
    "habit": _Meaning("Purchases, each weighing 1/(1 + age/{} days)", unit="purchases"),
    "products": _count("Distinct products in the last {} days", "products"),
    "categories": _count(
        "Distinct categories in the last {} days, as classified at the as-of", "categories"
    ),
    "display_weeks": _count("Weeks on display in the last {} days' whole weeks", "weeks"),
    "mailer_weeks": _count("Weeks in the mailer in the last {} days' whole weeks", "weeks"),
    "spend": _Meaning("Spent in the last {} days", unit="USD"),
    "revenue": _Meaning("Taken from the panel in the last {} days", unit="USD"),
    "basket_value": _Meaning("Mean value of the last {} days' baskets", unit="USD", nullable=True),
    "lines_per_basket": _Meaning(
        "Mean lines of the last {} days' baskets", unit="lines", nullable=True
    ),
    "unit_price": _Meaning("Mean price paid per unit, last {} days", unit="USD", nullable=True),
    "regular_price": _Meaning(
        "Mean price per unit before discounts, last {} days", unit="USD", nullable=True
    ),
    "last_unit_price": _Meaning("Newest price paid per unit", unit="USD", nullable=True),
    "discount_share": _share("Loyalty discount over value at regular price, last {} days"),
    "coupon_share": _Meaning(
        "Coupons and their match over value at regular price, last {} days",
        unit="ratio",
        nullable=True,
    ),
    "private_share": _share("Private-label share of spend, last {} days"),
    "basket_share": _share("Share of the household's baskets with the product, last {} days"),
    "repeat_rate": _share("Share of its households with two or more baskets, last {} days"),
    "baskets_trend": _Meaning(
        "Baskets per day of the last 28 days over those of the last 91", unit="ratio", nullable=True
    ),
    "days_since_last_basket": _Meaning("Since the newest basket", unit="days"),
    "days_since_first_basket": _Meaning(
        "Since the oldest basket of the last 364 days", unit="days"
    ),
    "days_between_baskets": _Meaning(
        "Mean time between baskets of the last 364 days; null for one", unit="days", nullable=True
    ),
    "days_since_last_purchase": _Meaning("Since the newest purchase", unit="days"),
    "days_since_first_purchase": _Meaning(
        "Since the oldest purchase of the last 364 days", unit="days"
    ),
    "days_between_purchases": _Meaning(
        "Mean time between purchases of the last 364 days; null for one",
        unit="days",
        nullable=True,
    ),
    "days_between_deviation": _Meaning(
        "Standard deviation of the time between purchases; null for fewer than three",
        unit="days",
        nullable=True,
    ),
    "overdue": _Meaning(
        "Days past the mean interval over its standard deviation and three days; null for one "
        "purchase",
        unit="ratio",
        nullable=True,
        # Half a year early and perfectly regular, over three days.
        checks={"ge": -122},
    ),
    "days_since_last_sale": _Meaning("Since the newest sale", unit="days"),
    "days_since_first_sale": _Meaning("Since the oldest sale of the last 364 days", unit="days"),
    "recency_over_interval": _Meaning(
        "Time since the newest over the mean time between, a day at least; above 1 is overdue",
        unit="ratio",
        nullable=True,
    ),
}

_WINDOW = re.compile(r"^(?P<stem>.+)_(?P<days>\d+)d$")


def _feature_column(name: str) -> tuple[Any, Any]:
    """Type and Pandera field of a feature, from its name.

    Raises:
        KeyError: No meaning is declared for the feature.
    """
    match = _WINDOW.match(name)
    stem, days = (match["stem"], match["days"]) if match else (name, "")
    if stem not in _MEANINGS:
        raise KeyError(
            f"feature {name} has no declared meaning; add {stem!r} to _MEANINGS in "
            "checks/contracts/features.py"
        )
    meaning = _MEANINGS[stem]
    unit = meaning.unit or ("ratio" if meaning.nullable else None)
    return meaning.dtype, column(
        meaning.description.format(days),
        unit=unit,
        nullable=meaning.nullable,
        **meaning.checks,
    )


def _id_column(name: str) -> Any:
    described: dict[str, tuple[str, Privacy, dict[str, int]]] = {
        "household_id": ("Pseudonym of the household", "pseudonymous", _PSEUDONYM),
        "product_id": ("Product", "public", _ID),
        "store_id": ("Store", "public", _ID),
        "type": ("Type of product, as classified at the as-of", "public", _TYPE),
    }
    description, privacy, length = described[name]
    return column(description, privacy=privacy, str_length=length)


def _contract(
    feature_set: FeatureSet, *, description: str, backfills: Mapping[int, str] | None = None
) -> Contract:
    annotations: dict[str, Any] = dict.fromkeys(feature_set.keys, str)
    fields: dict[str, Any] = {key: _id_column(key) for key in feature_set.keys}
    for name in feature_set.features:
        annotations[name], fields[name] = _feature_column(name)
    body = {
        "__annotations__": annotations,
        "__doc__": description,
        "__module__": __name__,
        **fields,
    }
    class_name = feature_set.name.title().replace("_", "") + "Features"
    return Contract(
        f"features.{feature_set.name}",
        type(class_name, (AsOfWeek,), body),
        DATA_TEAM,
        key=("as_of", *feature_set.keys),
        partition_column="as_of",
        freshness_days=FRESHNESS_DAYS,
        version=feature_set.version,
        backfills=backfills or {},
    )


HOUSEHOLD_FEATURES = _contract(
    HOUSEHOLD,
    description="How often, how much and how widely a household buys, as known at the as-of.",
)
PRODUCT_FEATURES = _contract(
    PRODUCT, description="Who buys a product, how much, how often again and at what price."
)
STORE_FEATURES = _contract(
    STORE, description="Visits, shoppers and sales of a store, as the panel sees it."
)
HOUSEHOLD_PRODUCT_FEATURES = _contract(
    HOUSEHOLD_PRODUCT,
    description="Habit, rhythm and price of a product that a household bought in the last year.",
    backfills={2: "more windows, habit, and how regular and how overdue a purchase is"},
)
HOUSEHOLD_STORE_FEATURES = _contract(
    HOUSEHOLD_STORE, description="How often a household visits a store: which one is its own."
)
HOUSEHOLD_TYPE_FEATURES = _contract(
    HOUSEHOLD_TYPE,
    description="Habit and rhythm of a type of product, whichever of its products it was.",
)
STORE_PRODUCT_FEATURES = _contract(
    STORE_PRODUCT,
    description="Sales, price, display and mailer of a product in a store in the last quarter.",
)

FEATURES = (
    HOUSEHOLD_FEATURES,
    PRODUCT_FEATURES,
    STORE_FEATURES,
    HOUSEHOLD_PRODUCT_FEATURES,
    HOUSEHOLD_STORE_FEATURES,
    HOUSEHOLD_TYPE_FEATURES,
    STORE_PRODUCT_FEATURES,
)
