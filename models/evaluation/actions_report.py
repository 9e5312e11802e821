"""The actions report: what each store should do next week, why, and what is to be tested first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from models.actions.publication import judge
from models.actions.reasons import action_words, reason
from models.actions.settings import ActionSettings
from models.actions.weekly import EXPLORED, PLAN, WeekPlan, overlap
from models.evaluation import charts
from models.evaluation.pages import environment

TITLES = {
    PLAN: "This plan",
    "current": "The plan that stands",
    "top_response": "What sells most",
    "top_lift": "What lifts most",
    "greedy_ratio": "Best value for money first",
    "random": "At random",
}


def document(
    made: WeekPlan,
    *,
    settings: ActionSettings,
    lineage: Mapping[str, Any],
    names: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The figures of the report as JSON values.

    Args:
        made: The week's decision.
        settings: It was made with.
        lineage: Where it comes from: names to values.
        names: Product id to what people call it.

    Returns:
        ``report, week, verdict, solver, totals, plans`` (by name), ``margins, tests, stores`` and
        ``lineage``.
    """
    known = names or {}
    rows = made.drawn.rows if made.published else made.plan.rows
    frame = made.candidates
    return {
        "report": "actions",
        "week": str(frame["week_start"][0]) if not frame.is_empty() else None,
        "published": made.published,
        "verdict": {
            "decision": made.verdict.decision,
            "reason": made.verdict.reason,
            "low": made.verdict.low,
            "estimate": made.verdict.estimate,
            "high": made.verdict.high,
            "standing_actions_without_estimate": made.verdict.unknown,
        },
        "solver": dict(made.plan.solver),
        "totals": _totals(rows) | {"expected_cost_of_exploring": made.drawn.given_up},
        "evidence": dict(frame.group_by("evidence").len().sort("evidence").rows()),
        "plans": {name: _compared(made, part) for name, part in made.baselines.items()},
        "margins": [
            {
                "margin": settings.economics.margin + shift,
                **_totals(other.rows),
                "same_actions": overlap(other.rows, made.plan.rows),
            }
            for shift, other in sorted(made.margins.items())
        ],
        "tests": [
            {
                "product_id": test.product_id,
                "product": known.get(test.product_id, test.product_id),
                "action": test.action,
                "says": action_words(test.action),
                "category": test.category,
                "mean": test.mean,
                "lift": test.lift,
                "prize": test.prize,
                "weeks": test.weeks,
                "stores_per_arm": test.stores,
                "stores_available": test.available,
                "feasible": test.feasible,
                "cost": test.cost,
            }
            for test in made.tests
        ],
        "stores": _stores(rows, made, known),
        "assumptions": {
            "margin": settings.economics.margin,
            "display_cost": settings.economics.display_cost,
            "mailer_cost": settings.economics.mailer_cost,
            "action_cost": settings.economics.action_cost,
            "panel_share": settings.economics.panel_share,
            "budget": settings.limits.budget,
            "weeks_between": settings.limits.weeks_between,
            "exploration_share": settings.exploration.share,
            "test_power": settings.testing.power,
            "test_alpha": settings.testing.alpha,
        },
        "lineage": dict(lineage),
    }


