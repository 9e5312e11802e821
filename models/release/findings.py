"""What a canary and its baseline slice show: harm, no harm, or neither yet, signal by signal."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from models.release.sequences import count_e_value, mean_radius, share_interval

# A number, or an array of them where many releases are judged at once.
Number = TypeVar("Number", float, NDArray[np.float64])
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Moments(Generic[Number]):
    """A mean and how sure it is.

    Attributes:
        mean: The mean over answers.
        variance: Of that mean, households being the independent units.
        spread: Standard deviation of single answers.
    """

    mean: Number
    variance: Number
    spread: Number


@dataclass(frozen=True)
class ArmFigures(Generic[Number]):
    """What an arm did.

    Attributes:
        requests: Answers.
        households: Different ones.
        units: Household-days: a household that asks again and again is one witness a day.
        errors: Units in which an answer failed.
        empty: Units in which an answer had no offers.
        slow: Units in which an answer took longer than the budget.
        latency: Of the natural logarithm of milliseconds.
        top_score: Of the first offer's score.
    """

    requests: Number
    households: Number
    units: Number
    errors: Number
    empty: Number
    slow: Number
    latency: Moments[Number]
    top_score: Moments[Number]


class Count(NamedTuple):
    """How a kind of bad answer is judged.

    Attributes:
        alpha: Chance that a healthy canary is ever rolled back for it.
        harm: Increase of the share that a promotion excludes.
        tolerated: Increase that is not rolled back, however sure.
    """

    alpha: float
    harm: float
    tolerated: float


ERRORS = Count(alpha=0.03, harm=0.005, tolerated=0.0)
EMPTY = Count(alpha=0.005, harm=0.02, tolerated=0.005)
SLOW = Count(alpha=0.005, harm=0.05, tolerated=0.01)


@dataclass(frozen=True)
class JudgeSettings:
    """What counts as harm; the alphas add up to .05.

    Attributes:
        errors: Failed answers; any sure increase is harm.
        empty: Answers without offers.
        slow: Answers over the budget.
        latency_alpha: As ``Count.alpha``.
        latency_harm: Relative increase that a promotion excludes.
        latency_tolerated: Relative increase that is not rolled back.
        score_alpha: As ``Count.alpha``.
        score_harm: Shift of the best score either way, in standard deviations of the baseline;
            ``None`` if the canary's scores are on another scale and cannot be compared.
        least_units: Of each arm, before means are judged and anything is promoted.
        planned_units: Of both arms, where intervals of means are tightest.
        sample_ratio_p: Below it the arms are not comparable.
        clearing_alpha: Of the intervals that exclude a harmful share.
    """

    errors: Count = ERRORS
    empty: Count = EMPTY
    slow: Count = SLOW
    latency_alpha: float = 0.005
    latency_harm: float = 0.2
    latency_tolerated: float = 0.05
    score_alpha: float = 0.005
    score_harm: float | None = 1.0
    least_units: int = 200
    planned_units: int = 2_000
    sample_ratio_p: float = 0.001
    clearing_alpha: float = 0.025


class Found(NamedTuple):
    """A signal of many releases at once."""

    harm: Flags
    cleared: Flags
    estimate: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def findings(canary: ArmFigures, baseline: ArmFigures, settings: JudgeSettings) -> dict[str, Found]:
    """Every signal, for one release or arrays of them.

    Args:
        canary: What the canary did.
        baseline: What the live model did on a slice drawn as large.
        settings: What counts as harm.

    Returns:
        Signal to what was found.
    """
    found = {
        name: _count(
            getattr(canary, name),
            getattr(baseline, name),
            units=(canary.units, baseline.units),
            how=getattr(settings, name),
            settings=settings,
        )
        for name in ("errors", "empty", "slow")
    }
    enough = np.minimum(canary.units, baseline.units) >= settings.least_units
    units = np.asarray(canary.households) + np.asarray(baseline.households)
    off = canary.latency.mean - baseline.latency.mean
    wide = mean_radius(
        canary.latency.variance + baseline.latency.variance,
        units,
        alpha=settings.latency_alpha,
        planned=settings.planned_units,
    )
    found["latency"] = Found(
        harm=np.asarray(enough & (off - wide > math.log1p(settings.latency_tolerated))),
        cleared=np.asarray(enough & (off + wide < math.log1p(settings.latency_harm))),
        estimate=np.expm1(off),
        low=np.expm1(off - wide),
        high=np.expm1(off + wide),
    )
    if settings.score_harm is not None:
        spread = np.maximum(baseline.top_score.spread, 1e-9)
        shift = (canary.top_score.mean - baseline.top_score.mean) / spread
        variance = canary.top_score.variance + baseline.top_score.variance
        wide = mean_radius(
            variance / spread**2, units, alpha=settings.score_alpha, planned=settings.planned_units
        )
        found["top_score"] = Found(
            harm=np.asarray(enough & (np.abs(shift) - wide > settings.score_harm)),
            cleared=np.asarray(enough & (np.abs(shift) + wide < settings.score_harm)),
            estimate=np.asarray(shift),
            low=np.asarray(shift - wide),
            high=np.asarray(shift + wide),
        )
    return found


def _count(
    bad: Any, others: Any, *, units: tuple[Any, Any], how: Count, settings: JudgeSettings
) -> Found:
    ours, theirs = (np.maximum(np.asarray(u, dtype=np.float64), 1.0) for u in units)
    estimate = np.asarray(bad) / ours - np.asarray(others) / theirs
    low, high = share_interval(bad, units[0], alpha=settings.clearing_alpha)
    their_low, their_high = share_interval(others, units[1], alpha=settings.clearing_alpha)
    shown = count_e_value(bad, others) >= 1.0 / how.alpha
    return Found(
        harm=np.asarray(shown & (estimate > how.tolerated)),
        cleared=np.asarray(high - their_low < how.harm),
        estimate=np.asarray(estimate),
        low=np.asarray(low - their_high),
        high=np.asarray(high - their_low),
    )
