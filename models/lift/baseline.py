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
from models.lift.panel_index import PanelIndex, group_sums

_LEAST_STRENGTH, _MOST_STRENGTH = 0.05, 200.0
_TINY = 1e-9
# Alternating sums settle within a few rounds.
_ROUNDS = 6


@dataclass(frozen=True)
class Baseline:
    """Levels of pairs, and how sure they are.

    Attributes:
        units: By pair (of the effects' index), expected units a week.
        log_spread: Standard deviation of their log: level, week and the product's own shocks.
    """

    units: np.ndarray
    log_spread: np.ndarray


def base_units(effects: Effects) -> Baseline:
    """Baselines of every pair for the week after the panel's last."""
    index = effects.index
    levels = pair_levels(effects, half_life=effects.settings.level_half_life)
    stores, categories, variance = _week_level(effects)
    units = levels.units * stores[index.store_of_pair] * categories[index.category_of_pair]
    return Baseline(
        units=units,
        log_spread=np.sqrt(levels.log_spread**2 + effects.noise.shock + variance),
    )


def pair_levels(effects: Effects, *, half_life: float = np.inf) -> Baseline:
    """Levels of every pair, without their weeks.

    Args:
        effects: Of the panel.
        half_life: Weeks after which a sale counts half.
    """
    index = effects.index
    weight = 0.5 ** ((index.weeks - 1 - index.week) / half_life)
    # What one unit of level would have sold: weeks and promotion, but not the pair.
    exposure = effects.without_level()
    pairs = len(index.pairs)
    sold = group_sums(index.pair, index.units * weight, pairs)
    exposed = group_sums(index.pair, exposure * weight, pairs)
    # A sale that counts half carries the noise of a whole one, halved.
    noise = group_sums(index.pair, index.units * weight**2, pairs)
    prior = _chain_level(sold, exposed, index)
    expected = prior * exposed
    strength = _strength(sold, expected, noise)
    level = prior * (sold + strength) / (expected + strength)
    variance = (effects.noise.dispersion * noise + strength) / (sold + strength) ** 2
    return Baseline(units=level, log_spread=np.sqrt(variance))


def _chain_level(sold: np.ndarray, exposed: np.ndarray, index: PanelIndex) -> np.ndarray:
    """A product's level over the chain times its store's, by pair."""
    product, store = index.product_of_pair, index.store_of_pair
    products, stores = len(index.products), len(index.stores)
    of_store = np.ones(stores)
    of_product = np.ones(products)
    # A product without sales is taken to sell half a unit in as much exposure as one of the rest.
    half = 0.5 * float(exposed.sum()) / max(float(sold.sum()), _TINY)
    for _ in range(_ROUNDS):
        expected = exposed * of_store[store]
        of_product = (group_sums(product, sold, products) + 0.5) / (
            group_sums(product, expected, products) + half
        )
        expected = exposed * of_product[product]
        of_store = (group_sums(store, sold, stores) + _TINY) / (
            group_sums(store, expected, stores) + _TINY
        )
    return of_product[product] * of_store[store]


def _strength(sold: np.ndarray, expected: np.ndarray, noise: np.ndarray) -> float:
    """How many expected units the chain's level weighs, by moments."""
    spread = float((np.square(sold - expected) - noise).sum())
    strength = float(np.square(expected).sum()) / max(spread, _TINY)
    return float(np.clip(strength, _LEAST_STRENGTH, _MOST_STRENGTH))


def _week_level(effects: Effects) -> tuple[np.ndarray, np.ndarray, float]:
    """Levels of stores and categories over the trailing weeks, and their log variance."""
    index = effects.index
    store = effects.fixed.store_week.reshape(-1, index.weeks)[:, -effects.settings.week_level :]
    category = effects.fixed.category_week.reshape(-1, index.weeks)
    category = category[:, -effects.settings.week_level :]
    variance = sum(float(np.median(_log_variance(part))) for part in (store, category))
    return store.mean(axis=1), category.mean(axis=1), variance


def _log_variance(levels: np.ndarray) -> np.ndarray:
    mean = np.maximum(levels.mean(axis=1), _TINY)
    return np.minimum(levels.var(axis=1) / mean**2, 1.0)
