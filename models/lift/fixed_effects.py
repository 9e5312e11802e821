"""Multiplicative effects of store-product, category-week and store-week, by proportional fitting.

For a Poisson pseudo-likelihood the effects given the rest are sums sold over sums expected, group
by group (iterative proportional fitting, Deming and Stephan 1940); it costs a few sums per sweep
and needs no matrix of dummies.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.lift.panel_index import PanelIndex, group_sums

# A change of an effect below this does not move a third digit of a lift.
TOLERANCE = 3e-4
# Cycles come back to it, each from where the last one ended.
MAX_SWEEPS = 15


@dataclass(frozen=True)
class FixedEffects:
    """Effects as factors; their product is a row's expected units with nothing else going on.

    Attributes:
        pair: By store and product.
        category_week: By category and week.
        store_week: By store and week.
    """

    pair: np.ndarray
    category_week: np.ndarray
    store_week: np.ndarray

    @classmethod
    def ones(cls, index: PanelIndex) -> FixedEffects:
        """No effect of anything."""
        return cls(
            np.ones(len(index.pairs)),
            np.ones(len(index.categories) * index.weeks),
            np.ones(len(index.stores) * index.weeks),
        )

    def of(self, index: PanelIndex) -> np.ndarray:
        """Expected units of each row, without what ``offset`` stood for."""
        return self.pair[index.pair] * self.weeks_of(index)

    def weeks_of(self, index: PanelIndex) -> np.ndarray:
        """What the week of each row multiplies its pair's level by."""
        return self.category_week[index.category_week] * self.store_week[index.store_week]


def fit_fixed_effects(
    index: PanelIndex, *, factor: np.ndarray, start: FixedEffects
) -> FixedEffects:
    """Effects given what else multiplies a row.

    Args:
        index: The panel.
        factor: By row, from own and other promotion.
        start: Where to begin.
    """
    codes = (index.pair, index.category_week, index.store_week)
    effects = [start.pair.copy(), start.category_week.copy(), start.store_week.copy()]
    sizes = [e.size for e in effects]
    sold = [group_sums(c, index.units, n) for c, n in zip(codes, sizes, strict=True)]
    of_rows = [effect[code] for effect, code in zip(effects, codes, strict=True)]
    rest = np.empty_like(factor)
    for _ in range(MAX_SWEEPS):
        moved = 0.0
        for turn, (code, size) in enumerate(zip(codes, sizes, strict=True)):
            one, other = (of_rows[i] for i in range(len(codes)) if i != turn)
            np.multiply(factor, one, out=rest)
            rest *= other
            expected = group_sums(code, rest, size)
            known = expected > 0.0
            fitted = np.where(known, sold[turn] / np.where(known, expected, 1.0), 1.0)
            change = np.abs(fitted - effects[turn]) * np.sqrt(np.maximum(expected, 0.0))
            # A group that is expected to sell little may move without moving the fit.
            scale = np.sqrt(np.maximum(sold[turn], 1.0))
            moved = max(moved, float((change / scale).max()))
            effects[turn] = fitted
            of_rows[turn] = fitted[code]
        if moved < TOLERANCE:
            break
    # Weeks are about 1, so that a pair's effect is its level.
    for turn in (1, 2):
        weight = sold[turn].sum()
        level = float((effects[turn] * sold[turn]).sum() / weight) if weight > 0 else 1.0
        if level > 0.0:
            effects[turn] = effects[turn] / level
            effects[0] = effects[0] * level
    return FixedEffects(*effects)
