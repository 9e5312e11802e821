"""What a store would sell of a product in a coming week without any promotion of it.

The level of a store's product is its recent sales over what the weeks made expected, drawn to the
product's level over the chain by as much as its sales leave open (gamma-Poisson empirical Bayes,
Robbins 1956); the week is taken to be as the last ones. A demand model's forecast can take its
place.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.lift.effects import Effects
from models.lift.panel_index import group_sums

_LEAST_STRENGTH, _MOST_STRENGTH = 0.05, 200.0
_TINY = 1e-9


@dataclass(frozen=True)
class Baseline:
    """Levels of pairs, and how sure they are.

    Attributes:
        units: By pair (of the effects' index), expected units a week.
        log_spread: Standard deviation of their log: level, week and the product's own shocks.
    """

    units: np.ndarray
    log_spread: np.ndarray


def base_units(effects: Effects, *, after: int | None = None) -> Baseline:
    """Baselines of every pair for the week after the panel's last.

    Args:
        effects: Of the panel.
        after: Weeks are looked at up to this one; the panel's last by default.
    """
    index, settings = effects.index, effects.settings
    last = index.weeks - 1 if after is None else after
    age = last - index.week
    weight = np.where(age >= 0, 0.5 ** (age / settings.level_half_life), 0.0)
    # What one unit of level would have sold: weeks and promotion, but not the pair.
    exposure = effects.expected() / np.maximum(effects.fixed.pair[index.pair], _TINY)
    pairs, products, stores = len(index.pairs), len(index.products), len(index.stores)
    sold = group_sums(index.pair, index.units * weight, pairs)
    exposed = group_sums(index.pair, exposure * weight, pairs)
    effective = group_sums(index.pair, weight**2, pairs) / np.maximum(
        group_sums(index.pair, weight, pairs), _TINY
    )
    product = index.product_of_pair
    store = index.store_of_pair
    prior = _chain_level(sold, exposed, product, store, products, stores)
    expected = prior * exposed
    strength = _strength(sold, expected)
    level = prior * (sold + strength) / (expected + strength)
    weeks = _week_level(effects, last)
    units = level * weeks[0][index.store_of_pair] * weeks[1][index.category_of_pair]
    # Weighted counts carry the noise of fewer sales than they sum to.
    noise = np.maximum(effective, _TINY) * effects.noise.dispersion
    variance = (noise * sold + strength) / np.maximum(sold + strength, _TINY) ** 2
    variance = variance + effects.noise.shock + weeks[2]
    return Baseline(units=units, log_spread=np.sqrt(variance))


def _chain_level(
    sold: np.ndarray,
    exposed: np.ndarray,
    product: np.ndarray,
    store: np.ndarray,
    products: int,
    stores: int,
) -> np.ndarray:
    """A product's level over the chain times its store's, by pair."""
    of_store = np.ones(stores)
    of_product = np.ones(products)
    # Alternating sums settle within a few rounds.
    for _ in range(6):
        expected = exposed * of_store[store]
        of_product = (group_sums(product, sold, products) + 0.5) / (
            group_sums(product, expected, products) + 0.5 / max(_mean_rate(sold, exposed), _TINY)
        )
        expected = exposed * of_product[product]
        of_store = (group_sums(store, sold, stores) + _TINY) / (
            group_sums(store, expected, stores) + _TINY
        )
    return of_product[product] * of_store[store]


def _mean_rate(sold: np.ndarray, exposed: np.ndarray) -> float:
    return float(sold.sum() / max(exposed.sum(), _TINY))


def _strength(sold: np.ndarray, expected: np.ndarray) -> float:
    """How many expected units the chain's level weighs, by moments."""
    spread = float((np.square(sold - expected) - sold).sum())
    return float(
        np.clip(np.square(expected).sum() / max(spread, _TINY), _LEAST_STRENGTH, _MOST_STRENGTH)
    )


def _week_level(effects: Effects, last: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Levels of stores and categories over the trailing weeks, and their log variance."""
    index = effects.index
    trailing = slice(max(0, last + 1 - effects.settings.week_level), last + 1)
    store = effects.fixed.store_week.reshape(-1, index.weeks)[:, trailing]
    category = effects.fixed.category_week.reshape(-1, index.weeks)[:, trailing]
    variance = sum(float(np.median(_log_variance(part))) for part in (store, category))
    return store.mean(axis=1), category.mean(axis=1), variance


def _log_variance(levels: np.ndarray) -> np.ndarray:
    mean = np.maximum(levels.mean(axis=1), _TINY)
    return np.minimum(levels.var(axis=1) / mean**2, 1.0)
