"""The lift asset: one week from the weeks before it, and a contract that refuses what is wrong."""

import logging

import polars as pl
import pytest

from assets.actions import action_lift as lift_asset
from assets.lake_asset import TableContext
from assets.table_body import BODIES
from checks.contracts.contract import validate
from checks.contracts.lift import ACTION_LIFT
from models.calendar import start_of_week
from models.lift.actions import ACTIONS
from models.simulator.market import Market
from models.simulator.panel import market_panel
from models.simulator.settings import MarketSettings
from tests.conftest import Home

SETTINGS = MarketSettings(
    stores=4, products=9, categories=2, types_per_category=2, weeks=30, base_units=3.0
)


@pytest.fixture(scope="module")
def market() -> Market:
    return Market(SETTINGS, seed=2)


@pytest.fixture(scope="module")
def panel(market: Market) -> pl.DataFrame:
    """As ``demand.panel``: the last week is the coming one, whose units nobody knows."""
    coming = pl.col("week_start") == market.weeks[-1]
    return market_panel(market).with_columns(
        units=pl.when(~coming).then("units"), active=pl.lit(value=True), plan_known=~coming
    )


def made(home: Home, panel: pl.DataFrame, week) -> pl.DataFrame:
    assert lift_asset.lift_of_actions is not None
    context = TableContext(
        settings=home.settings,
        lake=home.lake,
        log=logging.getLogger("test"),
        run_id="test",
        weeks=[week],
    )
    frame = BODIES["demand.action_lift"].function(context, panel=panel.lazy())
    assert context.metadata
    return frame


def test_the_coming_week_keeps_the_contract(home: Home, panel, market) -> None:
    coming = market.weeks[-1]
    frame = made(home, panel, coming)
    report = validate(frame, ACTION_LIFT)
    assert report.passed, str(report)
    assert frame.height == 4 * 9 * len(ACTIONS)
    starts = start_of_week(coming, time_zone=home.settings.time_zone)
    assert frame["known_at"].unique().to_list() == [starts]


def test_later_sales_change_nothing(home: Home, panel, market) -> None:
    week = market.weeks[-5]
    later = pl.col("week_start") >= week
    changed = panel.with_columns(
        units=pl.when(later).then(pl.col("units") * 7 + 3).otherwise("units")
    )
    assert made(home, changed, week).equals(made(home, panel, week))


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"action": pl.lit("shout")}, "action"),
        ({"evidence": pl.lit("hope")}, "evidence"),
        ({"net": pl.col("net") + 100.0}, "net"),
        ({"baseline": pl.lit(-1.0)}, "baseline"),
        ({"low": pl.col("high") + 1.0}, "net lies in its interval"),
    ],
)
def test_bad_rows_break_the_contract(home: Home, panel, market, change, rule) -> None:
    frame = made(home, panel, market.weeks[-1]).with_columns(**change)
    report = validate(frame, ACTION_LIFT)
    assert not report.passed
    assert rule in str(report)