def summary(found: Mapping[str, Any]) -> tuple[str, ...]:
    """Five plain sentences for a reader who does not know the field."""
    totals, verdict = found["totals"], found["verdict"]
    solver, evidence = found["solver"], found["evidence"]
    proven = sum(n for level, n in evidence.items() if level != "model_only")
    asked = (
        f"For the week of {found['week']} we looked at {solver['candidates']:,} possible actions, "
        "each one action of one product in one store; for "
        f"{proven:,} of them the lift rests on more than a model."
    )
    if found["published"]:
        does = (
            f"The plan has {totals['actions']:,} actions in {totals['stores']:,} stores for "
            f"{totals['cost']:,.2f}, and should earn {totals['value'] - totals['cost']:,.2f} after "
            f"that cost, at least {totals['value_low'] - totals['cost']:,.2f} if every lift is at "
            "its lower bound."
        )
    else:
        does = f"No plan is published: {verdict['reason']}. The stores keep the plan that stands."
    over = (
        f"Against the plan that stands it is worth {verdict['estimate']:,.2f} a week more "
        f"({verdict['low']:,.2f} to {verdict['high']:,.2f})."
        if totals["actions"]
        else "There is nothing to compare with the plan that stands."
    )
    tests = [test for test in found["tests"] if test["feasible"]]
    prize = sum(test["prize"] for test in tests)
    learn = (
        f"{len(tests)} tests are proposed; to know what they show is worth about {prize:,.2f} a "
        "week."
        if tests
        else "No test is proposed: nothing unproven is worth knowing and can be shown in these "
        "stores."
    )
    trust = (
        f"No other plan under these limits can be surely worth more than {solver['gap']:.2%} above "
        "it; margins and costs are declared assumptions, and are listed at the end."
    )
    return asked, does, over, learn, trust


def render_html(found: Mapping[str, Any]) -> str:
    """The report as one self-contained page: no script, no network, readable without colour.

    Args:
        found: From ``document``.
    """
    pages = environment(title_of=lambda name: TITLES.get(name, name))
    return pages.get_template("actions.html.j2").render(
        found=found, sentences=summary(found), chart=_chart(found)
    )


def _totals(rows: pl.DataFrame) -> dict[str, float | int]:
    return {
        "actions": rows.height,
        "stores": rows["store_id"].n_unique() if rows.height else 0,
        **{name: float(rows[name].sum()) for name in ("lift", "value_low", "value", "cost")},
    }


def _compared(made: WeekPlan, rows: pl.DataFrame) -> dict[str, Any]:
    against = judge(rows, made.baselines["current"])
    return _totals(rows) | {
        "over_current": {
            "estimate": against.estimate,
            "low": against.low,
            "high": against.high,
        }
    }


def _stores(rows: pl.DataFrame, made: WeekPlan, names: Mapping[str, str]) -> list[dict[str, Any]]:
    tests = {
        store: [
            {
                "says": f"{action_words(test.action)} of "
                f"{names.get(test.product_id, test.product_id)}",
                "treated": store in test.treated,
                "weeks": test.weeks,
            }
            for test in made.tests
            if store in (*test.treated, *test.control)
        ]
        for store in made.candidates["store_id"].unique().sort()
    }
    ordered = rows.sort("store_id", "value_low", descending=[False, True])
    plans: dict[str, list[dict[str, Any]]] = {store: [] for store in tests}
    for row in ordered.iter_rows(named=True):
        plans[row["store_id"]].append(_action(row, names))
    return [
        {
            "store_id": store,
            "actions": plans[store],
            "cost": sum(a["cost"] for a in plans[store]),
            "earns": sum(a["earns"] for a in plans[store]),
            "tests": tests[store],
        }
        for store in tests
        if plans[store] or tests[store]
    ]


def _action(row: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    earns = row["value"] - row["cost"]
    explored = bool(row.get("explored"))
    return {
        "product_id": row["product_id"],
        "product": names.get(row["product_id"], row["product_id"]),
        "category": row["category"],
        "action": row["action"],
        "says": action_words(row["action"]),
        "kind": EXPLORED if explored else "action",
        "lift": row["lift"],
        "lift_low": row["lift_low"],
        "lift_high": row["lift_high"],
        "cost": row["cost"],
        "earns": earns,
        "earns_at_least": row["value_low"] - row["cost"],
        "return": earns / row["cost"] if row["cost"] else None,
        "propensity": row.get("propensity"),
        "evidence": row["evidence"],
        "reasons": reason(row),
    }


def _chart(found: Mapping[str, Any]) -> str:
    intervals = pl.DataFrame(
        [
            {"name": TITLES.get(name, name), **plan["over_current"]}
            for name, plan in found["plans"].items()
            if name != "current"
        ]
    )
    return charts.differences(
        intervals, title="Worth more than the plan that stands, per week", ident="plans"
    )
