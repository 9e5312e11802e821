"""Contracts of ``raw.*``: what a weekly drop must hold once it has been let in.

Ids are text, so that any retailer's fit. Times are naive UTC. ``week_start`` is the Monday of the
business week: of the sale for ``basket_lines``, of the promotion for ``promotions``, and of the
drop the row arrived in for every other table.
"""

from __future__ import annotations

import pandera.polars as pa
import polars as pl

from checks.contracts.contract import Contract, column

DATA_TEAM = "team:data"

_ID = {"min_value": 1, "max_value": 64}
_CODE = {"min_value": 1, "max_value": 16}
MAX_MONEY = 1_000_000.0
MAX_QUANTITY = 1_000_000


class _Weekly(pa.DataFrameModel):
    week_start: pl.Date = column("Monday of the business week", privacy="public")
    known_at: pl.Datetime("us") = column(  # type: ignore[valid-type]
        "When the row could first be used", unit="UTC", privacy="public"
    )

    @pa.dataframe_check(error="week_start is a Monday")
    def week_start_is_a_monday(cls, data: pa.PolarsData) -> pl.LazyFrame:  # noqa: N805
        return data.lazyframe.select(pl.col("week_start").dt.weekday() == 1)


class BasketLines(_Weekly):
    """One product on one receipt of a panel household."""

    household_id: str = column(
        "Pseudonym of the household",
        privacy="pseudonymous",
        str_length={"min_value": 12, "max_value": 12},
    )
    store_id: str = column("Store of the sale", privacy="public", str_length=_ID)
    basket_id: str = column("Receipt", privacy="pseudonymous", str_length=_ID)
    product_id: str = column("Product sold", privacy="public", str_length=_ID)
    quantity: pl.Int64 = column(
        "Units sold; fuel is in other units",
        unit="units",
        in_range={"min_value": 0, "max_value": MAX_QUANTITY},
    )
    sales_value: float = column(
        "Paid to the retailer", unit="USD", in_range={"min_value": 0, "max_value": MAX_MONEY}
    )
    retail_disc: float = column(
        "Loyalty-card discount, positive",
        unit="USD",
        in_range={"min_value": 0, "max_value": MAX_MONEY},
    )
    coupon_disc: float = column(
        "Manufacturer coupon, positive",
        unit="USD",
        in_range={"min_value": 0, "max_value": MAX_MONEY},
    )
    coupon_match_disc: float = column(
        "Retailer's match of the coupon, positive",
        unit="USD",
        in_range={"min_value": 0, "max_value": MAX_MONEY},
    )
    sold_at: pl.Datetime("us") = column("Time of the sale", unit="UTC")  # type: ignore[valid-type]


class Promotions(_Weekly):
    """Display and mailer placement of a product in a store and week; two rows may occur."""

    product_id: str = column("Product promoted", privacy="public", str_length=_ID)
    store_id: str = column("Store of the promotion", privacy="public", str_length=_ID)
    display: str = column("Display location code; '0' is none", privacy="public", str_length=_CODE)
    mailer: str = column("Mailer location code; '0' is none", privacy="public", str_length=_CODE)


class Products(_Weekly):
    """A product's attributes as a drop stated them; a later drop that differs opens a version."""

    product_id: str = column("Product", privacy="public", str_length=_ID)
    manufacturer_id: str = column("Manufacturer", privacy="public", nullable=True, str_length=_ID)
    department: str = column("Department", privacy="public", nullable=True)
    brand: str = column("National or Private", privacy="public", nullable=True)
    category: str = column("Category within the department", privacy="public", nullable=True)
    type: str = column("Type within the category", privacy="public", nullable=True)
    size: str = column("Package size as printed", privacy="public", nullable=True)


class Stores(_Weekly):
    """A store as a drop stated it."""

    store_id: str = column("Store", privacy="public", str_length=_ID)
    channel: str = column(
        "Sales channel", privacy="public", isin=["retail", "foodservice", "digital"]
    )
    region: str = column("Region", privacy="public", nullable=True)


