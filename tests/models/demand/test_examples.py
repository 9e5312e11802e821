from __future__ import annotations

import hypothesis
import numpy as np
import polars as pl
import pytest
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from models.demand.examples import (
    CARRIED,
    demand_examples,
    examples_of_plans,
    weekly_examples,
)
from models.demand.features import FEATURES, GROUPS, MONOTONE, NO_PROMOTION
from models.demand.series import KEYS
from tests.models.demand.market import market, week

TARGET = 30
KNOWN_PLAN = ["price", "base_price", "discount", "display", "mailer"]


@pytest.fixture(scope="module")
def panel() -> pl.DataFrame:
    return market()


def features(panel: pl.DataFrame, *, horizon: int = 1, target: int = TARGET) -> pl.DataFrame:
    made = demand_examples(panel, targets=[week(target)], horizon=horizon)
    return made.drop("units", "revenue")


def test_names_are_one_of_each_and_every_one_belongs_to_a_driver() -> None:
    assert len(set(FEATURES)) == len(FEATURES)
    assert set(MONOTONE) <= set(FEATURES)
    assert not set(NO_PROMOTION) & {
        n for g in ("price", "display", "mailer", "cross") for n in GROUPS[g]
    }


def test_one_row_per_active_row_of_the_targets(panel: pl.DataFrame) -> None:
    made = demand_examples(panel, targets=[week(20), week(21)], horizon=2)
    assert made.height == 2 * 6 * 5
    assert set(made.columns) >= {*KEYS, "units", "exposure", *CARRIED, *FEATURES}
    assert (made["exposure"] > 0).all()
    assert (made["clean_level"] > 0).all()
    assert made.select("week_start", "store_id", "product_id").equals(
        made.select("week_start", "store_id", "product_id").sort(
            "week_start", "store_id", "product_id"
        )
    )


@hypothesis.settings(max_examples=15)
@hypothesis.given(
    horizon=st.integers(1, 5), change=st.sampled_from(["units", "revenue", "panel_trips"])
)
def test_nothing_after_the_origin_is_seen(horizon: int, change: str) -> None:
    panel = market(stores=3, products=3, weeks=34)
    after = pl.col("week_start") > week(TARGET - horizon)
    changed = panel.with_columns(
        pl.when(after)
        .then(pl.col(change) * 7 + 3)
        .otherwise(change)
        .cast(panel.schema[change])
        .alias(change)
    )
    assert_frame_equal(features(panel, horizon=horizon), features(changed, horizon=horizon))


def test_nor_a_plan_of_the_weeks_between(panel: pl.DataFrame) -> None:
    between = pl.col("week_start").is_between(week(TARGET - 2), week(TARGET - 1))
    changed = panel.with_columns(
        pl.when(between).then(pl.lit("9")).otherwise("display").alias("display"),
        pl.when(between).then(0.4).otherwise("discount").alias("discount"),
    )
    assert_frame_equal(features(panel, horizon=3), features(changed, horizon=3))


def test_a_row_does_not_need_its_own_units(panel: pl.DataFrame) -> None:
    coming = panel.with_columns(
        pl.when(pl.col("week_start") < week(TARGET)).then(name).alias(name)
        for name in ("units", "revenue", "panel_trips")
    ).filter(pl.col("week_start") <= week(TARGET))
    assert_frame_equal(features(panel), features(coming))


def test_the_order_of_rows_does_not_matter(panel: pl.DataFrame) -> None:
    assert_frame_equal(features(panel), features(panel.sample(fraction=1.0, shuffle=True, seed=3)))


def test_optional_columns_may_be_missing(panel: pl.DataFrame) -> None:
    made = features(panel.drop("category", "manufacturer_id", "panel_trips", "revenue"))
    assert (made["exposure"] == 1.0).all()
    assert made.height == 30


def test_lags_by_hand(panel: pl.DataFrame) -> None:
    row = features(panel).row(
        by_predicate=(pl.col("store_id") == "s1") & (pl.col("product_id") == "p2"), named=True
    )
    own = panel.filter(pl.col("store_id") == "s1", pl.col("product_id") == "p2").sort("week_start")
    units = own["units"].to_list()
    assert [row[f"lag_{i}"] for i in range(1, 5)] == [units[TARGET - i] for i in range(1, 5)]
    assert row["mean_13"] == pytest.approx(np.mean(units[TARGET - 13 : TARGET]))
    assert row["peak_13"] == max(units[TARGET - 13 : TARGET])
    plain = own.filter(
        pl.col("week_start") < week(TARGET), pl.col("week_start") >= week(TARGET - 26)
    )
    plain = plain.filter(pl.col("discount") == 0, pl.col("display") == "0", pl.col("mailer") == "0")
    assert row["unpromoted_mean"] == pytest.approx(plain["units"].mean())
    assert row["exposure"] == pytest.approx(110.0)


