"""The ranking evaluation report: a page for people and figures for machines, from one result."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jinja2
import polars as pl

from models.evaluation import charts
from models.evaluation.bootstrap import Interval
from models.evaluation.result import EvaluationResult

# What a reader sees instead of a machine's name.
TITLES = {
    "g_topfreq": "Most popular",
    "p_topfreq": "Own habit",
    "gp_topfreq": "Own habit, then popular",
    "decayed_topfreq": "Recent habit, then popular",
    "xgboost": "Learned ranker",
}
SEGMENT_TITLES = {
    "repeat": "Bought before (repeat)",
    "explore": "Never bought before (explore)",
}

IMPORTANT_FEATURES = 12

REFERENCE = "gp_topfreq"


def title_of(name: str) -> str:
    return TITLES.get(name, name)


def metrics_json(result: EvaluationResult) -> dict[str, Any]:
    """The figures of the report as JSON values; NaN and infinity become null.

    Returns:
        ``models`` {name: {metric: value}}, ``intervals`` and ``differences`` {name: {metric:
        {estimate, low, high}}}, ``candidate_recall`` {source: {recall, share,
        candidates_per_event}}, ``segments``, ``by_week``, ``importance``, ``gates``, ``lineage``,
        ``weeks``, ``events``, ``households``, ``k``, ``model``.
    """
    lineage = asdict(result.lineage)
    lineage["train_as_ofs"] = [str(week) for week in result.lineage.train_as_ofs]
    lineage["maturity_cut"] = str(result.lineage.maturity_cut)
    lineage["params"] = dict(result.lineage.params)
    document = {
        "report": "ranking",
        "model": result.model,
        "k": result.k,
        "weeks": [str(week) for week in result.weeks],
        "events": result.events,
        "households": result.households,
        "models": {
            name: {metric: interval.estimate for metric, interval in metrics.items()}
            for name, metrics in result.metrics.items()
        },
        "intervals": _nested(result.metrics),
        "differences": _nested(result.differences),
        "candidate_recall": {
            row["source"]: {key: row[key] for key in row if key != "source"}
            for row in result.candidate_recall.to_dicts()
        },
        "segments": {
            segment.name: {
                "purchases": segment.purchases,
                "events": segment.events,
                "models": {name: dict(values) for name, values in segment.metrics.items()},
            }
            for segment in result.segments
        },
        "by_week": [{**row, "as_of": str(row["as_of"])} for row in result.by_week.to_dicts()],
        "importance": dict(result.importance.select("feature", "gain").rows()),
        "gates": [
            {
                "name": gate.name,
                "passed": gate.passed,
                "blocking": gate.blocking,
                "value": gate.value,
                "threshold": gate.threshold,
                "reason": gate.reason,
            }
            for gate in result.gates
        ],
        "lineage": lineage,
    }
    return _finite(document)


def render_html(result: EvaluationResult) -> str:
    """The report as one self-contained page: no script, no network, readable without colour.

    Raises:
        KeyError: The result lacks the baseline the summary compares with, ``gp_topfreq``.
    """
    if REFERENCE not in result.metrics:
        raise KeyError(
            f"the report compares with {REFERENCE}, which is not among {sorted(result.metrics)}; "
            "rank the held-out weeks with that baseline as well"
        )
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["title_of"] = title_of
    environment.filters["segment_title"] = lambda name: SEGMENT_TITLES.get(name, name)
    ndcg = f"ndcg@{result.k}"
    shown = result.differences.items()
    intervals = pl.DataFrame(
        [{"name": title_of(name), **values[ndcg].as_dict()} for name, values in shown]
    )
    return environment.get_template("ranking.html.j2").render(
        result=result,
        sentences=summary(result),
        metrics=list(result.metrics[result.model]),
        ndcg=ndcg,
        recall=f"recall@{result.k}",
        sources=result.candidate_recall.to_dicts(),
        weekly=_weekly_table(result),
        chart_differences=charts.differences(intervals, metric=f"NDCG@{result.k}", ident="diff"),
        chart_weeks=charts.ndcg_by_week(
            result.by_week,
            model=result.model,
            k=result.k,
            titles={name: title_of(name) for name in result.metrics},
            ident="week",
        ),
        chart_importance=charts.bars(
            result.importance.head(IMPORTANT_FEATURES),
            label="feature",
            value="gain",
            title="Share of the model's total gain",
            ident="gain",
        ),
        important=result.importance.head(IMPORTANT_FEATURES).to_dicts(),
    )


def summary(result: EvaluationResult) -> tuple[str, ...]:
    """Five plain sentences for a reader who does not know the field."""
    k = result.k
    model = result.metrics[result.model]
    reference = result.metrics[REFERENCE]
    difference = result.differences[REFERENCE][f"ndcg@{k}"]
    union = result.candidate_recall.filter(pl.col("source") == "union").row(0, named=True)
    hit = model[f"phr@{k}"].estimate
    blocked = [gate for gate in result.gates if gate.blocking and not gate.passed]
    if not result.gates:
        verdict = "No release check has been run on it yet."
    elif blocked:
        verdict = "It may not be released: " + "; ".join(gate.reason for gate in blocked) + "."
    else:
        verdict = "It passed every check that is required before release."
    asked = (
        f"We asked the model for {k} offers per household before each of {len(result.weeks)} weeks "
        f"it had never seen, and compared them with what {result.households:,} households then "
        "really bought."
    )
    hits = (
        f"In {hit:.0%} of the {result.events:,} shopping weeks at least one of the {k} offers was "
        f"bought, against {reference[f'phr@{k}'].estimate:.0%} for the simple rule of offering "
        "what the household buys most."
    )
    ranking = _ranking_sentence(difference, reference=reference[f"ndcg@{k}"].estimate)
    reach = (
        f"The products it could choose from held {union['share']:.0%} of everything that was "
        "bought; the rest could not be offered, however good the model."
    )
    return asked, hits, ranking, reach, verdict


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


def _weekly_table(result: EvaluationResult) -> list[dict[str, Any]]:
    return [
        {
            "as_of": week,
            "events": part["events"][0],
            "ndcg": dict(part.select("system", "ndcg").rows()),
        }
        for (week,), part in result.by_week.sort("as_of").group_by("as_of", maintain_order=True)
    ]


def _nested(metrics: Any) -> dict[str, dict[str, dict[str, float]]]:
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
