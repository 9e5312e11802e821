"""The ranking evaluation report for people: one self-contained page from one result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from models.evaluation import charts
from models.evaluation.calibration import Calibration
from models.evaluation.fairness import GroupGap
from models.evaluation.pages import environment
from models.evaluation.result import CHAMPION, REFERENCE, EvaluationResult
from models.evaluation.sentences import summary
from models.evaluation.slices import Slice

# What a reader sees instead of a machine's name.
TITLES = {
    "g_topfreq": "Most popular",
    "p_topfreq": "Own habit",
    "gp_topfreq": "Own habit, then popular",
    "decayed_topfreq": "Recent habit, then popular",
    "tifu_knn": "Habit and like-minded households",
    "up_cf": "Households with like habits",
    "als": "Matrix factorisation",
    "repeat_cadence": "What is due again",
    "xgboost": "Learned ranker",
    "lightgbm": "Challenger: LightGBM",
    "neural": "Challenger: neural network",
    CHAMPION: "Registered champion",
    "purchases": "What was really bought",
}
SEGMENT_TITLES = {
    "repeat": "Bought before (repeat)",
    "explore": "Never bought before (explore)",
}
DIMENSION_TITLES = {
    "tenure": "Weeks since the household's first basket",
    "basket_size": "Products bought in the week",
    "category": "Category of what was bought",
    "promotion": "Promotion of what was bought, in the store of the purchase",
}
ATTRIBUTE_TITLES = {
    "income": "Household income",
    "age": "Age of the head of the household",
    "spend": "Spend in the 91 days before",
}

IMPORTANT_FEATURES = 12


def title_of(name: str) -> str:
    return TITLES.get(name, name)


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
    pages = environment(
        title_of=title_of,
        segment_title=lambda name: SEGMENT_TITLES.get(name, name),
    )
    audit = result.audit
    return pages.get_template("ranking.html.j2").render(
        result=result,
        sentences=summary(result),
        metrics=list(result.metrics[result.model]),
        ndcg=f"ndcg@{result.k}",
        recall=f"recall@{result.k}",
        sources=result.candidate_recall.to_dicts(),
        overlap=result.overlap.to_dicts(),
        weekly=_weekly_table(result),
        drawn=_drawn(result),
        chart_differences=_differences(result, ident="diff"),
        chart_weeks=charts.ndcg_by_week(
            result.by_week.filter(pl.col("system").is_in(_drawn(result))),
            model=result.model,
            k=result.k,
            titles={name: title_of(name) for name in result.metrics},
            ident="week",
        ),
        chart_sources=charts.bars(
            result.candidate_recall,
            label="source",
            value="recall",
            title="Share of a household-week's purchases that the source held",
            ident="source",
        ),
        chart_importance=charts.bars(
            result.importance.head(IMPORTANT_FEATURES),
            label="feature",
            value="gain",
            title="Share of the model's total gain",
            ident="gain",
        ),
        important=result.importance.head(IMPORTANT_FEATURES).to_dicts(),
        calibration=audit.calibration,
        chart_calibration=_calibration_chart(audit.calibration),
        slices=_slice_tables(audit.slices, k=result.k),
        fairness=_fairness_tables(audit.fairness, k=result.k),
        popularity=audit.popularity.to_dicts() if audit.popularity is not None else [],
        scopes=[
            {
                "name": name,
                "result": part,
                "chart": _differences(part, ident=f"scope-{name}"),
            }
            for name, part in result.scopes.items()
        ],
    )


def _drawn(result: EvaluationResult) -> list[str]:
    """The systems whose lines are drawn: a dozen would hide one another."""
    few = (result.model, REFERENCE, result.best_baseline, CHAMPION)
    return [name for name in dict.fromkeys(few) if name in result.metrics]


def _differences(result: EvaluationResult, *, ident: str) -> str:
    intervals = pl.DataFrame(
        [
            {"name": title_of(name), **values[f"ndcg@{result.k}"].as_dict()}
            for name, values in result.differences.items()
        ]
    )
    return charts.differences(
        intervals, title=f"Model minus the other, NDCG@{result.k}", ident=ident
    )


def _calibration_chart(calibration: Calibration | None) -> str:
    return "" if calibration is None else charts.reliability(calibration.bins, ident="calibration")


def _slice_tables(slices: tuple[Slice, ...], *, k: int) -> list[dict[str, Any]]:
    tables = []
    for dimension in dict.fromkeys(part.dimension for part in slices):
        parts = [part for part in slices if part.dimension == dimension]
        intervals = pl.DataFrame(
            [{"name": part.name, **part.difference.as_dict()} for part in parts]
        )
        tables.append(
            {
                "title": DIMENSION_TITLES.get(dimension, dimension),
                "parts": parts,
                "systems": list(parts[0].metrics),
                "chart": charts.differences(
                    intervals,
                    title=f"Model minus own habit, then popular; NDCG@{k}",
                    ident=f"slice-{dimension}",
                ),
            }
        )
    return tables


def _fairness_tables(gaps: tuple[GroupGap, ...], *, k: int) -> list[dict[str, Any]]:
    def drawn(gap: GroupGap) -> str:
        names: Mapping[str, str] = {
            "ndcg": "Learned ranker",
            "reference_ndcg": title_of(REFERENCE),
        }
        return charts.pairs(
            gap.groups.select(pl.col("group").alias("name"), *names),
            columns=names,
            title=f"NDCG@{k}",
            ident=f"fair-{gap.attribute}",
        )

    return [
        {
            "title": ATTRIBUTE_TITLES.get(gap.attribute, gap.attribute),
            "gap": gap,
            "groups": gap.groups.to_dicts(),
            "chart": drawn(gap),
        }
        for gap in gaps
    ]


def _weekly_table(result: EvaluationResult) -> list[dict[str, Any]]:
    return [
        {
            "as_of": week,
            "events": part["events"][0],
            "ndcg": dict(part.select("system", "ndcg").rows()),
        }
        for (week,), part in result.by_week.sort("as_of").group_by("as_of", maintain_order=True)
    ]
