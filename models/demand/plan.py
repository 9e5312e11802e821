"""Features of a plan: price, display and mailer of a week to forecast, own and of rivals.

Rivals are the other products of the category in the same store. Their part is what a promotion of
theirs takes away; it never looks at the product's own plan.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from models.demand.history import History
from models.demand.past import Features, where_known
from models.demand.series import NONE, REAL_DISCOUNT, place


def own_features(history: History, rows: np.ndarray, plan: pl.DataFrame) -> Features:
    """Price, discount and codes of each planned row, next to its own past.

    Args:
        history: As of the end of the week that forecasts are made in.
        rows: Pair of each row of ``plan``.
        plan: ``price, base_price, discount, display, mailer``.
    """
    s, week = history.series, history.week
    price = np.log(plan["price"].cast(pl.Float64).fill_null(np.nan).to_numpy())
    base = np.log(plan["base_price"].cast(pl.Float64).fill_null(np.nan).to_numpy())
    learned = history.multipliers
    display = learned.strengths(learned.display)[place(plan["display"], s.display_codes)]
    mailer = learned.strengths(learned.mailer)[place(plan["mailer"], s.mailer_codes)]
    states = learned.state(
        discount=plan["discount"].to_numpy(),
        display=(plan["display"] != NONE).to_numpy(),
        mailer=(plan["mailer"] != NONE).to_numpy(),
    )
    window = slice(max(0, week - 12), week + 1)
    with np.errstate(divide="ignore"):
        prices, bases = np.log(s.price[rows, window]), np.log(s.base_price[rows, window])
    return {
        "discount": plan["discount"].to_numpy(),
        "log_price": price,
        "log_base_price": base,
        "price_over_mean_13": price - where_known(np.nanmean, prices),
        "price_over_last": price - prices[:, -1],
        "base_price_trend": base - where_known(np.nanmean, bases),
        "promotion_effect": learned.of_products()[s.product.of_row[rows], states],
        "display_strength": display,
        "mailer_strength": mailer,
        "display_elsewhere": _elsewhere(s.product.of_row[rows], display),
        "mailer_elsewhere": _elsewhere(s.product.of_row[rows], mailer),
    }


def _elsewhere(product: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """Mean strength of the product's codes in other stores: how big the promotion is."""
    size = int(product.max(initial=0)) + 1
    return _others_mean(product, strength, weight=np.ones(product.size), size=size)


def rival_features(
    history: History, rows: np.ndarray, plan: pl.DataFrame, *, level: np.ndarray
) -> Features:
    """What the category's other products do in the same store and week.

    Args:
        history: As of the end of the week that forecasts are made in.
        rows: Pair of each row of ``plan``.
        plan: ``price, discount, display, mailer, manufacturer_id`` of every row of the week.
        level: Units each row sells without promotion: a rival counts as much as it sells.
    """
    s = history.series
    of = s.store_category.of_row[rows]
    size = s.store_category.size
    price = np.log(plan["price"].cast(pl.Float64).fill_null(np.nan).to_numpy())
    discount = plan["discount"].to_numpy()
    display = (plan["display"] != NONE).to_numpy()
    mailer = (plan["mailer"] != NONE).to_numpy()
    promoted = (discount > REAL_DISCOUNT) | display | mailer
    priced = np.isfinite(price)
    maker = plan["manufacturer_id"].rank("dense").cast(pl.Int64).to_numpy() - 1
    siblings = of * (int(maker.max(initial=0)) + 1) + maker
    _, siblings = np.unique(siblings, return_inverse=True)
    return {
        "price_over_category": price
        - _others_mean(of, np.nan_to_num(price), weight=level * priced, size=size),
        "price_over_cheapest": price - -_others_max(of, np.where(priced, -price, -np.inf)),
        "rivals_discount": _others_mean(of, discount, weight=level, size=size),
        "rivals_deepest": _others_max(of, discount),
        "rivals_promoted_share": _others_mean(of, promoted, weight=level, size=size),
        "rivals_display_share": _others_mean(of, display, weight=level, size=size),
        "rivals_mailer_share": _others_mean(of, mailer, weight=level, size=size),
        "siblings_promoted_share": _others_mean(
            siblings, promoted, weight=level, size=int(siblings.max(initial=0)) + 1
        ),
    }


def _others_mean(
    of: np.ndarray, values: np.ndarray, *, weight: np.ndarray, size: int
) -> np.ndarray:
    """Weighted mean over the other rows of the group; NaN for a row that is alone."""
    weighted = np.bincount(of, weights=weight * values, minlength=size)[of] - weight * values
    left = np.bincount(of, weights=weight, minlength=size)[of] - weight
    # What is left of a sum after its own term is taken out may be rounding alone.
    others = np.bincount(of, weights=weight > 0, minlength=size)[of] - (weight > 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(others > 0, weighted / left, np.nan)


def _others_max(of: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Largest value among the other rows of the group; NaN for a row that is alone."""
    order = np.lexsort((-values, of))
    starts = np.flatnonzero(np.r_[True, of[order][1:] != of[order][:-1]])
    counts = np.diff(np.r_[starts, of.size])
    best = np.repeat(values[order][starts], counts)
    second = np.repeat(
        np.where(counts > 1, values[order][np.minimum(starts + 1, of.size - 1)], np.nan), counts
    )
    is_best = np.zeros(of.size, dtype=bool)
    is_best[starts] = True
    found = np.empty(of.size)
    found[order] = np.where(is_best, second, best)
    return np.where(np.isfinite(found), found, np.nan)
