"""What the offer ranker is given: its features and the orders of its candidate sources.

The names are those of ``models.features``; ``docs/ranking.md`` says what each is for.
"""

from __future__ import annotations

from models.ranking.dataset import FeatureLists
from models.ranking.order import OrderBy

# A year of habit; of equals, what was bought more in the last quarter, then most recently.
PERSONAL_ORDER = (
    OrderBy("baskets_364d"),
    OrderBy("baskets_91d"),
    OrderBy("days_since_last_purchase", descending=False),
)

# A month is recent enough to follow the season and long enough to be stable.
GLOBAL_ORDER = (OrderBy("households_28d"), OrderBy("households_91d"))

# 110 at most per household; the tuning weeks' purchases are covered best by more personal ones.
PERSONAL_LIMIT = 80
GLOBAL_LIMIT = 30

# One column per idea: training costs about the same for every column, and windows overlap.
FEATURES = FeatureLists(
    candidate=("personal_rank", "global_rank", "score"),
    household=(
        "baskets_28d",
        "baskets_364d",
        "lines_28d",
        "spend_91d",
        "products_91d",
        "basket_value_91d",
        "days_since_last_basket",
        "days_between_baskets",
        "discount_share_91d",
    ),
    product=(
        "households_7d",
        "households_28d",
        "households_364d",
        "unit_price_91d",
        "discount_share_91d",
        "repeat_rate_364d",
        "baskets_trend",
        "days_since_last_sale",
    ),
    household_product=(
        "baskets_28d",
        "baskets_91d",
        "baskets_364d",
        "units_364d",
        "spend_364d",
        "days_since_last_purchase",
        "days_since_first_purchase",
        "days_between_purchases",
        "recency_over_interval",
        "basket_share_364d",
        "last_unit_price",
        "discount_share_364d",
    ),
)
