"""How large a test must be: stores and weeks to see a lift of a given size if it is real."""

from __future__ import annotations

import math

from scipy.special import ndtri

from models.actions.settings import TrialSettings

# Means of fewer stores are not near enough to a normal law for these formulas.
LEAST_STORES = 6


def store_weeks(*, mean: float, lift: float, trial: TrialSettings) -> float:
    """Store-weeks per arm that show ``lift``, if they were independent.

    Two-sample comparison of means with unequal variances: ``(z_alpha/2 + z_power)^2 (V0 + V1) /
    lift^2``, where the variance of a store-week is ``dispersion`` times its mean.

    Args:
        mean: Units per store and week without the action, not negative.
        lift: Units more with it, not zero.
        trial: Power, alpha and dispersion.

    Raises:
        ValueError: No lift to see, or no sales to see it in.
    """
    treated = mean + lift
    if lift == 0 or mean < 0 or treated < 0 or mean + treated <= 0:
        raise ValueError(
            f"a lift of {lift} on {mean} units has no test: name a lift other than zero, of "
            "sales that are not negative"
        )
    reach = ndtri(1 - trial.alpha / 2) + ndtri(trial.power)
    return float(reach**2 * trial.dispersion * (mean + treated) / lift**2)


def stores_per_arm(*, mean: float, lift: float, weeks: int, trial: TrialSettings) -> int:
    """Stores per arm for a test of so many weeks; weeks of one store resemble each other.

    The design effect of ``weeks`` correlated weeks is ``1 + (weeks - 1) correlation`` (Kish 1965).

    Raises:
        ValueError: As ``store_weeks``, or no weeks.
    """
    if weeks < 1:
        raise ValueError(f"a test of {weeks} weeks: name at least one")
    needed = store_weeks(mean=mean, lift=lift, trial=trial)
    return max(LEAST_STORES, math.ceil(needed * (1 + (weeks - 1) * trial.correlation) / weeks))


def shortest(
    *, mean: float, lift: float, stores: int, trial: TrialSettings
) -> tuple[int, int] | None:
    """Weeks and stores per arm of the shortest test that ``stores`` can hold; ``None`` if none."""
    for weeks in range(trial.least_weeks, trial.most_weeks + 1):
        needed = stores_per_arm(mean=mean, lift=lift, weeks=weeks, trial=trial)
        if 2 * needed <= stores:
            return weeks, needed
    return None
