from __future__ import annotations

import json

import pytest

from models.actions.settings import ActionSettings, TrialSettings
from models.actions.weekly import week_plan
from models.evaluation.actions_report import document, render_html, summary
from tests.models.actions.markets import candidate, free, market

DECLARED = ActionSettings(limits=free(), testing=TrialSettings(dispersion=1.0))


def found(evidence: str) -> dict:
    frame = market(
        *(candidate(str(s), "a", width=2, evidence=evidence) for s in range(20)),
        *(
            candidate(str(s), "b", width=9, evidence="model_only", category="BEER")
            for s in range(20)
        ),
    )
    made = week_plan(frame, DECLARED)
    return document(made, settings=DECLARED, lineage={"seed": 1}, names={"a": "cola <2 l>"})


def test_a_published_plan_store_by_store() -> None:
    made = found("identified")
    assert json.loads(json.dumps(made, allow_nan=False)) == made
    assert len(made["stores"]) == 20
    assert made["totals"]["cost"] == pytest.approx(sum(s["cost"] for s in made["stores"]))
    html = render_html(made)
    assert "✓ Published" in html
    assert "cola &lt;2 l&gt;" in html
    assert html.count("<details>") == 20
    assert "past promotions of the kind show it" in html
    assert "<script" not in html
    assert "http" not in html.replace("http://www.w3.org", "")
    assert len(summary(made)) == 5


def test_an_unpublished_plan_says_what_to_test() -> None:
    made = found("model_only")
    html = render_html(made)
    assert "Not published: run a test" in html
    assert "No plan is published" in summary(made)[1]
    assert made["totals"]["actions"] == 0
    assert any(test["feasible"] for test in made["tests"])
    assert "This store has the action" in html
    assert "goes on as usual, to compare with" in html


def test_every_plan_is_compared_with_the_one_that_stands() -> None:
    made = found("identified")
    assert list(made["plans"]) == [
        "plan",
        "current",
        "top_response",
        "top_lift",
        "greedy_ratio",
        "random",
    ]
    assert made["plans"]["current"]["over_current"]["estimate"] == 0
