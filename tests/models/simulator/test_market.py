"""The market: known effects by hand, the same for a seed, whatever the blocks."""

from dataclasses import replace
from datetime import date

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.lift.actions import Action
from models.simulator.market import Market
from models.simulator.panel import market_panel, true_lift
from models.simulator.responses import action_truth, losses_to_rivals
from models.simulator.settings import MarketSettings, household_panel

SMALL = MarketSettings(stores=5, products=12, categories=2, types_per_category=2, weeks=20)
KEYS = ["store_id", "product_id", "week_start"]


def test_losses_by_hand() -> None:
    # One store and week: A and B are of one type, C of another of the same category.
    lost = losses_to_rivals(
        np.array([10.0, 5.0, 20.0]),
        np.array([4.0, 0.0, 0.0]),
        type_group=np.array([0, 0, 1]),
        category_group=np.array([0, 0, 0]),
        diversion_type=0.25,
        diversion_category=0.1,
    )
    assert lost == pytest.approx([0.0, 1.0, 0.4])


@given(
    base=st.lists(st.floats(0.01, 50), min_size=3, max_size=8),
    share=st.floats(0, 3),
    diversion=st.floats(0, 0.9),
)
def test_rivals_lose_what_is_taken_and_never_more_than_they_sell(base, share, diversion) -> None:
    base = np.array(base)
    incremental = np.zeros_like(base)
    incremental[0] = share * base[0]
    group = np.zeros(base.size, dtype=int)
    lost = losses_to_rivals(
        base,
        incremental,
        type_group=group,
        category_group=group,
        diversion_type=diversion,
        diversion_category=0.0,
    )
    assert lost[0] == pytest.approx(0.0)
    assert np.all(lost <= 0.8 * base + 1e-9)
    assert lost.sum() == pytest.approx(
        min(diversion * incremental[0], 0.8 * base[1:].sum()), rel=1e-6, abs=1e-9
    )


def test_truth_by_hand() -> None:
    truth = action_truth(
        np.array([10.0]),
        np.array([0.5]),
        rivals_of_type=np.array([20.0]),
        rivals_of_category=np.array([0.0]),
        diversion_type=0.2,
        diversion_category=0.1,
        pull_forward=(0.1, 0.1),
    )
    assert {k: float(v[0]) for k, v in truth.items()} == pytest.approx(
        {"own": 5.0, "cannibalised": 1.0, "pulled_forward": 1.0, "net": 3.0}
    )


def test_one_seed_one_market() -> None:
    panel = market_panel(Market(SMALL, seed=3))
    assert panel.equals(market_panel(Market(SMALL, seed=3)))
    assert not panel.equals(market_panel(Market(SMALL, seed=4)))
    alone = market_panel(Market(SMALL, seed=3), stores=[2])
    assert alone.equals(panel.filter(pl.col("store_id") == "s2"))


def test_the_panel_is_canonical() -> None:
    panel = market_panel(Market(replace(SMALL, assortment=0.5), seed=3))
    assert panel.columns == [
        *KEYS,
        "units",
        "revenue",
        "price",
        "base_price",
        "discount",
        "display",
        "mailer",
        "category",
        "manufacturer_id",
        "panel_trips",
        "type",
    ]
    assert panel.null_count().sum_horizontal().item() == 0
    assert not panel.select(KEYS).is_duplicated().any()
    assert panel["discount"].is_between(0, 0.99).all()
    assert panel.select("store_id", "product_id").unique().height < 5 * 12


def test_true_lift_is_that_of_the_effects() -> None:
    market = Market(SMALL, seed=3)
    week = market.weeks[-1]
    display = true_lift(market, weeks=[week], actions=[Action("display", display=True)])
    effects = market.products().select("product_id", "display_effect")
    own = display.join(effects, on="product_id")
    assert ((own["own"] > 0) == (own["display_effect"] > 0)).all()
    net = own["own"] - own["cannibalised"] - own["pulled_forward"]
    assert (net - own["net"]).abs().max() < 1e-9


def test_without_effects_nothing_lifts() -> None:
    market = Market(SMALL.without_effects(), seed=3)
    assert true_lift(market, weeks=market.weeks[-1:])["own"].abs().max() == 0.0


def test_promotions_seek_weeks_of_high_demand() -> None:
    market = Market(replace(SMALL, products=60, weeks=104, timing=1.5), seed=3)
    demand = market.season[market.category_of] + market.shock
    promoted = market.planned_display > 0
    assert demand[promoted].mean() > demand[~promoted].mean() + 0.05


def test_a_household_panel_is_mostly_zero() -> None:
    panel = market_panel(Market(household_panel(stores=5, products=120, weeks=8), seed=1))
    assert 0.85 < (panel["units"] == 0).mean() < 0.98
    assert panel["week_start"].min() == date(2016, 12, 26)


@pytest.mark.parametrize("wrong", [{"stores": 0}, {"assortment": 1.5}, {"size": 0.0}])
def test_impossible_markets_are_refused(wrong) -> None:
    with pytest.raises(ValueError, match="market"):
        replace(SMALL, **wrong)
