"""Known effects are recovered and null ones left alone: small markets and injected effects."""

import numpy as np
import polars as pl
import pytest

from models.lift.action_lift import LIFT_COLUMNS, action_lift
from models.lift.actions import ACTIONS
from models.lift.effects import Effects, estimate_effects, summary
from models.lift.evidence import EXPERIMENT, LEVELS
from models.simulator.market import Market
from models.simulator.panel import market_panel, true_lift
from models.simulator.plasmode import PlasmodeSettings, plasmode
from models.simulator.recovery import mean_and_error, recovery
from models.simulator.settings import MarketSettings

SETTINGS = MarketSettings(stores=15, products=36, weeks=53)


def before(panel: pl.DataFrame, week) -> pl.DataFrame:
    return panel.filter(pl.col("week_start") < week)


def at(panel: pl.DataFrame, week) -> pl.DataFrame:
    return panel.filter(pl.col("week_start") == week)


@pytest.fixture(scope="module")
def market() -> Market:
    return Market(SETTINGS, seed=11)


@pytest.fixture(scope="module")
def panel(market: Market) -> pl.DataFrame:
    return market_panel(market)


@pytest.fixture(scope="module")
def effects(market: Market, panel: pl.DataFrame) -> Effects:
    return estimate_effects(before(panel, market.weeks[-1]))


@pytest.fixture(scope="module")
def lift(market: Market, panel: pl.DataFrame, effects: Effects) -> pl.DataFrame:
    return action_lift(effects, at(panel, market.weeks[-1]))


def test_effects_are_recovered(market: Market, effects: Effects, lift: pl.DataFrame) -> None:
    assert effects.pool.mean == pytest.approx(market.effects.mean(axis=0), rel=0.3)
    found = recovery(lift, true_lift(market, weeks=market.weeks[-1:]))
    assert 0.75 < found.slope < 1.3
    assert found.coverage > 0.85
    assert found.sign_accuracy > 0.97
    assert found.null_claimed <= 0.05
    assert found.claimed_true > 0.97


def test_nothing_is_claimed_where_nothing_works() -> None:
    market = Market(SETTINGS.without_effects(), seed=12)
    panel, last = market_panel(market), market.weeks[-1]
    lift = action_lift(estimate_effects(before(panel, last)), at(panel, last))
    found = recovery(lift, true_lift(market, weeks=[last]))
    assert found.null_claimed <= 0.05
    assert found.slope is None


def test_effects_injected_into_a_panel_are_recovered(panel: pl.DataFrame) -> None:
    whole = estimate_effects(panel)
    made = plasmode(panel, whole, settings=PlasmodeSettings(), seed=5)
    again = plasmode(panel, whole, settings=PlasmodeSettings(), seed=5)
    assert made.panel.equals(again.panel)
    untouched = [c for c in panel.columns if c not in {"units", "revenue"}]
    assert made.panel.select(untouched).equals(panel.select(untouched))
    lift = action_lift(estimate_effects(before(made.panel, made.last)), at(made.panel, made.last))
    found = recovery(lift, made.truth)
    # One small run says little of slopes; the benchmark has many large ones.
    assert 0.75 < found.own_slope < 1.35
    assert found.coverage > 0.8
    assert found.sign_accuracy > 0.95
    assert found.null_claimed <= 0.05


def test_lifts_are_whole(lift: pl.DataFrame, panel: pl.DataFrame, market: Market) -> None:
    assert tuple(lift.columns) == LIFT_COLUMNS
    targets = at(panel, market.weeks[-1]).height
    assert lift.height == targets * len(ACTIONS)
    assert lift.null_count().sum_horizontal().item() == 0
    parts = lift["own"] - lift["cannibalised"] - lift["pulled_forward"]
    assert (parts - lift["net"]).abs().max() < 1e-9
    assert ((lift["low"] <= lift["net"] + 1e-9) & (lift["net"] <= lift["high"] + 1e-9)).all()
    assert set(lift["evidence"]) <= set(LEVELS)


def test_a_discount_pays_for_what_would_have_been_sold_anyway(lift: pl.DataFrame) -> None:
    row = lift.filter(pl.col("action") == "discount_20").row(0, named=True)
    gained = (row["baseline"] + row["own"]) * 0.8 - row["baseline"] - row["pulled_forward"]
    # Rivals cost what they cost; without any the money would be this.
    assert row["revenue_net"] <= gained * row["base_price"] + 1e-9


def test_a_given_baseline_scales_the_lift(
    effects: Effects, panel: pl.DataFrame, market: Market
) -> None:
    targets = at(panel, market.weeks[-1])
    one = action_lift(effects, targets.with_columns(baseline=pl.lit(1.0)))
    two = action_lift(effects, targets.with_columns(baseline=pl.lit(2.0)))
    assert (two["own"] - 2 * one["own"]).abs().max() < 1e-9


def test_an_experiment_outweighs_the_model(
    effects: Effects, panel: pl.DataFrame, market: Market
) -> None:
    targets = at(panel, market.weeks[-1])
    measured = pl.DataFrame(
        {"product_id": ["p00"], "action": ["display"], "log_effect": [-0.5], "se": [0.01]}
    )
    lift = action_lift(effects, targets, experiments=measured).filter(
        pl.col("action") == "display", pl.col("product_id") == "p00"
    )
    assert set(lift["evidence"]) == {EXPERIMENT}
    assert (lift["own"] / lift["baseline"]).to_numpy() == pytest.approx(np.expm1(-0.5), rel=0.05)


def test_a_product_without_history_is_only_guessed_at(
    effects: Effects, panel: pl.DataFrame, market: Market
) -> None:
    targets = at(panel, market.weeks[-1])
    new = targets.head(1).with_columns(product_id=pl.lit("new"), baseline=pl.lit(3.0))
    lift = action_lift(effects, new)
    assert set(lift["evidence"]) == {"model_only"}
    assert (lift["low"] <= 0.0).all()
    assert (lift["own"] != 0.0).any()


def test_bad_panels_and_targets_are_refused(effects: Effects, panel: pl.DataFrame) -> None:
    with pytest.raises(ValueError, match="no column units"):
        estimate_effects(panel.drop("units"))
    with pytest.raises(ValueError, match="occurs twice"):
        estimate_effects(pl.concat([panel.head(5), panel.head(1)]))
    with pytest.raises(ValueError, match="null or negative in 28,620 row"):
        estimate_effects(panel.with_columns(units=pl.lit(-1)))
    with pytest.raises(ValueError, match="nothing was sold"):
        estimate_effects(panel.with_columns(units=pl.lit(0)))
    with pytest.raises(ValueError, match="no column base_price"):
        action_lift(effects, panel.drop("base_price"))


def test_summary_and_monte_carlo_error(effects: Effects) -> None:
    assert all(np.isfinite(v) for v in summary(effects).values())
    assert mean_and_error([1.0, None, 3.0]) == pytest.approx((2.0, 1.0))
    with pytest.raises(ValueError, match="no run has a value"):
        mean_and_error([None])
