"""Gates of the offer ranker: comparisons here, the model by itself in ``ranking_audit``."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

from checks.gates.gate import GateResult
from models.evaluation.bootstrap import Interval

BEATS_GP_TOPFREQ = "beats_gp_topfreq"
BEATS_BEST_BASELINE = "beats_best_baseline"
NOT_BELOW_CHAMPION = "not_below_champion"
NOT_BELOW_CHALLENGERS = "not_below_challengers"
GP_TOPFREQ = "gp_topfreq"
CHAMPION = "champion"
NDCG = "ndcg@10"

# The whole 95 % interval must lie above no difference: a lucky draw of households does not count.
NO_DIFFERENCE = 0.0

# Fewer households than this and a bootstrap over them means little.
MIN_HOUSEHOLDS = 30

Differences = Mapping[str, Mapping[str, Interval]]


def evaluate_beats_gp_topfreq(differences: Differences, *, blocking: bool = True) -> GateResult:
    """Does the model rank held-out weeks better than global+personal top frequency?

    Args:
        differences: System to metric to the paired interval of model minus system, as in
            ``EvaluationResult.differences``.
        blocking: Whether a failure stops registration.

    Returns:
        Passed if the lower bound of the NDCG@10 difference is above zero. A missing or NaN metric,
        or fewer than 30 households, fails.
    """
    return _better(BEATS_GP_TOPFREQ, GP_TOPFREQ, differences, blocking=blocking)


def evaluate_beats_best_baseline(
    differences: Differences, *, best: str, blocking: bool = True
) -> GateResult:
    """Does the model rank held-out weeks better than the best of all baselines?

    Args:
        differences: As for ``evaluate_beats_gp_topfreq``.
        best: The baseline with the highest NDCG@10.
        blocking: As there.

    Returns:
        As there.
    """
    return _better(BEATS_BEST_BASELINE, best, differences, blocking=blocking)


def evaluate_not_below_champion(
    differences: Differences, *, registered: bool, unusable: str = "", blocking: bool = True
) -> GateResult:
    """Is the model as good as the one that is registered, as far as can be told?

    The same recipe on one more week of data is about as good as before, so the interval need not
    lie above zero; it must not lie below.

    Args:
        differences: As for ``evaluate_beats_gp_topfreq``; the champion's under ``champion``.
        registered: Whether there is a champion other than this model.
        unusable: Why that champion could not be ranked on the same weeks, if it could not.
        blocking: As there.

    Returns:
        Passed if the upper bound is not below zero, or if no other champion is registered. A
        champion that was not compared fails.
    """
    if not registered:
        return GateResult(
            name=NOT_BELOW_CHAMPION,
            passed=True,
            blocking=blocking,
            value=None,
            threshold=NO_DIFFERENCE,
            reason="no other model is registered, so there is nothing to fall behind",
            evidence={"metric": NDCG},
        )
    if unusable:
        return GateResult(
            name=NOT_BELOW_CHAMPION,
            passed=False,
            blocking=blocking,
            value=None,
            threshold=NO_DIFFERENCE,
            reason=f"the registered model could not be compared: {unusable}",
            evidence={"metric": NDCG, "baseline": CHAMPION},
        )
    return _not_below(NOT_BELOW_CHAMPION, CHAMPION, differences, blocking=blocking)


def evaluate_not_below_challengers(
    differences: Differences,
    *,
    challengers: Collection[str],
    overtaken_by: str | None = None,
    blocking: bool = False,
) -> GateResult:
    """Is no other model family, learned from the same rows, better?

    For information: which family is served is decided on the tuning weeks, and deciding again on
    the held-out ones would use them twice.

    Args:
        differences: As for ``evaluate_beats_gp_topfreq``.
        challengers: Names of the families compared.
        overtaken_by: A family that was significantly better on the tuning weeks.
        blocking: As there.
    """
    if overtaken_by is not None:
        return GateResult(
            name=NOT_BELOW_CHALLENGERS,
            passed=False,
            blocking=blocking,
            value=None,
            threshold=NO_DIFFERENCE,
            reason=f"{overtaken_by} was significantly better on the tuning weeks than the family "
            "that is served; have it served, or say why not",
            evidence={"metric": NDCG, "baseline": overtaken_by},
        )
    verdicts = [
        _not_below(NOT_BELOW_CHALLENGERS, name, differences, blocking=blocking)
        for name in sorted(challengers)
    ]
    if not verdicts:
        return GateResult(
            name=NOT_BELOW_CHALLENGERS,
            passed=True,
            blocking=blocking,
            value=None,
            threshold=NO_DIFFERENCE,
            reason="no challenger was trained beside it",
        )
    return min(verdicts, key=lambda v: (v.passed, -math.inf if v.value is None else v.value))


def _better(name: str, other: str, differences: Differences, *, blocking: bool) -> GateResult:
    interval = _usable(name, other, differences, blocking=blocking)
    if isinstance(interval, GateResult):
        return interval
    passed = interval.low > NO_DIFFERENCE
    said = "better" if passed else "not shown to be better"
    return _verdict(
        name, other, interval, passed=passed, value=interval.low, said=said, blocking=blocking
    )


def _not_below(name: str, other: str, differences: Differences, *, blocking: bool) -> GateResult:
    interval = _usable(name, other, differences, blocking=blocking)
    if isinstance(interval, GateResult):
        return interval
    passed = interval.high >= NO_DIFFERENCE
    said = "not worse" if passed else "worse"
    return _verdict(
        name, other, interval, passed=passed, value=interval.high, said=said, blocking=blocking
    )


def _usable(
    name: str, other: str, differences: Differences, *, blocking: bool
) -> Interval | GateResult:
    """The interval, or the verdict that it cannot be judged."""

    def refused(value: float | None, reason: str, **evidence: float) -> GateResult:
        return GateResult(
            name=name,
            passed=False,
            blocking=blocking,
            value=value,
            threshold=NO_DIFFERENCE,
            reason=reason,
            evidence={"metric": NDCG, "baseline": other, **evidence},
        )

    interval = differences.get(other, {}).get(NDCG)
    if interval is None:
        return refused(
            None,
            f"there is no {NDCG} difference over {other} in the evaluation; "
            "rank the held-out weeks with that baseline as well",
        )
    figures = (interval.estimate, interval.low, interval.high)
    if not all(map(math.isfinite, figures)):
        return refused(
            None,
            f"the {NDCG} difference over {other} is not a number {figures}; "
            "look for events or scores without a value",
        )
    if interval.households < MIN_HOUSEHOLDS:
        return refused(
            interval.low,
            f"only {interval.households} households were evaluated, {MIN_HOUSEHOLDS} are "
            "needed; evaluate more of them",
            **_evidence(interval),
        )
    return interval


def _verdict(
    name: str,
    other: str,
    interval: Interval,
    *,
    passed: bool,
    value: float,
    said: str,
    blocking: bool,
) -> GateResult:
    return GateResult(
        name=name,
        passed=passed,
        blocking=blocking,
        value=value,
        threshold=NO_DIFFERENCE,
        reason=(
            f"{NDCG} differs from {other} by {interval.estimate:+.4f} "
            f"({interval.confidence:.0%} interval {interval.low:+.4f} to {interval.high:+.4f}, "
            f"{interval.events:,} events of {interval.households:,} households): {said}"
        ),
        evidence={"metric": NDCG, "baseline": other, **_evidence(interval)},
    )


def _evidence(interval: Interval) -> dict[str, float]:
    return {
        **interval.as_dict(),
        "confidence": interval.confidence,
        "events": interval.events,
        "households": interval.households,
    }
