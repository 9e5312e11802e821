"""What a simulated market is like: its size, its demand, its promotions and their true effects."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date

from models.evaluation.scopes import BEVERAGE_CATEGORIES

# A chain of drinks, so that whatever picks beverages picks these.
DRINKS = tuple(sorted(BEVERAGE_CATEGORIES))


@dataclass(frozen=True)
class MarketSettings:
    """A market. Means and standard deviations of effects are on the log scale.

    Attributes:
        stores: How many.
        products: How many the chain sells.
        categories: Into how many categories they fall.
        types_per_category: And those into types.
        weeks: Length of the history.
        first_week: Monday of its first week.
        category_names: Names, used in turn.
        base_units: Mean units of a product in a store and week without any promotion.
        assortment: Share of the products that a store carries.
        product_sd: Spread of products' sizes.
        store_sd: Spread of stores' sizes.
        pair_sd: Spread of a product over stores of one size.
        season: Amplitude of a category's yearly season.
        shock_sd: Spread of a product's own weekly demand over the whole chain.
        shock_memory: Share of that which is left a week later.
        trips_per_store: Mean trips of the panel to a store in a week.
        trips_sd: Spread of a store's trips from week to week.
        size: Of the negative binomial; variance is mean + mean²/size. ``None`` is Poisson.
        promotion_rate: Share of product-weeks in which the chain promotes a product.
        timing: How strongly promotions seek weeks of high demand: added to the log odds per
            standard deviation of the demand that the chain foresees.
        execution: Share of stores that carry out what the chain plans.
        display_effect: Mean and spread over products of the effect of a display.
        mailer_effect: Of the mailer.
        elasticity: Of the price, as a positive number.
        null_share: Share of products that no action moves.
        effect_scale: Multiplies every effect; 0 is a market in which nothing works.
        diversion_type: Share of incremental units taken from rivals of the same type.
        diversion_category: Share taken from the other types of the category.
        pull_forward: Shares of incremental units missing one, two, ... weeks later.
    """

    stores: int = 20
    products: int = 60
    categories: int = 3
    types_per_category: int = 3
    weeks: int = 60
    first_week: date = date(2016, 1, 4)
    category_names: tuple[str, ...] = DRINKS
    base_units: float = 6.0
    assortment: float = 1.0
    product_sd: float = 0.7
    store_sd: float = 0.4
    pair_sd: float = 0.4
    season: float = 0.25
    shock_sd: float = 0.1
    shock_memory: float = 0.6
    trips_per_store: float = 400.0
    trips_sd: float = 0.08
    size: float | None = 5.0
    promotion_rate: float = 0.15
    timing: float = 0.7
    execution: float = 0.8
    display_effect: tuple[float, float] = (0.5, 0.25)
    mailer_effect: tuple[float, float] = (0.3, 0.2)
    elasticity: tuple[float, float] = (2.0, 0.7)
    null_share: float = 0.2
    effect_scale: float = 1.0
    diversion_type: float = 0.25
    diversion_category: float = 0.1
    pull_forward: tuple[float, ...] = (0.12, 0.06, 0.03)

    def __post_init__(self) -> None:
        groups = self.categories * self.types_per_category
        if min(self.stores, self.products, self.weeks, groups) < 1 or self.products < groups:
            raise ValueError(
                f"market of {self.stores} stores, {self.products} products in {groups} types, "
                f"{self.weeks} weeks: give at least one of each, and a product per type"
            )
        for name in ("assortment", "promotion_rate", "execution", "null_share"):
            share = getattr(self, name)
            if not 0.0 <= share <= 1.0:
                raise ValueError(f"market: {name} is {share}; give a share from 0 to 1")
        if self.base_units <= 0.0 or (self.size is not None and self.size <= 0.0):
            raise ValueError(
                f"market: base_units {self.base_units}, size {self.size}; give more than 0 "
                "(size None for Poisson)"
            )

    def without_effects(self) -> MarketSettings:
        """The same market, in which no action does anything."""
        return replace(self, effect_scale=0.0)


def household_panel(*, stores: int = 111, products: int = 600, weeks: int = 53) -> MarketSettings:
    """A market seen through a panel of households: 90-95 % of its counts are zero."""
    return MarketSettings(
        stores=stores,
        products=products,
        categories=12,
        types_per_category=5,
        weeks=weeks,
        first_week=date(2016, 12, 26),
        base_units=0.07,
        trips_per_store=26.0,
        trips_sd=0.2,
        size=3.0,
        assortment=0.5,
    )
