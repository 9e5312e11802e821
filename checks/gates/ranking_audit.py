"""Gates of the offer ranker that look at the model by itself: honest, fair, small and fast."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from checks.gates.gate import GateResult
from models.evaluation.calibration import Calibration
from models.evaluation.fairness import GroupGap
from models.evaluation.leakage import LeakageProbe
from models.evaluation.slices import Slice

CALIBRATION = "calibration"
SLICES = "slice_regressions"
FAIRNESS = "fairness_gap"
CANDIDATE_RECALL = "candidate_recall"
LEAKAGE = "leakage_probe"
BUDGET = "size_and_latency"

# A household that reads 20 % should see 18-22 %: beyond that, thresholds set on it misfire.
MIN_SLOPE, MAX_SLOPE = 0.9, 1.1
# Three purchases in a hundred offers, the most that still goes unnoticed on a list of ten.
MAX_ECE = 0.03

# Smaller slices swing by more than any difference worth acting on.
MIN_SLICE_EVENTS = 300

# The four-fifths rule of the US Uniform Guidelines on Employee Selection Procedures (1978).
MIN_GROUP_RATIO = 0.8
# Groups differ in how much they buy, which no ranking changes: beside four fifths, a gap no wider
# than habit alone leaves is accepted. Two points are about the chance error of a ratio.
RATIO_TOLERANCE = 0.02

# Habit and popularity alone held .34 of a household-week's purchases on as-of weeks 42-44; below
# .30 a source has stopped proposing.
MIN_CANDIDATE_RECALL = 0.30

# Shuffled labels, in standard errors from chance; one honest model in 10,000 goes beyond four.
MAX_SHUFFLED_ERRORS = 4.0
# Below this, four standard errors of many events would flag rounding.
MIN_SHUFFLED_EXCESS = 0.005
# Habit, the strongest honest feature, reaches about .8 within the candidates.
MAX_FEATURE_AUC = 0.97
# Next week's purchases hold new wishes; no honest order is nearly perfect.
MAX_NDCG = 0.95

# Loaded by each worker of the service and shipped in its image.
MAX_MODEL_BYTES = 64_000_000
# Half of the 100 ms within which an answer feels immediate (Miller, 1968); the rest is transport.
MAX_P99_MS = 50.0
# Candidates of one request.
BUDGET_CANDIDATES = 500


def evaluate_calibration_gate(
    calibration: Calibration | None, *, blocking: bool = True
) -> GateResult:
    """Can the probabilities of the served offers be taken at their word?

    Args:
        calibration: Of the served top 10; ``None`` if the model gives no probabilities.
        blocking: Whether a failure stops registration.

    Returns:
        Passed if the slope is within .9-1.1 and the ECE at most .03.
    """
    verdict = _Verdicts(CALIBRATION, threshold=MAX_ECE, blocking=blocking)
    if calibration is None:
        return verdict.failed(
            None,
            "the model gives no probabilities, so none can be checked; "
            "train it with its classifier and calibration",
        )
    figures: dict[str, Any] = {
        "ece": calibration.ece,
        "slope": calibration.slope,
        "slope_low": calibration.slope_low,
        "slope_high": calibration.slope_high,
        "intercept": calibration.intercept,
        "offers": calibration.offers,
        "min_slope": MIN_SLOPE,
        "max_slope": MAX_SLOPE,
    }
    shown = (
        f"slope {calibration.slope:.3f} ({MIN_SLOPE}-{MAX_SLOPE} wanted) and expected calibration "
        f"error {calibration.ece:.4f} (at most {MAX_ECE}) on {calibration.offers:,} served offers"
    )
    # Written so that a NaN fails.
    passed = MIN_SLOPE <= calibration.slope <= MAX_SLOPE and calibration.ece <= MAX_ECE
    return verdict.of(calibration.ece, shown, passed=passed, **figures)


def evaluate_slice_regressions(slices: Sequence[Slice], *, blocking: bool = True) -> GateResult:
    """Is the model in no large slice significantly below global+personal top frequency?

    Args:
        slices: With the NDCG difference to that baseline.
        blocking: Whether a failure stops registration.

    Returns:
        Passed if no slice of at least 300 events and no NaN has its whole interval below zero.
        Without any slice it fails.
    """
    verdict = _Verdicts(SLICES, threshold=0.0, blocking=blocking)
    large = [s for s in slices if s.events >= MIN_SLICE_EVENTS]
    if not slices:
        return verdict.failed(None, "no slice was evaluated; evaluate the held-out weeks again")
    if not large:
        return verdict.of(
            None, f"no slice has {MIN_SLICE_EVENTS} events, so none can be judged", passed=True
        )
    worse = [s for s in large if not s.difference.high >= 0.0]
    lowest = min(large, key=lambda s: (not math.isnan(s.difference.high), s.difference.high))
    named = [f"{s.dimension}: {s.name}" for s in worse]
    evidence = {
        "slices": len(large),
        "worse": named,
        "lowest": f"{lowest.dimension}: {lowest.name}",
        "min_events": MIN_SLICE_EVENTS,
    }
    if worse:
        return verdict.failed(
            lowest.difference.high,
            f"worse than gp_topfreq in {len(worse)} of {len(large)} slices "
            f"({'; '.join(named[:5])})",
            **evidence,
        )
    return verdict.of(
        lowest.difference.high,
        f"in none of {len(large)} slices worse than gp_topfreq",
        passed=True,
        **evidence,
    )


def evaluate_fairness(gaps: Sequence[GroupGap], *, blocking: bool = True) -> GateResult:
    """Is no group of households served much worse than another?

    Args:
        gaps: One per attribute.
        blocking: Whether a failure stops registration.

    Returns:
        Passed if, for each attribute, the lowest NDCG among its groups is at least four fifths of
        the highest, or at least the share that gp_topfreq leaves, less .02.
    """
    verdict = _Verdicts(FAIRNESS, threshold=MIN_GROUP_RATIO, blocking=blocking)
    two = 2
    judged = [gap for gap in gaps if gap.compared >= two]
    if not judged:
        return verdict.of(
            None, "no attribute has two groups large enough to be compared", passed=True
        )
    unfair = [gap for gap in judged if not gap.ndcg_ratio >= _lowest_ratio(gap)]
    lowest = min(judged, key=lambda gap: gap.ndcg_ratio - _lowest_ratio(gap))
    evidence = {
        gap.attribute: {"ratio": gap.ndcg_ratio, "habit_ratio": gap.reference_ratio}
        for gap in judged
    }
    shown = "; ".join(
        f"{gap.attribute} {gap.ndcg_ratio:.2f} (habit alone {gap.reference_ratio:.2f})"
        for gap in (unfair or judged)
    )
    said = "wider than allowed" if unfair else "within bounds"
    return verdict.of(
        lowest.ndcg_ratio,
        f"NDCG of the worst served group over the best: {shown}: {said}",
        passed=not unfair,
        **evidence,
    )


def _lowest_ratio(gap: GroupGap) -> float:
    return min(MIN_GROUP_RATIO, gap.reference_ratio - RATIO_TOLERANCE)


def evaluate_candidate_recall(recall: Mapping[str, float], *, blocking: bool = True) -> GateResult:
    """Do the candidates hold enough of what is bought?

    Args:
        recall: Source to its share of an event's purchases; the whole under ``union``.
        blocking: Whether a failure stops registration.

    Returns:
        Passed if the union's recall is at least .30.
    """
    verdict = _Verdicts(CANDIDATE_RECALL, threshold=MIN_CANDIDATE_RECALL, blocking=blocking)
    union = recall.get("union")
    if union is None or not math.isfinite(union):
        return verdict.failed(
            None, "the candidates' recall is not known; evaluate weeks that have candidates"
        )
    return verdict.of(
        union,
        f"the candidates held {union:.1%} of a household-week's purchases "
        f"(at least {MIN_CANDIDATE_RECALL:.0%} wanted)",
        passed=union >= MIN_CANDIDATE_RECALL,
        recall={name: value for name, value in recall.items() if math.isfinite(value)},
    )


def evaluate_leakage(probe: LeakageProbe | None, *, blocking: bool = True) -> GateResult:
    """Does nothing suggest that the model saw the weeks it is judged on?

    Args:
        probe: Measured on held-out candidates; ``None`` if it could not be.
        blocking: Whether a failure stops registration.

    Returns:
        Passed if the order is at chance on shuffled labels, no feature separates bought from
        unbought nearly by itself (AUC .97), and the NDCG among the candidates is below .95.
    """
    verdict = _Verdicts(LEAKAGE, threshold=MAX_FEATURE_AUC, blocking=blocking)
    if probe is None:
        return verdict.failed(
            None, "no event has both a bought and an unbought candidate, so nothing can be probed"
        )
    evidence: dict[str, Any] = {
        "events": probe.events,
        "ndcg": probe.ndcg,
        "shuffled_ndcg": probe.shuffled_ndcg,
        "chance_ndcg": probe.chance_ndcg,
        "strongest_feature": probe.strongest_feature,
        "strongest_auc": probe.strongest_auc,
    }
    excess = abs(probe.shuffled_ndcg - probe.chance_ndcg)
    allowed = max(MIN_SHUFFLED_EXCESS, MAX_SHUFFLED_ERRORS * probe.shuffled_error)
    signs = []
    if not excess <= allowed:
        signs.append(
            f"NDCG on shuffled labels is {probe.shuffled_ndcg:.4f} where chance gives "
            f"{probe.chance_ndcg:.4f}: the evaluation lets labels reach the order"
        )
    if not probe.strongest_auc <= MAX_FEATURE_AUC:
        signs.append(
            f"feature {probe.strongest_feature} tells what is bought by itself "
            f"(AUC {probe.strongest_auc:.3f}): look for the scored week in it"
        )
    if not probe.ndcg <= MAX_NDCG:
        signs.append(f"NDCG among the candidates is {probe.ndcg:.3f}, too good for honest inputs")
    if signs:
        return verdict.failed(probe.strongest_auc, "; ".join(signs), **evidence)
    return verdict.of(
        probe.strongest_auc,
        f"order at chance on shuffled labels ({probe.shuffled_ndcg:.4f} and "
        f"{probe.chance_ndcg:.4f}); strongest single feature {probe.strongest_feature} "
        f"(AUC {probe.strongest_auc:.3f})",
        passed=True,
        **evidence,
    )


def evaluate_budget(*, model_bytes: int, p99_ms: float, blocking: bool = True) -> GateResult:
    """Is the model small and fast enough to be served?

    Args:
        model_bytes: Of all files the service loads.
        p99_ms: 99th percentile of scoring 500 candidates in one call, in milliseconds of
            processor time.
        blocking: Whether a failure stops registration.

    Returns:
        Passed within 64 MB and 50 ms; the value is the larger share used of the two.
    """
    verdict = _Verdicts(BUDGET, threshold=1.0, blocking=blocking)
    used = max(model_bytes / MAX_MODEL_BYTES, p99_ms / MAX_P99_MS)
    within = model_bytes <= MAX_MODEL_BYTES and p99_ms <= MAX_P99_MS
    return verdict.of(
        used,
        f"{model_bytes / 1e6:.1f} MB (at most {MAX_MODEL_BYTES / 1e6:.0f}) and {p99_ms:.1f} ms at "
        f"the 99th percentile for {BUDGET_CANDIDATES} candidates (at most {MAX_P99_MS:.0f})",
        passed=within,
        model_bytes=model_bytes,
        p99_ms=p99_ms,
    )


class _Verdicts:
    """Verdicts of one gate."""

    def __init__(self, name: str, *, threshold: float, blocking: bool) -> None:
        self.name = name
        self.threshold = threshold
        self.blocking = blocking

    def of(self, value: float | None, reason: str, *, passed: bool, **evidence: Any) -> GateResult:
        return GateResult(
            name=self.name,
            passed=bool(passed),
            blocking=self.blocking,
            value=value if value is not None and math.isfinite(value) else None,
            threshold=self.threshold,
            reason=reason,
            evidence=evidence,
        )

    def failed(self, value: float | None, reason: str, **evidence: Any) -> GateResult:
        return self.of(value, reason, passed=False, **evidence)
