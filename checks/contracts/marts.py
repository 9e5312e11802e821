"""Contracts of ``marts.*``: the tables that dbt builds and everything downstream reads.

One Pandera model per mart table; the dbt YAML beside each model repeats names, types, nullability
and descriptions, and a test compares the two. ``week_start`` is the partition column of every mart:
the Monday of the event for facts, of the drop that first stated the row for dimensions, campaign
targets and coupon products. History views (``dim_*_history``, ``dim_*_current``) add validity to
these columns and have no contract of their own.
"""

from __future__ import annotations

import pandera.polars as pa
import polars as pl

from checks.contracts.contract import Contract, column
from checks.contracts.raw import DATA_TEAM, MAX_MONEY, MAX_QUANTITY, WEEKLY_SLA_DAYS

_ID = {"min_value": 1, "max_value": 64}
_PSEUDONYM = {"min_value": 12, "max_value": 12}
_CODE = {"min_value": 1, "max_value": 16}
_MONEY = {"min_value": 0, "max_value": MAX_MONEY}

# A shelf discount is a share of the regular price.
_SHARE = {"min_value": 0, "max_value": 1}


class _Weekly(pa.DataFrameModel):
    @pa.dataframe_check(error="week_start is a Monday")
    def week_start_is_a_monday(cls, data: pa.PolarsData) -> pl.LazyFrame:  # noqa: N805
        return data.lazyframe.select(pl.col("week_start").dt.weekday() == 1)


class _Event(_Weekly):
    """Facts: they belong to the week in which they happened."""

    week_start: pl.Date = column("Monday of the business week", privacy="public")
    known_at: pl.Datetime("us") = column(  # type: ignore[valid-type]
        "When the row could first be used: the end of its week", unit="UTC", privacy="public"
    )


class _Stated(_Weekly):
    """Rows that a drop stated for the first time."""

    week_start: pl.Date = column("Week of the drop that first stated the row", privacy="public")
    known_at: pl.Datetime("us") = column(  # type: ignore[valid-type]
        "When the row could first be used", unit="UTC", privacy="public"
    )


class DimProduct(_Stated):
    """One row per version of a product; a drop that states other attributes opens a version."""

    product_id: str = column("Product", privacy="public", str_length=_ID)
    manufacturer_id: str = column("Manufacturer", privacy="public", nullable=True, str_length=_ID)
    department: str = column("Department", privacy="public", nullable=True)
    brand: str = column("National or Private", privacy="public", nullable=True)
    category: str = column("Category within the department", privacy="public", nullable=True)
    type: str = column("Type within the category", privacy="public", nullable=True)
    size: str = column("Package size as printed", privacy="public", nullable=True)


class DimStore(_Stated):
    """One row per version of a store."""

    store_id: str = column("Store", privacy="public", str_length=_ID)
    channel: str = column(
        "Sales channel", privacy="public", isin=["retail", "foodservice", "digital"]
    )
    region: str = column("Region", privacy="public", nullable=True)


class DimHousehold(_Stated):
    """One row per version of a household's stated demographics. Never a model input."""

    household_id: str = column(
        "Pseudonym of the household", privacy="pseudonymous", str_length=_PSEUDONYM
    )
    age: str = column("Age band", privacy="sensitive", nullable=True)
    income: str = column("Income band", privacy="sensitive", nullable=True)
    home_ownership: str = column("Home ownership", privacy="sensitive", nullable=True)
    marital_status: str = column("Marital status", privacy="sensitive", nullable=True)
    size: str = column("Persons in the household", privacy="sensitive", nullable=True)
    composition: str = column("Adults and children", privacy="sensitive", nullable=True)
    kids: str = column("Number of children", privacy="sensitive", nullable=True)


class DimCampaign(_Stated):
    """One row per version of a campaign."""

    campaign_id: str = column("Campaign", privacy="public", str_length=_ID)
    campaign_type: str = column("Campaign type", privacy="public", nullable=True)
    channel: str = column("Channel of the campaign", privacy="public", nullable=True)
    start_date: pl.Date = column("First day")
    end_date: pl.Date = column("Last day")

    @pa.dataframe_check(error="end_date is not before start_date")
    def ends_after_it_starts(cls, data: pa.PolarsData) -> pl.LazyFrame:  # noqa: N805
        return data.lazyframe.select(pl.col("end_date") >= pl.col("start_date"))