def test_rivals_by_hand(panel: pl.DataFrame) -> None:
    # p0, p2 and p4 share a category; only p1 and p3 are its rivals in the other.
    plan = pl.DataFrame(
        {
            "store_id": ["s0"],
            "product_id": ["p1"],
            "week_start": [week(TARGET)],
            "price": [1.5],
            "base_price": [3.0],
            "discount": [0.5],
            "display": ["7"],
            "mailer": ["0"],
        }
    )
    made = examples_of_plans(panel, {"own": None, "deep": plan}, targets=[week(TARGET)])
    before, after = made["own"], made["deep"]

    def of(frame: pl.DataFrame, product: str, name: str, store: str = "s0") -> float:
        rows = frame.filter(pl.col("store_id") == store, pl.col("product_id") == product)
        return rows[name][0]

    assert of(after, "p3", "rivals_discount") == pytest.approx(0.5)
    assert of(after, "p3", "rivals_deepest") == pytest.approx(0.5)
    assert of(after, "p3", "rivals_display_share") == pytest.approx(1.0)
    # Its own rivals, other categories and other stores see nothing of it.
    assert of(after, "p1", "rivals_discount") == of(before, "p1", "rivals_discount")
    assert of(after, "p0", "rivals_discount") == of(before, "p0", "rivals_discount")
    assert of(after, "p3", "rivals_discount", "s1") == of(before, "p3", "rivals_discount", "s1")


def test_a_missing_row_of_an_active_panel_is_a_week_without_a_sale(panel: pl.DataFrame) -> None:
    gone = (pl.col("store_id") == "s0") & (pl.col("product_id") == "p0")
    few = panel.filter(
        ~gone | (pl.col("week_start") == week(10)) | (pl.col("week_start") == week(TARGET))
    )
    row = pl.col("store_id").eq("s0") & pl.col("product_id").eq("p0")
    unknown = features(few).row(by_predicate=row, named=True)
    empty = features(few.with_columns(pl.lit(value=True).alias("active"))).row(
        by_predicate=row, named=True
    )
    assert unknown["zero_share_13"] is None
    assert empty["zero_share_13"] == 1.0
    assert empty["level"] < unknown["level"] / 2


def test_a_lazy_panel_in_any_order_gives_the_same_rows(panel: pl.DataFrame) -> None:
    targets = [week(TARGET), week(TARGET + 1)]
    shuffled = panel.sample(fraction=1.0, shuffle=True, seed=1).lazy()
    made = demand_examples(shuffled, targets=targets)
    assert_frame_equal(made, demand_examples(panel, targets=targets))
    assert_frame_equal(made, pl.concat(weekly_examples(panel, targets=targets)))
    assert not any(isinstance(dtype, pl.Enum) for dtype in made.dtypes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.drop("discount"), "no column discount"),
        (lambda p: p.head(0), "no rows"),
        (lambda p: pl.concat([p, p.head(1)]), "repeat a store"),
        (lambda p: p.with_columns(pl.lit(1.0).alias("discount")), "outside"),
        (lambda p: p.with_columns(pl.col("units") - 100), "below zero"),
        (lambda p: p.with_columns(pl.lit(0.0).alias("price")), "not above zero"),
        (lambda p: p.with_columns(pl.col("week_start") + pl.duration(days=1)), "no Monday"),
    ],
)
def test_bad_panels_are_refused(panel: pl.DataFrame, change, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        demand_examples(change(panel), targets=[week(TARGET)])


def test_targets_need_rows_and_history(panel: pl.DataFrame) -> None:
    with pytest.raises(ValueError, match="no active row in week"):
        demand_examples(panel, targets=[week(60)])
    with pytest.raises(ValueError, match="starts on"):
        demand_examples(panel, targets=[week(2)], horizon=4)
    with pytest.raises(ValueError, match="1 week or more"):
        demand_examples(panel, targets=[week(2)], horizon=0)
