"""Intervals of an effect and of what follows from it.

An action may do nothing at all. Its interval is that of a mixture: with a prior probability of
``null_share`` the effect is exactly 0, else it is what pooling says. The weight of the two given
the data is the Savage-Dickey ratio (Dickey 1971): the density at 0 after the data over that before.
Thin data leave the null share as it was, so a lower bound cannot leave 0 on the strength of other
products alone.

For an action without effect the lower bound leaves 0 less than once in twenty: it needs a Bayes
factor c = (null_share / (1 - null_share)) / (.025 / .975), and for one true null and one estimate
of standard error s against any alternative m, P(factor > c) = P(Z > s ln(c)/m + m/(2s)), which is
at most P(Z > sqrt(2 ln c)): .044 for a null share of .1.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr, ndtri

TAIL = 0.025
Z95 = 1.959963984540054
_LEAST = 1e-12


def null_probability(
    *,
    mean: np.ndarray,
    spread: np.ndarray,
    prior_mean: np.ndarray,
    prior_spread: np.ndarray,
    null_share: float,
) -> np.ndarray:
    """Probability that the effect is 0 given the data.

    Args:
        mean: Of the effect after the data, were it not 0.
        spread: Standard deviation of the same.
        prior_mean: Before the product's own data.
        prior_spread: Of the same.
        null_share: Prior probability of 0.
    """
    if null_share == 0.0:
        return np.zeros_like(mean)
    after = -0.5 * (mean / spread) ** 2 - np.log(spread)
    before = -0.5 * (prior_mean / prior_spread) ** 2 - np.log(prior_spread)
    log_odds = np.log(null_share / (1.0 - null_share)) + after - before
    return 1.0 / (1.0 + np.exp(-np.clip(log_odds, -700.0, 700.0)))


def mixture_bounds(
    mean: np.ndarray, spread: np.ndarray, null: np.ndarray, *, tail: float = TAIL
) -> tuple[np.ndarray, np.ndarray]:
    """Quantiles ``tail`` and ``1 - tail`` of 0 with probability ``null``, else a normal."""
    low = _mixture_quantile(mean, spread, null, tail)
    high = -_mixture_quantile(-mean, spread, null, tail)
    return low, high


def _mixture_quantile(
    mean: np.ndarray, spread: np.ndarray, null: np.ndarray, tail: float
) -> np.ndarray:
    normal = np.maximum(1.0 - null, _LEAST)
    below = normal * ndtr(-mean / spread)
    negative = mean + spread * ndtri(np.minimum(tail / normal, 1.0 - _LEAST))
    positive = mean + spread * ndtri(np.clip((tail - null) / normal, _LEAST, 1.0 - _LEAST))
    return np.where(
        below >= tail,
        np.minimum(negative, 0.0),
        np.where(below + null >= tail, 0.0, np.maximum(positive, 0.0)),
    )


def recovered(
    estimate: np.ndarray, parts: list[tuple[np.ndarray, np.ndarray]]
) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of a sum of independent parts from the bounds of each (Zou and Donner 2008).

    Args:
        estimate: Of the sum.
        parts: By part, how far its lower and its upper bound lie from its estimate.
    """
    below = np.sqrt(sum(np.square(low) for low, _ in parts))
    above = np.sqrt(sum(np.square(high) for _, high in parts))
    return estimate - below, estimate + above


def scaled(
    estimate: np.ndarray, low: np.ndarray, high: np.ndarray, *, log_spread: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of an estimate that is multiplied by an uncertain positive factor.

    A sign that is sure stays sure: the method of ``recovered`` on the log scale there, and on the
    plain scale where a bound crosses 0.

    Args:
        estimate: With the factor's own estimate in it.
        low: Lower bound, were the factor known.
        high: Upper bound.
        log_spread: Standard deviation of the factor's log.
    """
    half = Z95 * log_spread
    plain_low = estimate - np.hypot(estimate - low, half * estimate)
    plain_high = estimate + np.hypot(high - estimate, half * estimate)
    return (
        np.where(
            low > 0.0,
            _on_log_scale(estimate, low, half, sign=-1.0),
            np.where(estimate < 0.0, _away(estimate, low, half), np.minimum(plain_low, 0.0)),
        ),
        np.where(
            high < 0.0,
            -_on_log_scale(-estimate, -high, half, sign=-1.0),
            np.where(estimate > 0.0, _away(estimate, high, half), np.maximum(plain_high, 0.0)),
        ),
    )


def _on_log_scale(
    estimate: np.ndarray, bound: np.ndarray, half: np.ndarray, *, sign: float
) -> np.ndarray:
    centre = np.maximum(estimate, _LEAST)
    ratio = np.log(np.maximum(bound, _LEAST) / centre)
    return centre * np.exp(sign * np.hypot(ratio, half))


def _away(estimate: np.ndarray, bound: np.ndarray, half: np.ndarray) -> np.ndarray:
    """The bound further from 0 than the estimate, whose sign it shares."""
    return np.sign(estimate) * _on_log_scale(np.abs(estimate), np.abs(bound), half, sign=1.0)
