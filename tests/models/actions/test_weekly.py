from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checks.contracts.actions import ACTION_PLAN, PROPENSITIES
from checks.contracts.contract import validate
from models.actions.publication import PUBLISH, TEST, judge
from models.actions.reasons import action_words
from models.actions.settings import ActionSettings, Exploration, TrialSettings
from models.actions.weekly import WeekPlan, overlap, week_plan
from tests.models.actions.markets import candidate, drawn, free, market

KNOWN = pl.lit("2017-12-25T05:00:00").str.to_datetime(time_unit="us").alias("known_at")


def wide_and_sure() -> pl.DataFrame:
    model = {"evidence": "model_only", "category": "BEER"}
    standing = {"current": True, "category": "WINE"}
    stores = [str(s) for s in range(20)]
    return market(
        *(candidate(s, "a", value=10, width=2) for s in stores),
        *(candidate(s, "b", value=4, width=8, **model) for s in stores),
        *(candidate(s, "c", value=2, **standing) for s in stores),
    )


def week(frame: pl.DataFrame) -> WeekPlan:
    declared = ActionSettings(
        limits=free(),
        exploration=Exploration(share=0.2),
        testing=TrialSettings(correlation=0.0, dispersion=1.0),
    )
    return week_plan(frame, declared, unknown=3)


def valid(made: WeekPlan) -> None:
    for rows, contract in ((made.table(), ACTION_PLAN), (made.drawn.log, PROPENSITIES)):
        report = validate(rows.with_columns(KNOWN), contract)
        assert report.passed, str(report)


def test_a_plan_that_surely_pays_is_published_with_its_tests() -> None:
    made = week(wide_and_sure())
    assert made.published
    # The wine stands and is in the plan too: nine tenths of the difference is the soda's.
    assert made.verdict.estimate == pytest.approx(20 * 9)
    assert made.verdict.low == pytest.approx(20 * (9 - 2))
    assert made.verdict.unknown == 3
    table = made.table()
    counts = dict(table.group_by("kind").len().rows())
    assert counts["action"] + counts.get("exploration", 0) <= 40
    assert counts["test"] == counts["control"] == made.tests[0].stores
    assert {p.product_id for p in made.tests} == {"b"}
    assert "past promotions of the kind show it" in table.filter(kind="action")["reasons"][0]
    assert "this store" in table.filter(kind="control")["reasons"][0]
    valid(made)


def test_what_may_lose_is_not_published() -> None:
    # Sure of a little more than its cost in one category; the standing plan may be worth more.
    frame = market(
        candidate(product="a", value=10, width=8, cost=1),
        candidate(product="b", value=6, width=5, cost=1, current=True, weeks_since_promotion=0),
    )
    declared = ActionSettings(limits=replace(free(), weeks_between=1))
    made = week_plan(frame, declared)
    assert made.plan.rows["product_id"].to_list() == ["a"]
    assert made.verdict.decision == TEST
    assert made.verdict.low < 0 < made.verdict.estimate
    assert made.drawn.rows.is_empty()
    assert not made.table().filter(pl.col("kind").is_in(["action", "exploration"])).height
    valid(made)


def test_models_alone_publish_nothing() -> None:
    made = week(market(*(candidate(str(s), evidence="model_only", width=1) for s in range(30))))
    assert made.verdict.decision == TEST
    assert "both proven and surely worth" in made.verdict.reason
    assert len(made.tests) == 1
    valid(made)


def test_errors_add_up_within_a_category_and_not_between() -> None:
    plan = market(
        candidate(product="a", value=10, width=3, cost=0),
        candidate(product="b", value=10, width=1, cost=0),
        candidate(product="c", value=10, width=3, cost=0, category="BEER"),
    )
    found = judge(plan, plan.clear())
    assert (found.estimate, found.low, found.high) == pytest.approx((30, 25, 35))
    assert found.decision == PUBLISH


def test_the_same_plan_is_worth_nothing_more() -> None:
    plan = market(candidate(width=3))
    found = judge(plan, plan)
    assert (found.low, found.estimate, found.high) == (0, 0, 0)
    assert found.decision == TEST


def test_a_smaller_margin_plans_less() -> None:
    made = week(market(candidate(product="a", value=10), candidate(product="b", value=1.1)))
    assert made.plan.rows.height == 2
    low, high = (made.margins[shift].rows.height for shift in sorted(made.margins))
    assert (low, high) == (1, 2)


@settings(max_examples=20)
@given(st.integers(0, 10**6))
def test_every_week_satisfies_its_contract(seed: int) -> None:
    frame, limits = drawn(seed)
    valid(week_plan(frame, ActionSettings(limits=limits)))


def test_overlap() -> None:
    one = market(candidate(product="a"), candidate(product="b"))
    other = market(candidate(product="b"), candidate(product="c"))
    assert overlap(one, other) == pytest.approx(1 / 3)
    assert overlap(one.clear(), other.clear()) == 1


@pytest.mark.parametrize(
    ("action", "said"),
    [
        ("display", "display"),
        ("discount_20", "20 % off"),
        ("display_mailer_discount_20", "display, mailer and 20 % off"),
    ],
)
def test_actions_in_words(action: str, said: str) -> None:
    assert action_words(action) == said
