"""All gates of the offer ranker, in the order shown, and what each asks."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from checks.gates import ranking as comparisons
from checks.gates import ranking_audit as audit
from checks.gates.gate import GateResult
from models.evaluation.result import EvaluationResult

# What people read beside the check. All block but the last.
GATES: Mapping[str, str] = MappingProxyType(
    {
        comparisons.BEATS_GP_TOPFREQ: (
            "Better than global and personal top frequency on held-out weeks: the lower bound of "
            "the paired 95 % interval of the NDCG@10 difference is above zero."
        ),
        comparisons.BEATS_BEST_BASELINE: (
            "Better than the best of all baselines, by the same rule."
        ),
        comparisons.NOT_BELOW_CHAMPION: (
            "Not worse than the registered model on the same weeks: the paired 95 % interval of "
            "the NDCG@10 difference does not lie below zero."
        ),
        audit.CALIBRATION: (
            f"Probabilities of the served top 10 hold: slope {audit.MIN_SLOPE}-{audit.MAX_SLOPE}, "
            f"expected calibration error at most {audit.MAX_ECE}."
        ),
        audit.SLICES: (
            f"In no slice of {audit.MIN_SLICE_EVENTS} household-weeks or more significantly (99 %) "
            "below global and personal top frequency."
        ),
        audit.FAIRNESS: (
            "NDCG of the worst served group at least four fifths of the best served, or no wider "
            "apart than habit alone leaves them."
        ),
        audit.CANDIDATE_RECALL: (
            f"Candidates hold at least {audit.MIN_CANDIDATE_RECALL:.0%} of a household-week's "
            "purchases."
        ),
        audit.LEAKAGE: (
            "No sign that the scored week was seen: chance on shuffled labels, no feature that "
            "tells by itself, no NDCG too good to be true."
        ),
        audit.BUDGET: (
            f"At most {audit.MAX_MODEL_BYTES / 1e6:.0f} MB, and {audit.MAX_P99_MS:.0f} ms at the "
            f"99th percentile for {audit.BUDGET_CANDIDATES} candidates."
        ),
        comparisons.NOT_BELOW_CHALLENGERS: (
            "For information: no other model family, learned from the same rows, is better."
        ),
    }
)
INFORMATIVE = frozenset({comparisons.NOT_BELOW_CHALLENGERS})


def evaluate_gates(
    result: EvaluationResult,
    *,
    registered: bool,
    unusable: str = "",
    model_bytes: int,
    p99_ms: float,
) -> tuple[GateResult, ...]:
    """Every gate's verdict on one evaluation, in the order of ``GATES``.

    Args:
        result: The evaluation, audited.
        registered: Whether there is a champion other than this model.
        unusable: Why it could not be ranked, if it could not.
        model_bytes: Of all files the service loads.
        p99_ms: 99th percentile of scoring one request's candidates, in milliseconds of processor
            time.
    """
    found = result.audit
    return (
        comparisons.evaluate_beats_gp_topfreq(result.differences),
        comparisons.evaluate_beats_best_baseline(result.differences, best=result.best_baseline),
        comparisons.evaluate_not_below_champion(
            result.differences, registered=registered, unusable=unusable
        ),
        audit.evaluate_calibration_gate(found.calibration),
        audit.evaluate_slice_regressions(found.slices),
        audit.evaluate_fairness(found.fairness),
        audit.evaluate_candidate_recall(
            dict(result.candidate_recall.select("source", "recall").drop_nulls().rows())
        ),
        audit.evaluate_leakage(found.leakage),
        audit.evaluate_budget(model_bytes=model_bytes, p99_ms=p99_ms),
        comparisons.evaluate_not_below_challengers(
            result.differences,
            challengers=result.challengers,
            overtaken_by=result.lineage.overtaken_by,
        ),
    )