class Households(_Weekly):
    """Demographics a household has stated. Audits fairness; never a model input."""

    household_id: str = column(
        "Pseudonym of the household",
        privacy="pseudonymous",
        str_length={"min_value": 12, "max_value": 12},
    )
    age: str = column("Age band", privacy="sensitive", nullable=True)
    income: str = column("Income band", privacy="sensitive", nullable=True)
    home_ownership: str = column("Home ownership", privacy="sensitive", nullable=True)
    marital_status: str = column("Marital status", privacy="sensitive", nullable=True)
    size: str = column("Persons in the household", privacy="sensitive", nullable=True)
    composition: str = column("Adults and children", privacy="sensitive", nullable=True)
    kids: str = column("Number of children", privacy="sensitive", nullable=True)


class Campaigns(_Weekly):
    """A marketing campaign, announced in the week before it starts."""

    campaign_id: str = column("Campaign", privacy="public", str_length=_ID)
    campaign_type: str = column("Campaign type", privacy="public", nullable=True)
    channel: str = column("Channel of the campaign", privacy="public", nullable=True)
    start_date: pl.Date = column("First day")
    end_date: pl.Date = column("Last day")

    @pa.dataframe_check(error="end_date is not before start_date")
    def ends_after_it_starts(cls, data: pa.PolarsData) -> pl.LazyFrame:  # noqa: N805
        return data.lazyframe.select(pl.col("end_date") >= pl.col("start_date"))


class CampaignTargets(_Weekly):
    """A household addressed by a campaign."""

    campaign_id: str = column("Campaign", privacy="public", str_length=_ID)
    household_id: str = column(
        "Pseudonym of the household",
        privacy="pseudonymous",
        str_length={"min_value": 12, "max_value": 12},
    )


class Coupons(_Weekly):
    """A product that a campaign's coupon is valid for."""

    coupon_id: str = column("Coupon", privacy="public", str_length=_ID)
    product_id: str = column("Product", privacy="public", str_length=_ID)
    campaign_id: str = column("Campaign", privacy="public", str_length=_ID)


class CouponRedemptions(_Weekly):
    """A coupon that a household redeemed."""

    household_id: str = column(
        "Pseudonym of the household",
        privacy="pseudonymous",
        str_length={"min_value": 12, "max_value": 12},
    )
    coupon_id: str = column("Coupon", privacy="public", str_length=_ID)
    campaign_id: str = column("Campaign", privacy="public", str_length=_ID)
    redeemed_on: pl.Date = column("Day of redemption")


# A weekly drop may be one week late before somebody should look.
WEEKLY_SLA_DAYS = 14

BASKET_LINES = Contract("raw.basket_lines", BasketLines, DATA_TEAM, freshness_days=WEEKLY_SLA_DAYS)
PROMOTIONS = Contract("raw.promotions", Promotions, DATA_TEAM, freshness_days=WEEKLY_SLA_DAYS)
PRODUCTS = Contract("raw.products", Products, DATA_TEAM, key=("product_id", "week_start"))
STORES = Contract("raw.stores", Stores, DATA_TEAM, key=("store_id", "week_start"))
HOUSEHOLDS = Contract("raw.households", Households, DATA_TEAM, key=("household_id", "week_start"))
CAMPAIGNS = Contract("raw.campaigns", Campaigns, DATA_TEAM, key=("campaign_id", "week_start"))
CAMPAIGN_TARGETS = Contract(
    "raw.campaign_targets",
    CampaignTargets,
    DATA_TEAM,
    key=("campaign_id", "household_id", "week_start"),
)
COUPONS = Contract(
    "raw.coupons", Coupons, DATA_TEAM, key=("coupon_id", "product_id", "campaign_id", "week_start")
)
COUPON_REDEMPTIONS = Contract("raw.coupon_redemptions", CouponRedemptions, DATA_TEAM)

RAW = (
    BASKET_LINES,
    PROMOTIONS,
    PRODUCTS,
    STORES,
    HOUSEHOLDS,
    CAMPAIGNS,
    CAMPAIGN_TARGETS,
    COUPONS,
    COUPON_REDEMPTIONS,
)