class FctBasketLine(_Event):
    """One product on one receipt, with what it cost before and after the loyalty-card discount."""

    household_id: str = column(
        "Pseudonym of the household", privacy="pseudonymous", str_length=_PSEUDONYM
    )
    store_id: str = column("Store of the sale", privacy="public", str_length=_ID)
    basket_id: str = column("Receipt", privacy="pseudonymous", str_length=_ID)
    product_id: str = column("Product sold", privacy="public", str_length=_ID)
    quantity: pl.Int64 = column(
        "Units sold; fuel and some miscellaneous products are in other units, up to 89,638",
        unit="units",
        in_range={"min_value": 0, "max_value": MAX_QUANTITY},
    )
    sales_value: float = column("Paid to the retailer", unit="USD", in_range=_MONEY)
    retail_disc: float = column("Loyalty-card discount, positive", unit="USD", in_range=_MONEY)
    coupon_disc: float = column("Manufacturer coupon, positive", unit="USD", in_range=_MONEY)
    coupon_match_disc: float = column(
        "Retailer's match of the coupon, positive", unit="USD", in_range=_MONEY
    )
    regular_price: float = column(
        "Price of a unit without any discount; null when quantity is 0",
        unit="USD",
        nullable=True,
        in_range=_MONEY,
    )
    loyalty_price: float = column(
        "Price of a unit with the loyalty card, before coupons; null when quantity is 0",
        unit="USD",
        nullable=True,
        in_range=_MONEY,
    )
    sold_at: pl.Datetime("us") = column("Time of the sale", unit="UTC")  # type: ignore[valid-type]

    @pa.dataframe_check(error="prices are null exactly when quantity is 0")
    def prices_follow_quantity(cls, data: pa.PolarsData) -> pl.LazyFrame:  # noqa: N805
        unsold = pl.col("quantity") == 0
        return data.lazyframe.select(
            (pl.col("regular_price").is_null() == unsold)
            & (pl.col("loyalty_price").is_null() == unsold)
        )


class FctPromotion(_Weekly):
    """Display and mailer of a product in a store and week: the plan, known as the week starts."""

    product_id: str = column("Product promoted", privacy="public", str_length=_ID)
    store_id: str = column("Store of the promotion", privacy="public", str_length=_ID)
    display: str = column("Display location code; '0' is none", privacy="public", str_length=_CODE)
    mailer: str = column("Mailer location code; '0' is none", privacy="public", str_length=_CODE)
    on_display: bool = column("Any display", privacy="public")
    in_mailer: bool = column("Any mailer", privacy="public")
    week_start: pl.Date = column("Monday of the business week", privacy="public")
    known_at: pl.Datetime("us") = column(  # type: ignore[valid-type]
        "When the row could first be used: the start of its week, as the plan is known in advance",
        unit="UTC",
        privacy="public",
    )


class FctStoreProductWeek(_Event):
    """What a store's panel households bought of a product in a week, and how it was promoted."""

    store_id: str = column("Store", privacy="public", str_length=_ID)
    product_id: str = column("Product", privacy="public", str_length=_ID)
    units: pl.Int64 = column(
        "Units sold; fuel-like products are in other units",
        unit="units",
        in_range={"min_value": 0, "max_value": MAX_QUANTITY * 1_000},
    )
    revenue: float = column("Paid to the retailer", unit="USD", in_range=_MONEY)
    baskets: pl.Int64 = column("Receipts with the product", unit="baskets", ge=1)
    households: pl.Int64 = column("Households that bought it", unit="households", ge=1)
    price: float = column(
        "Revenue per unit; null when no unit was sold", unit="USD", nullable=True, in_range=_MONEY
    )
    regular_price: float = column(
        "Price of a unit without any discount, weighted by units; null when no unit was sold",
        unit="USD",
        nullable=True,
        in_range=_MONEY,
    )
    loyalty_price: float = column(
        "Price of a unit with the loyalty card, weighted by units; null when no unit was sold",
        unit="USD",
        nullable=True,
        in_range=_MONEY,
    )
    discount_depth: float = column(
        "Loyalty-card discount as a share of the regular value; null when that is 0",
        unit="share",
        nullable=True,
        in_range=_SHARE,
    )
    coupon_depth: float = column(
        "Coupons and their match as a share of the regular value; null when that is 0. A coupon"
        " may be worth more than the product",
        unit="share",
        nullable=True,
        ge=0,
    )
    display: str = column("Display location code; '0' is none", privacy="public", str_length=_CODE)
    mailer: str = column("Mailer location code; '0' is none", privacy="public", str_length=_CODE)
    on_display: bool = column("Any display", privacy="public")
    in_mailer: bool = column("Any mailer", privacy="public")
    promotions_reported: bool = column(
        "Whether the store reported promotions that week; if not, 'none' means unknown",
        privacy="public",
    )


