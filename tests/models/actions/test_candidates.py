from __future__ import annotations

from datetime import date, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.actions.candidates import candidates, undominated
from models.actions.settings import Economics
from models.actions.standing import standing_plan, weeks_since_promotion
from models.lift.actions import ACTIONS, Action
from tests.models.actions.markets import candidate, drawn, market

WEEK = date(2017, 12, 25)
ECONOMICS = Economics(
    margin=0.3,
    margin_by_category={"BEER": 0.2},
    display_cost=5.0,
    mailer_cost=2.0,
    action_cost=0.5,
    panel_share=0.5,
)


def lifts(**columns: object) -> pl.DataFrame:
    row = {
        "store_id": "1",
        "product_id": "a",
        "week_start": WEEK,
        "action": "display_discount_20",
        "own": 6.0,
        "net": 4.0,
        "low": 1.0,
        "high": 7.0,
        "evidence": "identified",
        "baseline": 10.0,
        "base_price": 2.0,
        "category": "SODA",
    }
    return pl.DataFrame([row | columns])


def test_value_and_cost_by_hand() -> None:
    (row,) = candidates(lifts(), actions=ACTIONS, economics=ECONOMICS).rows(named=True)
    # The data hold half of the sales. A unit earns .3 x 2; net lift is 8.
    assert (row["value_low"], row["value"], row["value_high"]) == pytest.approx((1.2, 4.8, 8.4))
    # Handling and display, and .2 x 2 on the 2 x (10 + 6) units sold at the discount.
    assert row["cost"] == pytest.approx(0.5 + 5.0 + 0.4 * 32)
    assert (row["baseline"], row["response"], row["lift"]) == pytest.approx((20, 32, 8))
    assert row["display_slot"]
    assert not row["mailer_slot"]
    assert row["weeks_since_promotion"] is None


def test_a_supplier_pays_his_share_and_categories_have_margins() -> None:
    funded = Economics(margin=0.3, margin_by_category={"BEER": 0.2}, supplier_share=1.0)
    frame = lifts(category="BEER", action="discount_20")
    (row,) = candidates(frame, actions=ACTIONS, economics=funded).rows(named=True)
    assert row["cost"] == pytest.approx(funded.action_cost)
    assert row["value"] == pytest.approx(0.2 * 2 * 4)


def test_costs_are_whole_cents_rounded_up() -> None:
    frame = lifts(base_price=1.001, action="discount_10")
    (row,) = candidates(frame, actions=ACTIONS, economics=Economics()).rows(named=True)
    assert row["cost"] == pytest.approx(2.11)


@pytest.mark.parametrize(
    ("columns", "message"),
    [({"action": "shout"}, "undeclared actions: shout"), ({"base_price": None}, "is null or not")],
)
def test_bad_lifts_are_refused(columns: dict[str, object], message: str) -> None:
    frame = lifts(**columns).with_columns(pl.col("base_price").cast(pl.Float64))
    with pytest.raises(ValueError, match=message):
        candidates(frame, actions=ACTIONS, economics=ECONOMICS)


def test_a_missing_column_is_named() -> None:
    with pytest.raises(ValueError, match="lifts lack base_price"):
        candidates(lifts().drop("base_price"), actions=ACTIONS, economics=ECONOMICS)


def test_dominated_actions_by_hand() -> None:
    frame = market(
        candidate(action="display", value=10, cost=3),
        # Gains less, costs more and needs the display as well.
        candidate(action="display_mailer", value=9, cost=4),
        # Gains less, but needs no display.
        candidate(action="discount_20", value=6, cost=3),
        # Gains less and costs more than the discount, and needs a place in the mailer.
        candidate(action="mailer", value=6, cost=4),
    )
    assert sorted(undominated(frame)["action"]) == ["discount_20", "display"]


@settings(max_examples=40)
@given(st.integers(0, 10**6))
def test_what_is_left_out_has_one_no_worse(seed: int) -> None:
    frame, _ = drawn(seed)
    kept = undominated(frame)
    left_out = frame.join(kept, on=["store_id", "product_id", "action"], how="anti")
    for row in left_out.iter_rows(named=True):
        same = kept.filter(
            (pl.col("store_id") == row["store_id"])
            & (pl.col("product_id") == row["product_id"])
            & (pl.col("value_low") - pl.col("cost") >= row["value_low"] - row["cost"] - 1e-9)
            & (pl.col("cost") <= row["cost"])
            & (pl.col("display_slot") <= row["display_slot"])
            & (pl.col("mailer_slot") <= row["mailer_slot"])
        )
        assert not same.is_empty()


def panel(*rows: tuple[int, str, str, str, float, bool]) -> pl.DataFrame:
    """Rows of weeks before, product, display, mailer, discount, plan_known."""
    return pl.DataFrame(
        {
            "store_id": ["1"] * len(rows),
            "product_id": [r[1] for r in rows],
            "week_start": [WEEK - timedelta(weeks=r[0]) for r in rows],
            "display": [r[2] for r in rows],
            "mailer": [r[3] for r in rows],
            "discount": [r[4] for r in rows],
            "plan_known": [r[5] for r in rows],
        }
    )


def test_the_plan_that_stands_in_declared_actions() -> None:
    frame = panel(
        (0, "a", "A", "0", 0.0, True),
        (0, "b", "0", "0", 0.13, True),
        (0, "c", "0", "0", 0.02, True),
        (0, "d", "5", "H", 0.28, True),
        (1, "e", "A", "0", 0.0, True),
    )
    found = dict(
        standing_plan(frame, week=WEEK, actions=ACTIONS).select("product_id", "action").rows()
    )
    assert found == {"a": "display", "d": "display_mailer_discount_20"}


def test_where_the_week_is_not_known_the_last_plan_goes_on() -> None:
    frame = panel((0, "a", "0", "0", 0.0, False), (1, "a", "0", "H", 0.0, True))
    found = standing_plan(frame, week=WEEK, actions=ACTIONS)
    assert found["action"].to_list() == ["mailer"]


def test_a_promotion_like_no_declared_action_is_left_out() -> None:
    found = standing_plan(
        panel((0, "a", "A", "0", 0.0, True)), week=WEEK, actions=[Action("mailer", mailer=True)]
    )
    assert found.is_empty()


def test_weeks_since_the_last_promotion() -> None:
    frame = panel(
        (0, "a", "A", "0", 0.0, True),
        (1, "b", "A", "0", 0.0, True),
        (4, "a", "0", "H", 0.0, True),
        (6, "a", "A", "0", 0.0, True),
        (1, "c", "0", "0", 0.5, True),
    )
    found = weeks_since_promotion(frame, week=WEEK)
    assert dict(found.select("product_id", "weeks_since_promotion").rows()) == {"a": 3, "b": 0}
