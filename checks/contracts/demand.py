"""Contracts of ``demand.*``: the panel, and the forecasts of coming weeks."""

from __future__ import annotations

import pandera.polars as pa
import polars as pl

from checks.contracts.contract import Contract, column
from models.demand.prices import BASE_PRICE_SOURCES, DISCOUNT_SOURCES, MAX_DISCOUNT

DEMAND_TEAM = "team:demand"

# A panel row is made for the coming week, so its newest is never older than two.
PANEL_SLA_DAYS = 14

# The booster sums its trees in single precision.
DRIVERS_TOLERANCE = 1e-3

_ID = {"min_value": 1, "max_value": 64}
_CODE = {"min_value": 1, "max_value": 8}
# Far above any household panel's sales of one product in one store and week.
_UNITS = {"min_value": 0, "max_value": 100_000}
_PRICE = {"min_value": 0.0, "max_value": 10_000.0}


class _ProductStore(pa.DataFrameModel):
    store_id: str = column("Store", privacy="public", str_length=_ID)
    product_id: str = column("Product", privacy="public", str_length=_ID)


class DemandPanel(_ProductStore):
    """A drink that a store has on its shelf in a week: what was sold of it, and its plan."""

    week_start: pl.Date = column("Monday of the business week", privacy="public")
    units: pl.Int64 = column(
        "Units sold, 0 if none; null while the week has not ended",
        unit="units",
        nullable=True,
        in_range=_UNITS,
    )
    revenue: float = column(
        "Paid to the retailer; null while the week has not ended", unit="USD", nullable=True, ge=0.0
    )
    price: float = column(
        "Shelf price less discount; null if the shelf price is unknown",
        unit="USD",
        nullable=True,
        in_range=_PRICE,
    )
    base_price: float = column(
        "Shelf price without discount, as it was in the weeks before; null if never seen",
        unit="USD",
        nullable=True,
        in_range=_PRICE,
    )
    discount: float = column(
        "Share of the shelf price, never from the row's own sale",
        unit="share",
        in_range={"min_value": 0.0, "max_value": MAX_DISCOUNT},
    )
    display: str = column("Display location code; '0' is none", privacy="public", str_length=_CODE)
    mailer: str = column("Mailer location code; '0' is none", privacy="public", str_length=_CODE)
    category: str = column("Category within the department", privacy="public", nullable=True)
    manufacturer_id: str = column("Manufacturer", privacy="public", nullable=True)
    type: str = column("Type within the category", privacy="public", nullable=True)
    panel_trips: pl.Int64 = column(
        "Baskets of the panel in the store; null while the week has not ended",
        unit="baskets",
        nullable=True,
        ge=0,
    )
    active: bool = column(
        "In the assortment as known before the week; rows that are not are history only"
    )
    plan_known: bool = column("Whether the store reports promotions for the week")
    discount_source: str = column("Where the discount comes from", isin=list(DISCOUNT_SOURCES))
    base_price_source: str = column(
        "Where the shelf price comes from", isin=list(BASE_PRICE_SOURCES)
    )
    known_at: pl.Datetime("us") = column(  # type: ignore[valid-type]
        "When the row could first be used: the end of its week, or its start for the plan alone",
        unit="UTC",
        privacy="public",
    )

    @pa.dataframe_check(error="week_start is a Monday")
    def week_is_a_monday(cls, data: pa.PolarsData) -> pl.LazyFrame:  # noqa: N805
        return data.lazyframe.select(pl.col("week_start").dt.weekday() == 1)

    @pa.dataframe_check(error="a row that is not active has sales")
    def inactive_rows_sold(cls, data: pa.PolarsData) -> pl.LazyFrame:  # noqa: N805
        return data.lazyframe.select(pl.col("active") | pl.col("units").is_not_null())


class DemandForecasts(_ProductStore):
    """What will be sold of a drink in a store and a coming week, and how sure that is."""

    as_of: pl.Date = column("Monday at whose start we stand", privacy="public")
    week_start: pl.Date = column("Monday of the week forecast", privacy="public")
    horizon: pl.Int32 = column("Weeks from the last known one", unit="weeks", ge=1)
    mean: float = column("Mean units", unit="units", ge=0.0)
    low: float = column("Lower end of the 95 % interval", unit="units", ge=0.0)
    high: float = column("Upper end of the 95 % interval", unit="units", ge=0.0)
    level: float = column("Units that the past alone promises", unit="units", gt=0.0)
    correction: float = column("Factor of the last weeks' sales over their forecasts", gt=0.0)
    units_base: float = column(
        "Units of the mean that the product sells anyway; null where no plan is known",
        unit="units",
        nullable=True,
    )
    units_season: float = column(
        "Units of the mean that the season brings; null where no plan is known",
        unit="units",
        nullable=True,
    )
    units_price: float = column(
        "Units of the mean that price and discount bring; null where no plan is known",
        unit="units",
        nullable=True,
    )
    units_display: float = column(
        "Units of the mean that displays bring; null where no plan is known",
        unit="units",
        nullable=True,
    )
    units_mailer: float = column(
        "Units of the mean that the mailer brings; null where no plan is known",
        unit="units",
        nullable=True,
    )
    units_cross: float = column(
        "Units of the mean that competitors' plans bring or take; null where no plan is known",
        unit="units",
        nullable=True,
    )
    plan_known: bool = column("Whether promotions of the week were known; if not, none are assumed")
    model_version: str = column("Model that forecast it", privacy="public", str_length=_ID)
    known_at: pl.Datetime("us") = column(  # type: ignore[valid-type]
        "When the row could first be used: the start of the as-of week",
        unit="UTC",
        privacy="public",
    )

    @pa.dataframe_check(error="low is not above high")
    def ends_in_order(cls, data: pa.PolarsData) -> pl.LazyFrame:  # noqa: N805
        return data.lazyframe.select(pl.col("low") <= pl.col("high"))

    @pa.dataframe_check(error="the drivers sum to the mean")
    def drivers_sum(cls, data: pa.PolarsData) -> pl.LazyFrame:  # noqa: N805
        drivers = pl.sum_horizontal(pl.col(r"^units_\w+$"))
        close = (drivers - pl.col("mean")).abs() <= DRIVERS_TOLERANCE * (1.0 + pl.col("mean"))
        return data.lazyframe.select(pl.col("units_base").is_null() | close)

    @pa.dataframe_check(error="as_of is a Monday")
    def as_of_is_a_monday(cls, data: pa.PolarsData) -> pl.LazyFrame:  # noqa: N805
        return data.lazyframe.select(pl.col("as_of").dt.weekday() == 1)


DEMAND_PANEL = Contract(
    "demand.panel",
    DemandPanel,
    DEMAND_TEAM,
    key=("store_id", "product_id", "week_start"),
    freshness_days=PANEL_SLA_DAYS,
)
DEMAND_FORECASTS = Contract(
    "demand.forecasts",
    DemandForecasts,
    DEMAND_TEAM,
    key=("as_of", "horizon", "store_id", "product_id"),
    partition_column="as_of",
)

DEMAND = (DEMAND_PANEL, DEMAND_FORECASTS)
