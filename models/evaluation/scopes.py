"""Scopes: the parts of the range that the ranker is judged on, by the products they hold."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

import polars as pl

ALL = "all"
BEVERAGES = "beverages"

# Drinks as the retailer's categories name them, alcohol included; plain milk is dairy.
BEVERAGE_CATEGORIES = frozenset(
    {
        "BEERS/ALES",
        "BEVERAGE",
        "CANNED JUICES",
        "COCOA MIXES",
        "COFFEE",
        "DOMESTIC WINE",
        "DRY TEA/COFFEE/COCO MIX",
        "FRZN JCE CONC/DRNKS",
        "IMPORTED WINE",
        "ISOTONIC DRINKS",
        "JUICE",
        "LIQUOR",
        "MISC WINE",
        "NDAIRY/TEAS/JUICE/SOD",
        "NON-DAIRY BEVERAGES",
        "PWDR/CRYSTL DRNK MX",
        "REFRGRATD JUICES/DRNKS",
        "SERVICE BEVERAGE",
        "SOFT DRINKS",
        "TEAS",
        "WATER",
        "WATER - CARBONATED/FLVRD DRINK",
    }
)

Frame = TypeVar("Frame", pl.DataFrame, pl.LazyFrame)


@dataclass(frozen=True)
class Scope:
    """Part of the range.

    Attributes:
        name: ``all`` or ``beverages``.
        products: Product ids that belong to it; ``None`` for every product.
    """

    name: str
    products: frozenset[str] | None = None

    def of(self, frame: Frame) -> Frame:
        """The frame's rows whose ``product_id`` belongs to the scope."""
        if self.products is None:
            return frame
        return frame.filter(pl.col("product_id").is_in(sorted(self.products)))


def beverages(products: pl.DataFrame, *, categories: Iterable[str] = BEVERAGE_CATEGORIES) -> Scope:
    """The scope of drinks.

    Args:
        products: ``product_id, category``, every version of a product.
        categories: Category names that are drinks.

    Returns:
        The scope; it has no products where the retailer names its categories otherwise.
    """
    drinks = products.filter(pl.col("category").is_in(sorted(categories)))
    return Scope(BEVERAGES, frozenset(drinks["product_id"].to_list()))
