"""How counts scatter about their mean: row by row, and a product's weeks over the whole chain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.lift.panel_index import PanelIndex, group_sums

# Rows with fewer expected units say how counts scatter that are 0 or 1; the others tell the rest.
# Counts of a panel never scatter less than Poisson.
_THIN = 0.1
_MOST_LEVERAGE = 0.9
_NOTHING = 1e-12


@dataclass(frozen=True)
class Noise:
    """Variance of counts.

    Attributes:
        dispersion: Part in proportion to the mean; 1 for Poisson.
        spread: Part in proportion to the mean's square; 1/size of a negative binomial.
        shock: Variance of a product's own log demand from week to week over the chain.
    """

    dispersion: float = 1.0
    spread: float = 0.0
    shock: float = 0.0

    def of_rows(self, mean: np.ndarray) -> np.ndarray:
        """Variance of each row."""
        return self.dispersion * mean + self.spread * mean**2


def noise_of(index: PanelIndex, mean: np.ndarray) -> Noise:
    """The three parts by weighted moments."""
    # What was fitted to the same counts has swallowed some of their scatter, most of it where one
    # row is much of what its effects were fitted to.
    leverage = sum(
        (mean / np.maximum(np.bincount(c, weights=mean)[c], _NOTHING))
        for c in (index.pair, index.category_week, index.store_week)
    )
    squared = np.square(index.units - mean) / (1.0 - np.minimum(leverage, _MOST_LEVERAGE))
    thin = mean < _THIN
    dispersion = 1.0
    if thin.any() and mean[thin].sum() > 0.0:
        dispersion = max(float(squared[thin].sum() / mean[thin].sum()), 1.0)
    weight = 1.0 / np.square(1.0 + mean)
    excess = float(((squared - dispersion * mean) * weight).sum())
    spread = max(excess / max(float((mean**2 * weight).sum()), _NOTHING), 0.0)
    row = Noise(dispersion, spread)
    size = len(index.products) * index.weeks
    together = group_sums(index.product_week, index.units - mean, size)
    expected = group_sums(index.product_week, mean, size)
    variance = group_sums(index.product_week, row.of_rows(mean), size)
    cell_weight = 1.0 / np.maximum(variance, 1e-6)
    shock = float(((together**2 - variance) * cell_weight).sum())
    shock /= max(float((expected**2 * cell_weight).sum()), _NOTHING)
    return Noise(row.dispersion, row.spread, max(shock, 0.0))
