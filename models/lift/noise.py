"""How counts scatter about their mean: row by row, and a product's weeks over the whole chain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.lift.panel_index import PanelIndex, group_sums


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
    squared = np.square(index.units - mean)
    weight = 1.0 / np.maximum(mean + mean**2, 1e-6)
    x = np.stack([mean, mean**2], axis=1)
    normal = (x * (weight**2)[:, None]).T @ x
    right = (x * (weight**2)[:, None]).T @ squared
    dispersion, spread = np.linalg.solve(normal + 1e-12 * np.eye(2), right)
    if spread < 0.0 or dispersion < MIN_DISPERSION:
        # One part alone, where the data have no use for both.
        dispersion = float((squared * weight).sum() / (mean * weight).sum())
        spread = 0.0
    row = Noise(max(float(dispersion), MIN_DISPERSION), float(spread))
    size = len(index.products) * index.weeks
    together = group_sums(index.product_week, index.units - mean, size)
    expected = group_sums(index.product_week, mean, size)
    variance = group_sums(index.product_week, row.of_rows(mean), size)
    cell_weight = 1.0 / np.maximum(variance, 1e-6)
    shock = float(((together**2 - variance) * cell_weight).sum())
    shock /= max(float((expected**2 * cell_weight).sum()), 1e-12)
    return Noise(row.dispersion, row.spread, max(shock, 0.0))


# Counts cannot scatter much less than Poisson; a fit that says so has swallowed the noise.
MIN_DISPERSION = 0.5
