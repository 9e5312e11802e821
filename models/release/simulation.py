"""Simulated canaries: what two equal slices log while one of them may be at fault.

Latency takes three shapes in turn: lognormal; with one request in a hundred stalled by a Pareto
factor without a mean worth naming (tail index 1.1); and autocorrelated, where a slow load process
shared by both slices moves every request. Each request falls into either slice by a coin.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from models.release.figures import LEAST_MS, MOST_MS, SLOW_MS
from models.release.findings import ArmFigures, Moments

Values = NDArray[np.float64]

SHAPES = ("lognormal", "heavy tail", "autocorrelated")
# Requests of both slices between two points of a series, as a monitoring system would store them.
POINT = 200
_SD = 0.5
_MEDIAN_MS = 2.0
_STALLED, _TAIL = 0.01, 1.1
# Of the shared load: a memory of 50 requests, and as much spread as the requests themselves.
_MEMORY = 0.98
_HEALTHY_ERRORS, _HEALTHY_EMPTY = 1e-4, 2e-3
# A retrained model's best scores lie a little elsewhere; that is no harm.
_SCORE_SHIFT = 0.2


@dataclass(frozen=True)
class Fault:
    """What is wrong with a canary.

    Attributes:
        errors: Share of its requests that fail on top of the healthy ones.
        slower: Factor on its latency.
    """

    errors: float = 0.0
    slower: float = 1.0


FAULTS: Mapping[str, Fault] = MappingProxyType(
    {
        "healthy": Fault(),
        "errors_0.1": Fault(errors=0.001),
        "errors_1": Fault(errors=0.01),
        "errors_5": Fault(errors=0.05),
        "latency_20": Fault(slower=1.2),
    }
)


@dataclass(frozen=True)
class Traffic:
    """Sums per point of (releases, points), of one slice.

    Attributes:
        requests: Answered and failed.
        log_sum: Of the logarithm of clipped milliseconds.
        log_squares: Of its square.
        ms_sum: Of milliseconds, not clipped.
        slow: Over the budget.
    """

    requests: Values
    log_sum: Values
    log_squares: Values
    ms_sum: Values
    slow: Values

    def under(self, fault: Fault) -> Traffic:
        """The same requests, slower; what is over the budget stays, no case is near it."""
        shift = math.log(fault.slower)
        return Traffic(
            requests=self.requests,
            log_sum=self.log_sum + shift * self.requests,
            log_squares=self.log_squares + 2 * shift * self.log_sum + shift**2 * self.requests,
            ms_sum=self.ms_sum * fault.slower,
            slow=self.slow,
        )


def traffic(
    random: np.random.Generator, *, shape: str, releases: int, points: int
) -> tuple[Traffic, Traffic]:
    """Requests of a healthy canary and its baseline slice.

    Args:
        random: Source of chance.
        shape: One of ``SHAPES``.
        releases: How many canaries.
        points: Length of each, in steps of ``POINT`` requests.

    Returns:
        Canary and baseline.
    """
    drawn = (releases, points * POINT)
    logs = random.standard_normal(drawn, dtype=np.float32) * np.float32(_SD)
    if shape != "lognormal":
        stalled = random.random(drawn, dtype=np.float32) < _STALLED
        logs[stalled] += random.exponential(1.0 / _TAIL, int(stalled.sum())).astype(np.float32)
    if shape == "autocorrelated":
        noise = random.standard_normal(drawn, dtype=np.float32)
        scale = _SD * math.sqrt(1.0 - _MEMORY**2)
        logs += lfilter([scale], [1.0, -_MEMORY], noise, axis=1).astype(np.float32)
    logs += np.float32(math.log(_MEDIAN_MS))
    mine = random.random(drawn, dtype=np.float32) < np.float32(0.5)
    ms = np.exp(logs)
    np.clip(logs, math.log(LEAST_MS), math.log(MOST_MS), out=logs)
    both = (np.ones_like(logs), logs, logs**2, ms, ms > SLOW_MS)
    sums = [_per_point(v * mine) for v in both]
    totals = [_per_point(v) for v in both]
    return Traffic(*sums), Traffic(*(t - s for t, s in zip(totals, sums, strict=True)))


def counts(random: np.random.Generator, requests: Values, *, share: float) -> Values:
    """Bad answers per point among ``requests``."""
    return random.binomial(requests.astype(np.int64), share).astype(np.float64)


def failed(random: np.random.Generator, requests: Values, fault: Fault) -> Values:
    """Failed answers per point of a slice with ``fault``."""
    return counts(random, requests, share=_HEALTHY_ERRORS + fault.errors)


def figures(
    random: np.random.Generator, slice_: Traffic, *, errors: Values, canary: bool
) -> ArmFigures[Values]:
    """What the judge would be given after each point; every request is another household's.

    Args:
        random: Source of chance, for empty answers and scores.
        slice_: Its traffic.
        errors: Failed answers per point.
        canary: Whether its scores are those of another model.

    Returns:
        Arrays of (releases, points).
    """
    n = np.cumsum(slice_.requests, axis=1)
    mean = np.cumsum(slice_.log_sum, axis=1) / n
    spread = np.sqrt(np.maximum(np.cumsum(slice_.log_squares, axis=1) / n - mean**2, 1e-12))
    noise = np.cumsum(random.normal(0.0, np.sqrt(slice_.requests)), axis=1)
    score = (noise / n) + (_SCORE_SHIFT if canary else 0.0)
    return ArmFigures(
        requests=n,
        households=n,
        units=n,
        errors=np.cumsum(errors, axis=1),
        empty=np.cumsum(counts(random, slice_.requests, share=_HEALTHY_EMPTY), axis=1),
        slow=np.cumsum(slice_.slow, axis=1),
        latency=Moments(mean=mean, variance=spread**2 / n, spread=spread),
        top_score=Moments(mean=score, variance=1.0 / n, spread=np.ones_like(n)),
    )


def _per_point(values: NDArray[np.floating]) -> Values:
    releases = values.shape[0]
    return values.reshape(releases, -1, POINT).sum(axis=2, dtype=np.float64)
