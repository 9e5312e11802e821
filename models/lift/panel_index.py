"""A demand panel as arrays: rows by store, product and week, with the groups that effects need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from models.calendar import ONE_WEEK
from models.lift.actions import plan_terms

KEY = ("store_id", "product_id", "week_start")
REQUIRED = (*KEY, "units", "display", "mailer", "discount")
NO_CATEGORY = "(no category)"
# What numpy counts and indexes by without a copy.
CODE = np.intp


@dataclass(frozen=True)
class PanelIndex:
    """A panel's rows, sorted by store, product and week, as codes.

    Attributes:
        units: Sold.
        terms: Own plan by ``actions.TERMS``.
        week: Weeks since the panel's first.
        store: Code of the store.
        product: Code of the product.
        category: Code of the category.
        pair: Code of store and product; ascending.
        category_week: Code of category and week.
        store_week: Code of store and week.
        product_week: Code of product and week.
        type_group: Code of store, week, category and type: rivals of the same kind.
        category_group: Code of store, week and category.
        stores: Store of a code.
        products: ``product_id, category, type`` in the order of the codes.
        pairs: ``store_id, product_id`` in the order of the codes, with ``store, product``.
        categories: Category of a code.
        first_week: Monday of week 0.
        weeks: How many weeks the panel spans.
    """

    units: np.ndarray
    terms: np.ndarray
    week: np.ndarray
    store: np.ndarray
    product: np.ndarray
    category: np.ndarray
    pair: np.ndarray
    category_week: np.ndarray
    store_week: np.ndarray
    product_week: np.ndarray
    type_group: np.ndarray
    category_group: np.ndarray
    stores: pl.Series
    products: pl.DataFrame
    pairs: pl.DataFrame
    categories: pl.Series
    first_week: date
    weeks: int

    @property
    def rows(self) -> int:
        return int(self.units.size)

    @property
    def store_of_pair(self) -> np.ndarray:
        """Code of the store of each pair."""
        return self.pairs["store"].to_numpy()

    @property
    def product_of_pair(self) -> np.ndarray:
        """Code of the product of each pair."""
        return self.pairs["product"].to_numpy()

    @property
    def category_of_pair(self) -> np.ndarray:
        """Code of the category of each pair."""
        of_product = np.zeros(len(self.products), dtype=np.int64)
        of_product[self.product] = self.category
        return of_product[self.product_of_pair]

    def shifted(self, values: np.ndarray, weeks: int) -> np.ndarray:
        """``values`` of the same store and product ``weeks`` earlier; 0 where there is no row."""
        place = self.pair * (self.weeks + 1) + self.week
        wanted = place - weeks
        found = np.searchsorted(place, wanted)
        found[found == place.size] = 0
        # A week before the first would be the end of the pair before.
        there = (place[found] == wanted) & (self.week >= weeks) & (self.week - weeks < self.weeks)
        return np.where(there, values[found], 0.0)


def panel_index(panel: pl.DataFrame) -> PanelIndex:
    """Sort and code a panel.

    Args:
        panel: The canonical demand panel; ``category`` and ``type`` may be missing or null.

    Raises:
        ValueError: A column is missing, the panel is empty, a key repeats, or units are null or
            negative.
    """
    missing = [c for c in REQUIRED if c not in panel.columns]
    if missing:
        raise ValueError(
            f"demand panel: no column {', '.join(missing)}; it has {', '.join(panel.columns)}"
        )
    if panel.is_empty():
        raise ValueError("demand panel: it has no rows; give at least the weeks of a quarter")
    bad = panel.filter(pl.col("units").is_null() | (pl.col("units") < 0)).height
    if bad:
        raise ValueError(
            f"demand panel: units are null or negative in {bad:,} row(s); leave out weeks that "
            "have not ended, and write zeros as 0"
        )
    rows = with_groups(panel).sort(*KEY)
    if rows.select(pl.struct(*KEY).is_duplicated().any()).item():
        raise ValueError("demand panel: a store, product and week occurs twice; give one row each")
    first = _first_week(rows)
    rows = rows.with_columns(week=_week_number(first))
    stores = rows["store_id"].unique().sort()
    products = rows.group_by("product_id").agg(pl.col("category", "type").last()).sort("product_id")
    categories = products["category"].unique().sort()
    store = _codes(rows, "store_id", stores)
    product = _codes(rows, "product_id", products["product_id"])
    attributes = products.with_columns(
        category_code=_codes(products, "category", categories),
        type_code=products.select(
            (pl.struct("category", "type").rank("dense") - 1).cast(pl.Int64)
        ).to_series(),
    )
    category = attributes["category_code"].to_numpy()[product]
    types = attributes["type_code"].to_numpy()[product]
    week = rows["week"].to_numpy().astype(CODE)
    weeks = int(week.max()) + 1
    pair = _dense(store, product, len(products))
    store_week = store * weeks + week
    pairs = rows.select("store_id", "product_id").unique(maintain_order=True)
    return PanelIndex(
        units=rows["units"].cast(pl.Float64).to_numpy(),
        terms=plan_terms(rows),
        week=week,
        store=store,
        product=product,
        category=category,
        pair=pair,
        category_week=category * weeks + week,
        store_week=store_week,
        product_week=product * weeks + week,
        type_group=_dense(store_week, types, int(types.max()) + 1),
        category_group=_dense(store_week, category, len(categories)),
        stores=stores,
        products=products,
        pairs=pairs.with_columns(
            store=_codes(pairs, "store_id", stores),
            product=_codes(pairs, "product_id", products["product_id"]),
        ),
        categories=categories,
        first_week=first,
        weeks=weeks,
    )


def with_groups(panel: pl.DataFrame) -> pl.DataFrame:
    """A panel whose ``category`` and ``type`` are there and not null.

    Without a type, the category's products are all of one type; without a category, all are of one.
    """
    for column in ("category", "type"):
        if column not in panel.columns:
            panel = panel.with_columns(pl.lit(None, dtype=pl.String).alias(column))
    return panel.with_columns(pl.col("category").fill_null(NO_CATEGORY)).with_columns(
        pl.col("type").fill_null(pl.col("category"))
    )


def group_sums(codes: np.ndarray, values: np.ndarray, size: int) -> np.ndarray:
    """Sums of the columns of ``values`` (or of one array) by code."""
    if values.ndim == 1:
        return np.bincount(codes, weights=values, minlength=size)
    return np.stack([np.bincount(codes, weights=v, minlength=size) for v in values.T], axis=1)


def _first_week(rows: pl.DataFrame) -> date:
    first = rows["week_start"].min()
    if not isinstance(first, date):
        raise TypeError(f"demand panel: week_start is {rows.schema['week_start']}; give dates")
    return first


def _week_number(first: date) -> pl.Expr:
    return ((pl.col("week_start") - first).dt.total_days() // ONE_WEEK.days).cast(pl.Int32)


def _codes(frame: pl.DataFrame, column: str, known: pl.Series | Sequence[str]) -> np.ndarray:
    names = pl.Series(known)
    codes = pl.DataFrame({column: names, "code": np.arange(len(names), dtype=CODE)})
    return (
        frame.select(column)
        .join(codes, on=column, how="left", maintain_order="left")["code"]
        .to_numpy()
    )


def _dense(major: np.ndarray, minor: np.ndarray, sizes: int) -> np.ndarray:
    """Codes of the pairs that occur, without gaps, in their order."""
    keys = major * sizes + minor
    if np.all(keys[1:] >= keys[:-1]):
        return np.cumsum(np.r_[0, keys[1:] != keys[:-1]], dtype=CODE)
    return np.unique(keys, return_inverse=True)[1].astype(CODE)
