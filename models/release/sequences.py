"""Inference that may be looked at any number of times: what holds at one look holds at all.

Everything takes arrays as well as numbers, so that the simulation judges ten thousand releases with
the code that judges one.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaln, logsumexp

Values = NDArray[np.float64]

# Rate ratios that the e-process bets on, evenly on a log scale: from a half more to a thousandfold.
_RATIOS = np.geomspace(1.5, 1000.0, 24)
# Shares of errors and empty answers are small: half a one in fifty, as prior counts.
_PRIOR = (0.5, 50.0)
_HALVINGS = 40


def count_e_value(canary: ArrayLike, baseline: ArrayLike) -> Values:
    """Evidence that bad answers come more often from the canary than from an equal baseline.

    Given their sum, two Poisson counts of equal exposure are binomial with one half under no harm
    (Przyborowski and Wilenski, Biometrika 1940), exactly. The e-value is the likelihood ratio of
    that binomial, averaged over rate ratios above one: a nonnegative supermartingale, so that it
    ever reaches 1/alpha with probability at most alpha (Ville), however often one looks.

    Args:
        canary: Bad units of the canary.
        baseline: Of the baseline slice, drawn to be as large.

    Returns:
        E-values; 1 is no evidence.
    """
    bad, others = (np.asarray(x, dtype=np.float64)[..., None] for x in (canary, baseline))
    share = _RATIOS / (1.0 + _RATIOS)
    terms = bad * np.log(2.0 * share) + others * np.log(2.0 * (1.0 - share))
    mixed = logsumexp(terms, axis=-1) - math.log(len(_RATIOS))
    return np.exp(np.minimum(mixed, 700.0))


def share_interval(bad: ArrayLike, of: ArrayLike, *, alpha: float) -> tuple[Values, Values]:
    """Confidence sequence of a share, exact at any number of looks.

    Those shares at which the beta mixture of the binomial likelihood ratio stays below 1/alpha
    (Robbins, Ann. Math. Stat. 1970).

    Args:
        bad: How many units were bad.
        of: Of how many.
        alpha: Probability of ever missing the share.

    Returns:
        Lower and upper ends.
    """
    k, n = np.broadcast_arrays(np.asarray(bad, dtype=np.float64), np.asarray(of, dtype=np.float64))
    a, b = _PRIOR
    mixture = betaln(a + k, b + n - k) - betaln(a, b)
    middle = np.where(n > 0, k / np.maximum(n, 1.0), 0.5)
    tiny = np.finfo(np.float64).tiny

    def excluded(share: Values) -> NDArray[np.bool_]:
        logs = k * np.log(np.maximum(share, tiny)) + (n - k) * np.log(np.maximum(1 - share, tiny))
        return mixture - logs >= -math.log(alpha)

    def end(outermost: float) -> Values:
        inside, outside = middle.astype(np.float64), np.full(k.shape, outermost)
        for _ in range(_HALVINGS):
            half = (inside + outside) / 2.0
            out = excluded(half)
            outside = np.where(out, half, outside)
            inside = np.where(out, inside, half)
        return outside

    return end(0.0), end(1.0)


def mean_radius(variance: ArrayLike, units: ArrayLike, *, alpha: float, planned: float) -> Values:
    """Half width of the asymptotic confidence sequence of a mean or a difference of means.

    Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, *Time-uniform central limit theory and
    asymptotic confidence sequences*, Annals of Statistics 52 (2024), theorem 2.2 and equation 8.

    Args:
        variance: Of the estimate itself.
        units: Independent units it rests on, both arms together.
        alpha: Probability of ever missing it.
        planned: Units at which the sequence is tightest.

    Returns:
        Half widths; infinite below two units.
    """
    v, n = (np.asarray(x, dtype=np.float64) for x in (variance, units))
    twice = -2.0 * math.log(alpha)
    scaled = np.maximum(n, 1.0) * (twice + math.log(twice) + 1.0) / planned
    width = np.sqrt(v * 2.0 * (scaled + 1.0) / scaled * np.log(np.sqrt(scaled + 1.0) / alpha))
    return np.where(n >= 2.0, width, np.inf)  # noqa: PLR2004 - one unit has no variance


def sample_ratio_p(canary: ArrayLike, baseline: ArrayLike) -> Values:
    """P value that two arms of equal chance came out so unequal: chi-square with one degree.

    Args:
        canary: Households in the canary.
        baseline: In the baseline slice.

    Returns:
        P values; 1 if there are none.
    """
    a, b = (np.asarray(x, dtype=np.float64) for x in (canary, baseline))
    statistic = (a - b) ** 2 / np.maximum(a + b, 1.0)
    return np.vectorize(math.erfc, otypes=[np.float64])(np.sqrt(statistic / 2.0))
