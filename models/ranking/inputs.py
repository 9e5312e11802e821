"""What the offer ranker is given: its features and the orders of its candidate sources.

The names are those of ``models.features``; ``docs/ranking.md`` says what each is for.
"""

from __future__ import annotations

from models.ranking.candidates import NEIGHBOURS_SCORE, SOURCES
from models.ranking.context import CONTEXT
from models.ranking.dataset import FeatureLists
from models.ranking.order import OrderBy

# Habit that fades; of equals, what was bought more in the year, then most recently. On as-of weeks
# 42-44 the first ten of it have NDCG@10 .294, those of plain yearly counts .279.
PERSONAL_ORDER = (
    OrderBy("habit_60d"),
    OrderBy("baskets_364d"),
    OrderBy("days_since_last_purchase", descending=False),
)

# A month is recent enough to follow the season and long enough to be stable.
GLOBAL_ORDER = (OrderBy("households_28d"), OrderBy("households_91d"))

STORE_ORDER = (OrderBy("households_28d"), OrderBy("households_91d"))
TYPE_ORDER = (OrderBy("purchases_91d"), OrderBy("purchases_364d"))

# About 220 distinct products per household. More hold more of what is bought, but hardly any of it
# reaches the first ten: on weeks 42-44 twice as many held 41 % instead of 38 %.
PERSONAL_LIMIT = 120
NEIGHBOURS_LIMIT = 80
GLOBAL_LIMIT = 40
STORE_LIMIT = 30
PROMOTED_LIMIT = 30
COUPON_LIMIT = 15
SUBSTITUTE_TYPES = 15
SUBSTITUTES_PER_TYPE = 2

# One column per idea: training costs about the same for every column, and windows overlap.
FEATURES = FeatureLists(
    candidate=(
        *(f"{source}_rank" for source in SOURCES),
        "score",
        NEIGHBOURS_SCORE,
        *CONTEXT,
    ),
    household=(
        "baskets_28d",
        "baskets_364d",
        "lines_28d",
        "spend_91d",
        "products_91d",
        "basket_value_91d",
        "days_since_last_basket",
        "days_since_first_basket",
        "days_between_baskets",
        "discount_share_91d",
        "private_share_91d",
    ),
    product=(
        "households_7d",
        "households_28d",
        "households_364d",
        "baskets_364d",
        "unit_price_91d",
        "discount_share_91d",
        "repeat_rate_364d",
        "baskets_trend",
        "days_since_last_sale",
    ),
    household_product=(
        "baskets_7d",
        "baskets_28d",
        "baskets_91d",
        "baskets_182d",
        "baskets_364d",
        "habit_20d",
        "habit_60d",
        "units_364d",
        "spend_364d",
        "days_since_last_purchase",
        "days_since_first_purchase",
        "days_between_purchases",
        "days_between_deviation",
        "recency_over_interval",
        "overdue",
        "basket_share_364d",
        "last_unit_price",
        "discount_share_364d",
    ),
)
