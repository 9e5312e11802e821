"""Tiny marts written by hand, and the feature sets computed on them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any

import polars as pl

from models.features import (
    FEATURE_SETS,
    household_features,
    household_product_features,
    household_store_features,
    household_type_features,
    product_features,
    store_features,
    store_product_features,
)

# Midnight of Monday 2017-03-13 in New York, the first after the clocks went forward.
MONDAY = date(2017, 3, 13)
INSTANT = datetime.fromisoformat("2017-03-13T04:00")

LINE_SCHEMA = {
    "household_id": pl.String,
    "store_id": pl.String,
    "basket_id": pl.String,
    "product_id": pl.String,
    "quantity": pl.Int64,
    "sales_value": pl.Float64,
    "retail_disc": pl.Float64,
    "coupon_disc": pl.Float64,
    "coupon_match_disc": pl.Float64,
    "sold_at": pl.Datetime("us"),
}
PRODUCT_SCHEMA = {
    "product_id": pl.String,
    "brand": pl.String,
    "category": pl.String,
    "type": pl.String,
    "known_at": pl.Datetime("us"),
}
PROMOTION_SCHEMA = {
    "product_id": pl.String,
    "store_id": pl.String,
    "week_start": pl.Date,
    "on_display": pl.Boolean,
    "in_mailer": pl.Boolean,
}

Marts = dict[str, pl.DataFrame]


def ago(days: float) -> datetime:
    return INSTANT - timedelta(days=days)


def line(
    household: str,
    basket: str,
    product: str,
    sold_at: datetime,
    *,
    store: str = "s1",
    quantity: int = 1,
    sales: float = 1.0,
    discount: float = 0.0,
    coupon: float = 0.0,
    match: float = 0.0,
) -> tuple[Any, ...]:
    return (
        household, store, basket, product, quantity, sales, discount, coupon, match, sold_at
    )  # fmt: skip


def lines_of(rows: list[tuple[Any, ...]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=LINE_SCHEMA, orient="row")


# Household h1: three baskets with milk, one line of fuel; h2: one old basket.
LINES = [
    line("h1", "b1", "milk", ago(3), quantity=2, sales=3.0, discount=1.0),
    line("h1", "b1", "bread", ago(3), sales=2.5),
    line("h1", "b2", "milk", ago(13), store="s2", sales=2.0, coupon=0.5, match=0.5),
    line("h1", "b3", "milk", ago(63), sales=2.25, discount=0.25),
    line("h1", "b4", "fuel", ago(40), quantity=9_000, sales=20.0),
    line("h2", "b5", "milk", ago(200), sales=2.5),
    line("h2", "b6", "bread", ago(400), sales=9.0),
]
PRODUCTS = [
    ("milk", "Private", "DAIRY", "MILK", ago(300)),
    ("bread", "National", "BAKERY", "LOAF", ago(300)),
    # Known only after the as-of: must not count yet.
    ("bread", "Private", "DAIRY", "MILK", ago(-1)),
    ("fuel", "National", "FUEL", None, ago(300)),
]
PROMOTIONS = [
    ("milk", "s1", MONDAY - timedelta(days=7), True, False),
    ("milk", "s1", MONDAY - timedelta(days=21), True, True),
    ("milk", "s1", MONDAY - timedelta(days=98), True, True),
    # The coming week's plan is not history.
    ("milk", "s1", MONDAY, True, True),
]


def marts_by_hand() -> Marts:
    return {
        "lines": lines_of(LINES),
        "products": pl.DataFrame(PRODUCTS, schema=PRODUCT_SCHEMA, orient="row"),
        "promotions": pl.DataFrame(PROMOTIONS, schema=PROMOTION_SCHEMA, orient="row"),
    }


def compute(name: str, frames: dict[str, Any], as_ofs: list[Any]) -> Any:
    """Feature set ``name`` in the engine of ``frames``."""
    calls: dict[str, Callable[[], Any]] = {
        "household": lambda: household_features(
            frames["lines"], as_ofs, products=frames["products"]
        ),
        "product": lambda: product_features(frames["lines"], as_ofs),
        "store": lambda: store_features(frames["lines"], as_ofs),
        "household_product": lambda: household_product_features(frames["lines"], as_ofs),
        "household_store": lambda: household_store_features(frames["lines"], as_ofs),
        "household_type": lambda: household_type_features(
            frames["lines"], as_ofs, products=frames["products"]
        ),
        "store_product": lambda: store_product_features(
            frames["lines"], as_ofs, promotions=frames["promotions"]
        ),
    }
    return calls[name]()


def collected(name: str, frames: Marts, as_ofs: list[Any], *, engine: str = "auto") -> pl.DataFrame:
    lazy = {n: frame.lazy() for n, frame in frames.items()}
    return in_order(name, compute(name, lazy, as_ofs).collect(engine=engine))


def in_order(name: str, frame: pl.DataFrame) -> pl.DataFrame:
    return frame.sort("known_at", *FEATURE_SETS[name].keys)
