"""One verdict from all rankings: every scope compared, the whole range audited."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import polars as pl

from models.evaluation.audit import AuditInputs, audit
from models.evaluation.bootstrap import DRAWS
from models.evaluation.held_out import HeldOut
from models.evaluation.ranking import evaluate_ranking
from models.evaluation.result import EvaluationResult, Lineage
from models.evaluation.scopes import ALL, Scope


def judge(
    held: HeldOut,
    baselines: Mapping[str, Mapping[str, pl.DataFrame]],
    inputs: AuditInputs,
    *,
    model: str,
    scopes: Sequence[Scope],
    importance: pl.DataFrame,
    lineage: Lineage,
    k: int,
    seed: int,
    challengers: Collection[str] = (),
    seconds: Mapping[str, float] | None = None,
    draws: int = DRAWS,
) -> EvaluationResult:
    """Compare in every scope and audit the whole range.

    Args:
        held: Rankings of the learned systems.
        baselines: Scope to baseline to its ranking, made from the scope's purchases alone.
        inputs: Purchases and what the audit reads.
        model: Which system is judged.
        scopes: ``all`` and its parts; a part in which nothing was bought is left out.
        importance: ``feature, gain`` of the model.
        lineage: Where the model came from.
        k: Length of the judged list.
        seed: Of the bootstraps.
        challengers: Systems that are no baselines.
        seconds: Candidate source to what it took, where measured.
        draws: Bootstrap samples.

    Returns:
        The result of ``all``, with its audit and the other scopes in it.

    Raises:
        ValueError: No scope is ``all``, or as ``evaluate_ranking``.
    """
    results: dict[str, EvaluationResult] = {}
    for scope in scopes:
        bought = scope.of(inputs.purchases)
        if bought.is_empty() and scope.name != ALL:
            continue
        results[scope.name] = evaluate_ranking(
            {**held.rankings[scope.name], **baselines[scope.name]},
            model=model,
            purchases=bought,
            lines=inputs.lines.select("household_id", "product_id", "week_start"),
            candidates=held.candidates[scope.name],
            sources=held.sources,
            importance=importance,
            lineage=lineage,
            k=k,
            seed=seed,
            challengers=challengers,
            seconds=seconds,
            draws=draws,
        )
    if ALL not in results:
        raise ValueError(
            f"judge(): scopes {[scope.name for scope in scopes]} have no {ALL!r}; add it, the "
            "gates read it"
        )
    whole = results.pop(ALL)
    rankings = {**held.rankings[ALL], **baselines[ALL]}
    return replace(whole, audit=audit(whole, rankings, inputs, seed=seed), scopes=results)
