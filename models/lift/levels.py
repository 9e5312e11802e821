"""Levels of a store's products: recent sales over what the weeks made expected, drawn together.

A level is drawn to the product's over the chain by as much as the pair's own sales leave open
(gamma-Poisson empirical Bayes, Robbins 1956).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.lift.panel_index import PanelIndex, group_sums

_LEAST_STRENGTH, _MOST_STRENGTH = 0.05, 200.0
_TINY = 1e-9
# Alternating sums settle within a few rounds.
_ROUNDS = 6


@dataclass(frozen=True)
class Levels:
    """Levels of pairs, and how sure they are.

    Attributes:
        units: By pair (of the index), expected units in a week like the others.
        log_spread: Standard deviation of their log.
    """

    units: np.ndarray
    log_spread: np.ndarray


def pair_levels(
    index: PanelIndex,
    *,
    exposure: np.ndarray,
    dispersion: float = 1.0,
    half_life: float = np.inf,
) -> Levels:
    """Levels of every pair.

    Args:
        index: The panel.
        exposure: By row, what one unit of level would have sold: weeks and promotion.
        dispersion: Variance of a count over its mean.
        half_life: Weeks after which a sale counts half.
    """
    weight = 0.5 ** ((index.weeks - 1 - index.week) / half_life)
    pairs = len(index.pairs)
    sold = group_sums(index.pair, index.units * weight, pairs)
    exposed = group_sums(index.pair, exposure * weight, pairs)
    # A sale that counts half carries the noise of a whole one, halved.
    noise = group_sums(index.pair, index.units * weight**2, pairs)
    prior = _chain_level(sold, exposed, index)
    expected = prior * exposed
    strength = _strength(sold, expected, noise)
    level = prior * (sold + strength) / (expected + strength)
    variance = (dispersion * noise + strength) / (sold + strength) ** 2
    return Levels(units=level, log_spread=np.sqrt(variance))


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
