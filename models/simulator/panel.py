"""A market as frames: the demand panel it shows, and the true lift that nobody sees."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date

import numpy as np
import polars as pl

from models.lift.actions import ACTIONS, Action, action_terms
from models.simulator.market import Market, StoreWeeks
from models.simulator.responses import action_truth

# Stores played at a time: their weeks are in memory together.
STORES_AT_ONCE = 16


def market_panel(market: Market, *, stores: Sequence[int] | None = None) -> pl.DataFrame:
    """The demand panel of a market: carried products, zeros included.

    Args:
        market: The market.
        stores: Numbers of the stores; all by default.

    Returns:
        The canonical demand panel (DESIGN section 7) with ``type``, sorted by store, product, week.
    """
    parts = [
        _rows(market, week) for block in _blocks(market, stores) for week in market.play(block)
    ]
    return pl.concat(parts).sort("store_id", "product_id", "week_start")


def true_lift(
    market: Market,
    *,
    weeks: Iterable[date],
    actions: Sequence[Action] = ACTIONS,
    stores: Sequence[int] | None = None,
) -> pl.DataFrame:
    """True lift of each action, taken alone, per carried store-product of some weeks.

    Returns:
        ``store_id, product_id, week_start, action, own, cannibalised, pulled_forward, net`` in
        units, sorted by the first four.
    """
    numbers = {market.weeks.index(w) for w in weeks}
    parts = [
        _truths(market, week, actions)
        for block in _blocks(market, stores)
        for week in market.play(block)
        if week.week in numbers
    ]
    return pl.concat(parts).sort("store_id", "product_id", "week_start", "action")


def _blocks(market: Market, stores: Sequence[int] | None) -> Iterable[Sequence[int]]:
    wanted = range(market.settings.stores) if stores is None else stores
    for i in range(0, len(wanted), STORES_AT_ONCE):
        yield wanted[i : i + STORES_AT_ONCE]


def _keys(market: Market, week: StoreWeeks, store: np.ndarray, product: np.ndarray) -> pl.DataFrame:
    store_ids = pl.Series("store_id", market.store_ids)
    product_ids = pl.Series("product_id", market.product_ids)
    return pl.DataFrame(
        {"store_id": store_ids[week.stores[store]], "product_id": product_ids[product]}
    ).with_columns(week_start=pl.lit(market.weeks[week.week]))


def _rows(market: Market, week: StoreWeeks) -> pl.DataFrame:
    store, product = np.nonzero(week.carried)
    discount = week.discount[store, product]
    base_price = market.base_price[product]
    price = np.round(base_price * (1.0 - discount), 2)
    units = week.units[store, product]
    attributes = market.products()
    return _keys(market, week, store, product).with_columns(
        pl.Series("units", units, dtype=pl.Int64),
        pl.Series("revenue", np.round(units * price, 2)),
        pl.Series("price", price),
        pl.Series("base_price", base_price),
        pl.Series("discount", discount),
        pl.Series("display", np.where(week.display[store, product] > 0, "1", "0")),
        pl.Series("mailer", np.where(week.mailer[store, product] > 0, "A", "0")),
        attributes["category"][product],
        attributes["manufacturer_id"][product],
        pl.Series("panel_trips", week.trips[store]).cast(pl.Int64),
        attributes["type"][product],
    )


def _truths(market: Market, week: StoreWeeks, actions: Sequence[Action]) -> pl.DataFrame:
    s = market.settings
    store, product = np.nonzero(week.carried)
    base = week.base[store, product]
    types = store * (s.categories * s.types_per_category) + market.type_of[product]
    categories = store * s.categories + market.category_of[product]
    of_type = np.bincount(types, weights=base)[types]
    of_category = np.bincount(categories, weights=base)[categories]
    keys = _keys(market, week, store, product)
    parts = []
    for action, terms in zip(actions, action_terms(actions), strict=True):
        truth = action_truth(
            base,
            np.expm1(market.effects[product] @ terms),
            rivals_of_type=of_type - base,
            rivals_of_category=of_category - of_type,
            diversion_type=s.diversion_type,
            diversion_category=s.diversion_category,
            pull_forward=s.pull_forward,
        )
        parts.append(keys.with_columns(pl.lit(action.name).alias("action"), **_series(truth)))
    return pl.concat(parts)


def _series(values: dict[str, np.ndarray]) -> dict[str, pl.Series]:
    return {name: pl.Series(name, v) for name, v in values.items()}
