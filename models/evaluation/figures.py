"""The figures of an evaluation as JSON values: what machines read."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from models.evaluation.bootstrap import Interval
from models.evaluation.calibration import Calibration
from models.evaluation.fairness import GroupGap
from models.evaluation.result import EvaluationResult
from models.evaluation.scopes import ALL
from models.evaluation.slices import Slice

# Measured on the clock, so they differ between two runs on the same data.
_TIMED_GATES = frozenset({"size_and_latency"})
_TIMED = "seconds"


def metrics_json(result: EvaluationResult) -> dict[str, Any]:
    """The figures of the report as JSON values; NaN and infinity become null.

    Returns:
        ``models`` {name: {metric: value}}, ``intervals`` and ``differences`` {name: {metric:
        {estimate, low, high}}}, ``candidate_recall`` {source: {recall, share,
        candidates_per_event}}, ``sources`` {source: the same with empty_rate and seconds},
        ``overlap`` (list), ``segments``, ``by_week``, ``importance``, ``calibration``, ``slices``
        {dimension: {name: ...}}, ``fairness`` {attribute: ...}, ``popularity`` {system: ...},
        ``leakage``, ``scopes`` {name: {models, intervals, differences, ...}}, ``gates``,
        ``override``, ``lineage``, ``weeks``, ``events``, ``households``, ``k``, ``model``,
        ``best_baseline``, ``challengers``.
    """
    lineage = asdict(result.lineage)
    lineage["train_as_ofs"] = [str(week) for week in result.lineage.train_as_ofs]
    lineage["maturity_cut"] = str(result.lineage.maturity_cut)
    lineage["params"] = dict(result.lineage.params)
    audit = result.audit
    document = {
        "report": "ranking",
        "model": result.model,
        "k": result.k,
        "weeks": [str(week) for week in result.weeks],
        "challengers": list(result.challengers),
        **_comparison(result),
        "candidate_recall": {
            source: {key: row[key] for key in ("recall", "share", "candidates_per_event")}
            for source, row in _sources(result).items()
        },
        "sources": _sources(result),
        "overlap": result.overlap.to_dicts(),
        "by_week": [{**row, "as_of": str(row["as_of"])} for row in result.by_week.to_dicts()],
        "importance": dict(result.importance.select("feature", "gain").rows()),
        "calibration": _calibration(audit.calibration),
        "slices": _slices(audit.slices),
        "fairness": {gap.attribute: _gap(gap) for gap in audit.fairness},
        "popularity": {
            row["system"]: {key: row[key] for key in row if key != "system"}
            for row in (audit.popularity.to_dicts() if audit.popularity is not None else [])
        },
        "leakage": asdict(audit.leakage) if audit.leakage is not None else None,
        "scopes": {
            ALL: _comparison(result),
            **{
                name: _comparison(part) | {"sources": _sources(part)}
                for name, part in result.scopes.items()
            },
        },
        "gates": [
            {
                "name": gate.name,
                "passed": gate.passed,
                "blocking": gate.blocking,
                "value": gate.value,
                "threshold": gate.threshold,
                "reason": gate.reason,
                "evidence": dict(gate.evidence),
            }
            for gate in result.gates
        ],
        "override": (
            {"reason": result.override.reason, "actor": result.override.actor}
            if result.override is not None
            else None
        ),
        "lineage": lineage,
    }
    return _finite(document)


def content_version(figures: Mapping[str, Any]) -> str:
    """12 hexadecimal characters that change with any figure that is not a time.

    Args:
        figures: From ``metrics_json``.
    """
    kept = {
        **figures,
        "gates": [
            {"name": gate["name"], "passed": gate["passed"]}
            if gate["name"] in _TIMED_GATES
            else gate
            for gate in figures["gates"]
        ],
    }
    text = json.dumps(_without(kept, _TIMED), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _comparison(result: EvaluationResult) -> dict[str, Any]:
    return {
        "events": result.events,
        "households": result.households,
        "best_baseline": result.best_baseline,
        "models": {
            name: {metric: interval.estimate for metric, interval in metrics.items()}
            for name, metrics in result.metrics.items()
        },
        "intervals": _nested(result.metrics),
        "differences": _nested(result.differences),
        "segments": {
            segment.name: {
                "purchases": segment.purchases,
                "events": segment.events,
                "models": {name: dict(values) for name, values in segment.metrics.items()},
            }
            for segment in result.segments
        },
    }


def _sources(result: EvaluationResult) -> dict[str, dict[str, float]]:
    return {
        row["source"]: {key: row[key] for key in row if key != "source"}
        for row in result.candidate_recall.to_dicts()
    }


def _calibration(found: Calibration | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "offers": found.offers,
        "households": found.households,
        "ece": found.ece,
        "slope": found.slope,
        "slope_interval": {"low": found.slope_low, "high": found.slope_high},
        "intercept": found.intercept,
        "mean_probability": found.mean_probability,
        "mean_outcome": found.mean_outcome,
        "bins": found.bins.to_dicts(),
    }


def _slices(found: tuple[Slice, ...]) -> dict[str, dict[str, Any]]:
    document: dict[str, dict[str, Any]] = {}
    for part in found:
        document.setdefault(part.dimension, {})[part.name] = {
            "events": part.events,
            "households": part.households,
            "purchases": part.purchases,
            "models": {name: dict(values) for name, values in part.metrics.items()},
            "difference": part.difference.as_dict(),
            "confidence": part.difference.confidence,
        }
    return document


def _gap(gap: GroupGap) -> dict[str, Any]:
    return {
        "ndcg_gap": gap.ndcg_gap,
        "ndcg_ratio": gap.ndcg_ratio,
        "reference_ratio": gap.reference_ratio,
        "offers_gap": gap.offers_gap,
        "promoted_gap": gap.promoted_gap,
        "groups": {
            row["group"]: {key: row[key] for key in row if key != "group"}
            for row in gap.groups.to_dicts()
        },
    }


def _nested(metrics: Mapping[str, Mapping[str, Interval]]) -> dict[str, Any]:
    return {
        name: {metric: interval.as_dict() for metric, interval in values.items()}
        for name, values in metrics.items()
    }


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _without(value: Any, key: str) -> Any:
    if isinstance(value, dict):
        return {name: _without(item, key) for name, item in value.items() if name != key}
    if isinstance(value, list):
        return [_without(item, key) for item in value]
    return value