class FctCampaignTarget(_Stated):
    """A household addressed by a campaign, from when it was first stated."""

    campaign_id: str = column("Campaign", privacy="public", str_length=_ID)
    household_id: str = column(
        "Pseudonym of the household", privacy="pseudonymous", str_length=_PSEUDONYM
    )


class FctCouponProduct(_Stated):
    """A product that a campaign's coupon is valid for, from when it was first stated."""

    coupon_id: str = column("Coupon", privacy="public", str_length=_ID)
    product_id: str = column("Product", privacy="public", str_length=_ID)
    campaign_id: str = column("Campaign", privacy="public", str_length=_ID)


class FctCouponRedemption(_Event):
    """A coupon that a household redeemed."""

    household_id: str = column(
        "Pseudonym of the household", privacy="pseudonymous", str_length=_PSEUDONYM
    )
    coupon_id: str = column("Coupon", privacy="public", str_length=_ID)
    campaign_id: str = column("Campaign", privacy="public", str_length=_ID)
    redeemed_on: pl.Date = column("Day of redemption")


DIM_PRODUCT = Contract("marts.dim_product", DimProduct, DATA_TEAM, key=("product_id", "week_start"))
DIM_STORE = Contract("marts.dim_store", DimStore, DATA_TEAM, key=("store_id", "week_start"))
DIM_HOUSEHOLD = Contract(
    "marts.dim_household", DimHousehold, DATA_TEAM, key=("household_id", "week_start")
)
DIM_CAMPAIGN = Contract(
    "marts.dim_campaign", DimCampaign, DATA_TEAM, key=("campaign_id", "week_start")
)
# Two scans of one product on one receipt are two lines: no key.
FCT_BASKET_LINE = Contract(
    "marts.fct_basket_line", FctBasketLine, DATA_TEAM, freshness_days=WEEKLY_SLA_DAYS
)
FCT_PROMOTION = Contract(
    "marts.fct_promotion",
    FctPromotion,
    DATA_TEAM,
    key=("product_id", "store_id", "week_start"),
    freshness_days=WEEKLY_SLA_DAYS,
)
FCT_STORE_PRODUCT_WEEK = Contract(
    "marts.fct_store_product_week",
    FctStoreProductWeek,
    DATA_TEAM,
    key=("store_id", "product_id", "week_start"),
    freshness_days=WEEKLY_SLA_DAYS,
)
FCT_CAMPAIGN_TARGET = Contract(
    "marts.fct_campaign_target",
    FctCampaignTarget,
    DATA_TEAM,
    key=("campaign_id", "household_id"),
)
FCT_COUPON_PRODUCT = Contract(
    "marts.fct_coupon_product",
    FctCouponProduct,
    DATA_TEAM,
    key=("coupon_id", "product_id", "campaign_id"),
)
# The source states no receipt: one household may redeem one coupon twice in a day.
FCT_COUPON_REDEMPTION = Contract("marts.fct_coupon_redemption", FctCouponRedemption, DATA_TEAM)

MARTS = (
    DIM_PRODUCT,
    DIM_STORE,
    DIM_HOUSEHOLD,
    DIM_CAMPAIGN,
    FCT_BASKET_LINE,
    FCT_PROMOTION,
    FCT_STORE_PRODUCT_WEEK,
    FCT_CAMPAIGN_TARGET,
    FCT_COUPON_PRODUCT,
    FCT_COUPON_REDEMPTION,
)
