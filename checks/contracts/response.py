"""Contract of the response head's training set."""

from __future__ import annotations

from typing import Any

import pandera.polars as pa
import polars as pl

from checks.contracts.contract import Contract, column
from checks.contracts.ranking import RANKING_TEAM
from models.ranking.response import FEATURES, LONG_DAYS, SHORT_DAYS

_ID = {"min_value": 1, "max_value": 64}
_PSEUDONYM = {"min_value": 12, "max_value": 12}

# What a prefix stands for; the rest of a name is that of the feature set.
_PREFIXES = {
    "c_": "Campaign",
    "hr_": "Household's earlier campaigns",
    "ht_": "Household and the product's type",
    "hk_": "Household and the products of the coupon",
    "hh_": "Household",
    "hp_": "Household and product",
    "p_": "Product",
}


def _described(name: str) -> str:
    for prefix, of in _PREFIXES.items():
        if name.startswith(prefix):
            return f"{of}: {name.removeprefix(prefix).replace('_', ' ')}"
    return f"Feature {name.replace('_', ' ')}"


class _ResponseExample(pa.DataFrameModel):
    campaign_id: str = column("Campaign", privacy="public", str_length=_ID)
    household_id: str = column(
        "Pseudonym of a targeted household", privacy="pseudonymous", str_length=_PSEUDONYM
    )
    product_id: str = column("Coupon product", privacy="public", str_length=_ID)
    as_of: pl.Date = column("Monday of the week the campaign starts in", privacy="public")
    started_at: pl.Datetime("us") = column(  # type: ignore[valid-type]
        "Midnight of the first day; the windows start here", unit="UTC", privacy="public"
    )
    known_at: pl.Datetime("us") = column(  # type: ignore[valid-type]
        "When the features could first be used: the start", unit="UTC", privacy="public"
    )
    shortlisted: bool = column(
        "Bought by the household in the last year, or widely bought; else kept for its response"
    )
    response_5d: pl.Int8 = column(
        f"1 if bought within {SHORT_DAYS} days of the start; null while not mature",
        nullable=True,
        isin=[0, 1],
    )
    response_28d: pl.Int8 = column(
        f"1 if bought within {LONG_DAYS} days of the start; null while not mature",
        nullable=True,
        isin=[0, 1],
    )
    response_5d_known_at: pl.Datetime("us") = column(  # type: ignore[valid-type]
        "When that label is mature: end of its window and the late-arrival allowance",
        unit="UTC",
        privacy="public",
    )
    response_28d_known_at: pl.Datetime("us") = column(  # type: ignore[valid-type]
        "When that label is mature: end of its window and the late-arrival allowance",
        unit="UTC",
        privacy="public",
    )

    @pa.dataframe_check(error="as_of is the Monday of the week of the start")
    def as_of_is_the_monday_before(cls, data: pa.PolarsData) -> pl.LazyFrame:  # noqa: N805
        since = pl.col("started_at").dt.date() - pl.col("as_of")
        return data.lazyframe.select(
            (pl.col("as_of").dt.weekday() == 1) & since.dt.total_days().is_between(0, 7)
        )

    @pa.dataframe_check(error="a pair outside the shortlist responded")
    def others_responded(cls, data: pa.PolarsData) -> pl.LazyFrame:  # noqa: N805
        responded = pl.max_horizontal("response_5d", "response_28d") == 1
        return data.lazyframe.select(pl.col("shortlisted") | responded)

    @pa.dataframe_check(error="who responded early responded")
    def early_is_within_late(cls, data: pa.PolarsData) -> pl.LazyFrame:  # noqa: N805
        within = pl.col("response_5d") <= pl.col("response_28d")
        return data.lazyframe.select(within.fill_null(value=True))


def _response_examples() -> Contract:
    namespace: dict[str, Any] = {
        "__doc__": "A coupon product of a campaign that a household was targeted with, what was "
        "known of the pair at the start, and whether the household then bought it (response, "
        "never lift).",
        "__module__": __name__,
        "__annotations__": dict.fromkeys(FEATURES, pl.Float32),
        **{name: column(_described(name), nullable=True) for name in FEATURES},
    }
    return Contract(
        "ranking.response_examples",
        type("ResponseExamples", (_ResponseExample,), namespace),
        RANKING_TEAM,
        key=("campaign_id", "household_id", "product_id"),
        partition_column=None,
    )


RESPONSE_EXAMPLES = _response_examples()

RESPONSE = (RESPONSE_EXAMPLES,)
