"""How far sales scatter around a forecast: a negative binomial with a fitted dispersion.

Its variance is mean + a * mean^p, which is the NB-P of Greene, "Functional form and heterogeneity
in models for count data" (2007): p = 1 is what few large purchases make, p = 2 what a rate that is
itself uncertain makes. Both numbers are fitted by maximum likelihood on weeks that the model had
not seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

# A forecast of nothing has no likelihood.
SMALLEST_MEAN = 1e-6
_POWERS = (1.0, 2.0)
# Dispersion on the log scale.
_BOUNDS = ((-12.0, 8.0), _POWERS)
_START = (-1.0, 1.5)


@dataclass(frozen=True)
class Dispersion:
    """Variance of sales around a forecast: ``mean + scale * mean ** power``."""

    scale: float
    power: float

    def as_dict(self) -> dict[str, float]:
        return {"scale": self.scale, "power": self.power}

    def variance(self, mean: np.ndarray) -> np.ndarray:
        return mean + self.scale * mean**self.power

    def cdf(self, units: np.ndarray, mean: np.ndarray) -> np.ndarray:
        """Probability of at most ``units``."""
        from scipy import stats

        size, share = self._parameters(mean)
        return stats.nbinom.cdf(units, size, share)

    def interval(
        self, mean: np.ndarray, *, confidence: float = 0.95
    ) -> tuple[np.ndarray, np.ndarray]:
        """Units between which sales lie with at least ``confidence``."""
        from scipy import stats

        size, share = self._parameters(mean)
        tail = (1.0 - confidence) / 2.0
        return stats.nbinom.ppf(tail, size, share), stats.nbinom.ppf(1.0 - tail, size, share)

    def _parameters(self, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean = np.maximum(np.asarray(mean, dtype=np.float64), SMALLEST_MEAN)
        size = mean ** (2.0 - self.power) / self.scale
        return size, size / (size + mean)


def fit_dispersion(units: np.ndarray, mean: np.ndarray) -> Dispersion:
    """The most likely dispersion of sales around forecasts.

    Args:
        units: Sold, of rows that the model did not learn from.
        mean: Forecast of each.

    Raises:
        ValueError: There are no rows, nothing was sold, or the fit fails.
    """
    from scipy import optimize

    y = np.asarray(units, dtype=np.float64)
    mu = np.maximum(np.asarray(mean, dtype=np.float64), SMALLEST_MEAN)
    if y.size == 0 or y.sum() <= 0:
        raise ValueError(
            f"dispersion: {y.size:,} row(s) with {y.sum():,.0f} units; choose weeks with sales"
        )

    def loss(given: np.ndarray) -> float:
        size = mu ** (2.0 - given[1]) / np.exp(given[0])
        total = special.gammaln(y + size) - special.gammaln(size) - special.gammaln(y + 1.0)
        total += size * np.log(size / (size + mu)) + special.xlogy(y, mu / (size + mu))
        return -float(total.mean())

    found = optimize.minimize(loss, np.array(_START), bounds=_BOUNDS, method="L-BFGS-B")
    if not np.isfinite(found.fun):
        raise ValueError(f"dispersion: the likelihood is {found.fun}; look at the forecasts")
    return Dispersion(scale=float(np.exp(found.x[0])), power=float(found.x[1]))
