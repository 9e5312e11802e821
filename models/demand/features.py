"""The names of what the demand model sees, grouped by the driver they stand for.

A row's margin is the log of its start level plus one contribution per feature; contributions are
summed by these groups. What may only raise or only lower demand is declared here too.
"""

from __future__ import annotations

from collections.abc import Mapping

# How much of it is sold, without looking at promotions.
PLAIN_BASE = (
    "log_level",
    "log_exposure",
    "lag_1",
    "lag_2",
    "lag_3",
    "lag_4",
    "trend_1",
    "trend_2",
    "trend_4",
    "trend_13",
    "trend_26",
    "trend_52",
    "spread_13",
    "peak_13",
    "median_13",
    "zero_share_13",
    "zero_share_26",
    "weeks_since_sale",
    "pair_age",
    "product_age",
    "product_rate",
    "pair_over_product",
    "product_trend_1",
    "product_trend_4",
    "product_trend_13",
    "category_trend_1",
    "category_trend_4",
    "store_trend_1",
    "store_trend_4",
    "store_category_trend_1",
    "store_category_trend_4",
    "store_category_rate",
    "product_stores",
    "category_products",
)
# The same with past promotions taken out.
CLEAN_BASE = (
    "clean_over_level",
    "clean_trend_1",
    "clean_trend_2",
    "clean_trend_4",
    "clean_trend_13",
    "clean_trend_26",
    "clean_trend_52",
    "unpromoted_trend",
    "product_residual_1",
    "product_residual_4",
    "category_residual_1",
    "category_residual_4",
    "store_residual_1",
    "store_residual_4",
    "store_category_residual_1",
    "store_category_residual_4",
)
BASE = PLAIN_BASE + CLEAN_BASE
SEASON = (
    "week_of_year",
    "day_of_month",
    "season_sin",
    "season_cos",
    "weeks_to_holiday",
    "weeks_since_holiday",
    "holiday",
    "year_ago_category",
    "year_ago_product",
    "year_ago_pair",
)
PRICE = (
    "discount",
    "log_price",
    "log_base_price",
    "price_over_mean_13",
    "price_over_last",
    "base_price_trend",
    "discount_last",
    "discount_mean_4",
    "discount_share_13",
    "weeks_since_discount",
    "promotion_response",
    "promotion_effect",
)
DISPLAY = ("display_strength", "display_elsewhere", "display_last", "display_share_8")
MAILER = ("mailer_strength", "mailer_elsewhere", "mailer_last", "mailer_share_8")
CROSS = (
    "price_over_category",
    "price_over_cheapest",
    "rivals_discount",
    "rivals_deepest",
    "rivals_promoted_share",
    "rivals_display_share",
    "rivals_mailer_share",
    "siblings_promoted_share",
)

GROUPS: Mapping[str, tuple[str, ...]] = {
    "base": BASE,
    "season": SEASON,
    "price": PRICE,
    "display": DISPLAY,
    "mailer": MAILER,
    "cross": CROSS,
}
FEATURES: tuple[str, ...] = tuple(name for group in GROUPS.values() for name in group)
# What a model that knows of no promotion sees.
NO_PROMOTION: tuple[str, ...] = PLAIN_BASE + SEASON

# 1: may only raise the forecast; -1: may only lower it.
MONOTONE: Mapping[str, int] = {
    "discount": 1,
    "log_price": -1,
    "price_over_mean_13": -1,
    "price_over_last": -1,
    "price_over_category": -1,
    "price_over_cheapest": -1,
    "promotion_effect": 1,
    "display_strength": 1,
    "mailer_strength": 1,
    # The same promotion in more stores is a bigger one.
    "display_elsewhere": 1,
    "mailer_elsewhere": 1,
}
