"""Contracts of ``labels.*``: what happened after an as-of, and when that can be relied on."""

from __future__ import annotations

import pandera.polars as pa
import polars as pl

from checks.contracts.contract import Contract, column
from checks.contracts.raw import DATA_TEAM

# A label matures one window and one allowance after its as-of: two weeks, and one to notice.
FRESHNESS_DAYS = 21

_ID = {"min_value": 1, "max_value": 64}


class Purchases(pa.DataFrameModel):
    """A product a household bought in the seven days from an as-of on."""

    household_id: str = column(
        "Pseudonym of the household",
        privacy="pseudonymous",
        str_length={"min_value": 12, "max_value": 12},
    )
    product_id: str = column("Product bought", privacy="public", str_length=_ID)
    as_of: pl.Date = column("Monday of the as-of week", privacy="public")
    as_of_at: pl.Datetime("us") = column(  # type: ignore[valid-type]
        "The as-of instant; the window starts here", unit="UTC", privacy="public"
    )
    quantity: pl.Int32 = column("Units bought, as features count them", unit="units", ge=0)
    spend: pl.Float32 = column("Paid to the retailer", unit="USD", ge=0)
    known_at: pl.Datetime("us") = column(  # type: ignore[valid-type]
        "When the label is mature: end of its window and the late-arrival allowance",
        unit="UTC",
        privacy="public",
    )

    @pa.dataframe_check(error="as_of is a Monday")
    def as_of_is_a_monday(cls, data: pa.PolarsData) -> pl.LazyFrame:  # noqa: N805
        return data.lazyframe.select(pl.col("as_of").dt.weekday() == 1)

    @pa.dataframe_check(error="known_at is after as_of_at")
    def matures_after_it_starts(cls, data: pa.PolarsData) -> pl.LazyFrame:  # noqa: N805
        return data.lazyframe.select(pl.col("known_at") > pl.col("as_of_at"))


PURCHASES = Contract(
    "labels.purchases",
    Purchases,
    DATA_TEAM,
    key=("as_of", "household_id", "product_id"),
    partition_column="as_of",
    freshness_days=FRESHNESS_DAYS,
)

LABELS = (PURCHASES,)
