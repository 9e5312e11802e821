"""Two other ways to judge a canary: Kayenta's Mann-Whitney rule, and a fixed threshold."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu

from models.release.simulation import Traffic

Flags = NDArray[np.bool_]
Values = NDArray[np.float64]
Looks = NDArray[np.int64]

# Kayenta's NetflixACAJudge: a metric is "High" if the Mann-Whitney test says so at this confidence
# and the ratio of means is past the allowed increase, by default 1.
CONFIDENCE = 0.98
# A series needs some points; Kayenta's own advice is fifty.
LEAST_POINTS = 50
# A common rule: half a percentage point more errors, or a fifth more mean latency.
MORE_ERRORS = 0.005
SLOWER = 1.2
LEAST_REQUESTS = 200


def kayenta(
    canary: Traffic,
    baseline: Traffic,
    errors: tuple[Values, Values],
    *,
    looks: Looks,
    allowed_increase: float = 1.0,
) -> Flags:
    """Whether the rule fails the canary at each look, by error rate or mean latency per point.

    Args:
        canary: Per point.
        baseline: Per point.
        errors: Failed answers per point, of both.
        looks: Numbers of points after which it is asked.
        allowed_increase: Ratio of means that is still allowed.

    Returns:
        (releases, looks).
    """
    series = [
        (errors[0] / canary.requests, errors[1] / baseline.requests),
        (canary.ms_sum / canary.requests, baseline.ms_sum / baseline.requests),
    ]
    found = np.zeros((canary.requests.shape[0], len(looks)), dtype=bool)
    for place, points in enumerate(looks):
        if points < LEAST_POINTS:
            continue
        for ours, theirs in series:
            a, b = ours[:, :points], theirs[:, :points]
            with np.errstate(invalid="ignore", divide="ignore"):
                p = mannwhitneyu(a, b, axis=1, method="asymptotic").pvalue
                ratio = a.mean(axis=1) / b.mean(axis=1)
            found[:, place] |= (p < 1.0 - CONFIDENCE) & (ratio > allowed_increase)
    return found


def fixed_threshold(
    canary: Traffic, baseline: Traffic, errors: tuple[Values, Values], *, looks: Looks
) -> Flags:
    """Whether a fixed difference of error rate or mean latency is exceeded at each look."""
    at = looks - 1

    def up_to(values: Values) -> Values:
        return np.cumsum(values, axis=1)[:, at]

    ours, theirs = up_to(canary.requests), up_to(baseline.requests)
    more = up_to(errors[0]) / ours - up_to(errors[1]) / theirs > MORE_ERRORS
    slower = up_to(canary.ms_sum) / ours > SLOWER * up_to(baseline.ms_sum) / theirs
    return (more | slower) & (np.minimum(ours, theirs) >= LEAST_REQUESTS)
