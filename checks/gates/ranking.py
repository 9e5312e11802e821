"""Gates of the offer ranker."""

from __future__ import annotations

import math
from collections.abc import Mapping

from checks.gates.gate import GateResult
from models.evaluation.bootstrap import Interval

BEATS_GP_TOPFREQ = "beats_gp_topfreq"
GP_TOPFREQ = "gp_topfreq"
NDCG = "ndcg@10"

# The whole 95 % interval must lie above no difference: a lucky draw of households does not count.
NO_DIFFERENCE = 0.0

# Fewer households than this and a bootstrap over them means little.
MIN_HOUSEHOLDS = 30


def evaluate_beats_gp_topfreq(
    differences: Mapping[str, Mapping[str, Interval]], *, blocking: bool = True
) -> GateResult:
    """Does the model rank held-out weeks better than global+personal top frequency?

    Args:
        differences: Baseline to metric to the paired interval of model minus baseline, as in
            ``EvaluationResult.differences``.
        blocking: Whether a failure stops registration.

    Returns:
        Passed if the lower bound of the NDCG@10 difference is above zero. A missing or NaN metric,
        or fewer than 30 households, fails.
    """

    def verdict(*, passed: bool, value: float | None, reason: str, **evidence: float) -> GateResult:
        return GateResult(
            name=BEATS_GP_TOPFREQ,
            passed=passed,
            blocking=blocking,
            value=value,
            threshold=NO_DIFFERENCE,
            reason=reason,
            evidence={"metric": NDCG, "baseline": GP_TOPFREQ, **evidence},
        )

    interval = differences.get(GP_TOPFREQ, {}).get(NDCG)
    if interval is None:
        return verdict(
            passed=False,
            value=None,
            reason=f"there is no {NDCG} difference over {GP_TOPFREQ} in the evaluation; "
            "rank the held-out weeks with that baseline as well",
        )
    figures = (interval.estimate, interval.low, interval.high)
    if not all(map(math.isfinite, figures)):
        return verdict(
            passed=False,
            value=None,
            reason=f"the {NDCG} difference over {GP_TOPFREQ} is not a number {figures}; "
            "look for events or scores without a value",
        )
    evidence = {
        **interval.as_dict(),
        "confidence": interval.confidence,
        "events": interval.events,
        "households": interval.households,
    }
    if interval.households < MIN_HOUSEHOLDS:
        return verdict(
            passed=False,
            value=interval.low,
            reason=f"only {interval.households} households were evaluated, {MIN_HOUSEHOLDS} are "
            "needed; evaluate more of them",
            **evidence,
        )
    passed = interval.low > NO_DIFFERENCE
    shown = (
        f"{NDCG} differs from {GP_TOPFREQ} by {interval.estimate:+.4f} "
        f"({interval.confidence:.0%} interval {interval.low:+.4f} to {interval.high:+.4f}, "
        f"{interval.events:,} events of {interval.households:,} households)"
    )
    return verdict(
        passed=passed,
        value=interval.low,
        reason=f"{shown}: better" if passed else f"{shown}: not shown to be better",
        **evidence,
    )
