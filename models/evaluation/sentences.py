"""The report's opening: five plain sentences for a reader who does not know the field."""

from __future__ import annotations

import math

import polars as pl

from models.evaluation.bootstrap import Interval
from models.evaluation.result import REFERENCE, EvaluationResult


def summary(result: EvaluationResult) -> tuple[str, ...]:
    """What was asked, how often an offer was bought, the order, the reach, and the verdict."""
    k = result.k
    model = result.metrics[result.model]
    reference = result.metrics[REFERENCE]
    difference = result.differences[REFERENCE][f"ndcg@{k}"]
    union = result.candidate_recall.filter(pl.col("source") == "union").row(0, named=True)
    asked = (
        f"We asked the model for {k} offers per household before each of {len(result.weeks)} weeks "
        f"it had never seen, and compared them with what {result.households:,} households then "
        "really bought."
    )
    hits = (
        f"In {model[f'phr@{k}'].estimate:.0%} of the {result.events:,} shopping weeks at least one "
        f"of the {k} offers was bought, against {reference[f'phr@{k}'].estimate:.0%} for the "
        "simple rule of offering what the household buys most."
    )
    ranking = _ranking_sentence(difference, reference=reference[f"ndcg@{k}"].estimate)
    reach = (
        f"The products it could choose from held {union['share']:.0%} of everything that was "
        "bought; the rest could not be offered, however good the model."
    )
    return asked, hits, ranking, reach, _verdict(result)


def _verdict(result: EvaluationResult) -> str:
    blocked = [gate for gate in result.gates if gate.blocking and not gate.passed]
    if not result.gates:
        return "No release check has been run on it yet."
    if not blocked:
        return "It passed every check that is required before release."
    reasons = "; ".join(gate.reason for gate in blocked)
    if result.override is not None:
        return (
            f"It failed a release check and was released all the same by {result.override.actor} "
            f"({result.override.reason}): {reasons}."
        )
    return f"It may not be released: {reasons}."


def _ranking_sentence(difference: Interval, *, reference: float) -> str:
    relative = difference.estimate / reference if reference > 0 else math.nan
    size = f"{abs(relative):.1%} " if math.isfinite(relative) else ""
    if difference.low > 0:
        return (
            "What was bought stood higher in its list than in that rule's: the order (NDCG) is "
            f"{size}better, more than chance would explain."
        )
    if difference.high < 0:
        return (
            "What was bought stood lower in its list than in that rule's: the order (NDCG) is "
            f"{size}worse, more than chance would explain."
        )
    direction = "better" if difference.estimate > 0 else "worse"
    return (
        f"The order of its list (NDCG) is {size}{direction} than that rule's, a difference that "
        "may well be chance."
    )
