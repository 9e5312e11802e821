"""The response head: which pairs become rows, what is known of them, labels, and the heuristic."""

from __future__ import annotations

import math
from datetime import date, datetime, time, timedelta

import numpy as np
import polars as pl
import pytest

from checks.contracts.contract import validate
from checks.contracts.response import RESPONSE_EXAMPLES
from models.ranking import response
from models.ranking.response import ResponseInputs, Start

ZONE = "America/New_York"
AS_OF = date(2017, 3, 6)
START = date(2017, 3, 8)
# Midnight in New York, before the clocks change on 12 March.
STARTED = datetime.fromisoformat("2017-03-08T05:00")
LATER = datetime.fromisoformat("2017-06-01")
ANN, BEN, CYD = (f"{name}000000000" for name in ("ann", "ben", "cyd"))


def household_row(household: str, as_of: date = AS_OF) -> dict:
    values = dict.fromkeys(response.HOUSEHOLD_FEATURES, 1.0) | {"days_since_first_basket": 60.0}
    return {"household_id": household, "as_of": as_of, **values}


def product_row(product: str, households: int, as_of: date = AS_OF) -> dict:
    values = dict.fromkeys(response.PRODUCT_FEATURES, 1.0) | {"households_28d": households}
    return {"product_id": product, "as_of": as_of, **values}


def pair_row(household: str, product: str, as_of: date = AS_OF, **values: float) -> dict:
    known = dict.fromkeys(response.PAIR_FEATURES, 1.0) | {"baskets_364d": 3.0} | values
    return {"household_id": household, "product_id": product, "as_of": as_of, **known}


def line(household: str, product: str, after: timedelta) -> dict:
    return {"household_id": household, "product_id": product, "sold_at": STARTED + after}


DAY = timedelta(days=1)
LINES = [
    line(ANN, "milk", timedelta(0)),
    # The clocks change on the fourth day: a window by the wall clock is an hour shorter.
    line(ANN, "tea", 5 * DAY - timedelta(hours=1, seconds=1)),
    line(BEN, "milk", 5 * DAY - timedelta(hours=1)),
    line(BEN, "rare", 28 * DAY - timedelta(hours=1, seconds=1)),
    line(BEN, "tea", 28 * DAY - timedelta(hours=1)),
    line(ANN, "salt", DAY),
    line(CYD, "milk", DAY),
    line(ANN, "ham", -timedelta(seconds=1)),
]


def inputs(**changes: pl.LazyFrame) -> ResponseInputs:
    known = STARTED - 7 * DAY
    frames = {
        "campaigns": pl.LazyFrame(
            [
                {
                    "campaign_id": ident,
                    "campaign_type": "Type B",
                    "start_date": first,
                    "end_date": first + timedelta(days=29),
                    "known_at": datetime.combine(first, time()) - timedelta(days=7),
                }
                for ident, first in (("3", START - timedelta(weeks=4)), ("7", START))
            ]
        ),
        "targets": pl.LazyFrame(
            [
                {"campaign_id": "7", "household_id": ANN, "known_at": known},
                {"campaign_id": "7", "household_id": BEN, "known_at": known},
                {"campaign_id": "7", "household_id": CYD, "known_at": STARTED + DAY},
                {"campaign_id": "3", "household_id": ANN, "known_at": known},
            ]
        ),
        "coupons": pl.LazyFrame(
            [
                {"campaign_id": "7", "coupon_id": "k1", "product_id": p, "known_at": known}
                for p in ("milk", "tea", "ham", "rare")
            ]
            + [{"campaign_id": "7", "coupon_id": "k2", "product_id": "milk", "known_at": known}]
        ),
        "redemptions": pl.LazyFrame(
            [
                {"household_id": ANN, "campaign_id": "3", "coupon_id": "k0", "known_at": known},
                {"household_id": ANN, "campaign_id": "7", "coupon_id": "k1", "known_at": LATER},
            ]
        ),
        "products": pl.LazyFrame(
            [
                {"product_id": p, "type": t, "week_start": AS_OF - timedelta(weeks=9)}
                for p, t in (("milk", "DAIRY"), ("tea", "TEA"), ("rare", "TEA"), ("salt", None))
            ]
        ),
        "household": pl.LazyFrame([household_row(h) for h in (ANN, BEN, CYD)]),
        "product": pl.LazyFrame([product_row("milk", 2), product_row("tea", 1)]),
        "household_product": pl.LazyFrame(
            [pair_row(ANN, "tea"), pair_row(ANN, "salt"), pair_row(BEN, "ham")]
        ),
        "lines": pl.LazyFrame(LINES),
    }
    return ResponseInputs(**(frames | changes))


def make(given: ResponseInputs | None = None, **changes: object) -> pl.DataFrame:
    arguments: dict = {
        "first_as_of": AS_OF,
        "cut": LATER,
        "time_zone": ZONE,
        "late_arrival_days": 7,
        "popular_limit": 1,
    }
    return response.examples(given or inputs(), **(arguments | changes))


def pairs(frame: pl.DataFrame, *columns: str) -> dict:
    rows = frame.select("household_id", "product_id", *columns).rows()
    return {(h[:3], p): rest[0] if len(rest) == 1 else rest for h, p, *rest in rows}


def test_rows_are_the_shortlist_and_the_responses_it_missed() -> None:
    assert pairs(make(), "shortlisted") == {
        # Milk is the most widely bought, tea and ham were bought in the last year.
        ("ann", "milk"): True,
        ("ann", "tea"): True,
        ("ben", "ham"): True,
        ("ben", "milk"): True,
        ("ben", "rare"): False,
    }


def test_labels_by_hand() -> None:
    assert pairs(make(), "response_5d", "response_28d") == {
        ("ann", "milk"): [1, 1],
        ("ann", "tea"): [1, 1],
        ("ben", "ham"): [0, 0],
        ("ben", "milk"): [0, 1],
        ("ben", "rare"): [0, 1],
    }


def test_examples_satisfy_their_contract() -> None:
    frame = make()
    report = validate(frame, RESPONSE_EXAMPLES)
    assert report.passed, str(report)
    assert not validate(
        frame.with_columns(pl.lit(0, pl.Int8).alias("response_28d")), RESPONSE_EXAMPLES
    ).passed
    assert not validate(pl.concat([frame, frame]), RESPONSE_EXAMPLES).passed


def test_what_was_known_of_the_campaign_the_household_and_the_coupon() -> None:
    frame = make().filter(pl.col("household_id") == ANN).sort("product_id")
    row = frame.row(1, named=True)
    assert row["product_id"] == "tea"
    assert (row["as_of"], row["started_at"], row["known_at"]) == (AS_OF, STARTED, STARTED)
    assert (row["c_type"], row["c_days"], row["c_products"]) == (1.0, 30.0, 4.0)
    assert row["c_products_of_coupon"] == 4.0
    # Milk is on a coupon of its own, too.
    assert frame["c_products_of_coupon"].to_list() == [1.0, 4.0]
    # One redemption and one campaign before; what became known later is not.
    assert (row["hr_redemptions"], row["hr_campaigns"]) == (1.0, 1.0)
    assert row["ht_baskets_364d"] == 3.0
    assert row["hk_baskets_364d"] == 3.0
    # One of the three households of the panel.
    assert row["p_reach_28d"] == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("cut", "short", "long"),
    [
        ("2017-03-20T04:00", True, False),
        ("2017-03-20T03:59", False, False),
        ("2017-04-12T04:00", True, True),
        ("2017-04-12T03:59", True, False),
    ],
)
def test_only_mature_windows_have_labels(cut: str, *, short: bool, long: bool) -> None:
    frame = make(cut=datetime.fromisoformat(cut))
    assert (frame.height > 0) == short
    if short:
        assert frame["response_5d"].null_count() == 0
        assert (frame["response_28d"].null_count() == 0) == long
        # A response that is not known yet does not make a row.
        assert (("ben", "rare") in pairs(frame, "shortlisted")) == long
    known = Start.of(START, time_zone=ZONE, late_arrival_days=7).known
    assert known == {
        5: datetime.fromisoformat("2017-03-20T04:00"),
        28: datetime.fromisoformat("2017-04-12T04:00"),
    }


def test_the_future_changes_labels_only() -> None:
    features = [*response.KEY, "shortlisted", *response.FEATURES]
    shortlist = make().filter("shortlisted").select(features)
    more = inputs(
        lines=pl.LazyFrame([*LINES, line(ANN, "ham", DAY)]),
        household=pl.LazyFrame(
            [household_row(h) for h in (ANN, BEN, CYD)]
            + [household_row(ANN, AS_OF + timedelta(weeks=1))]
        ),
        household_product=pl.LazyFrame(
            [
                pair_row(ANN, "tea"),
                pair_row(ANN, "salt"),
                pair_row(BEN, "ham"),
                pair_row(ANN, "ham", AS_OF + timedelta(weeks=1)),
            ]
        ),
        redemptions=inputs().redemptions.filter(pl.col("known_at") < LATER),
    )
    changed = make(more)
    assert changed.filter("shortlisted").select(features).equals(shortlist)
    assert pairs(changed, "response_5d")["ann", "ham"] == 1


def test_a_campaign_without_features_or_unknown_at_its_start_is_left_out() -> None:
    assert make(first_as_of=AS_OF + timedelta(weeks=1)).is_empty()
    unknown = inputs().campaigns.with_columns(pl.lit(STARTED + DAY).alias("known_at"))
    assert make(inputs(campaigns=unknown)).is_empty()
    nobody = make(inputs(targets=inputs().targets.head(0)))
    assert validate(nobody, RESPONSE_EXAMPLES).passed


def test_a_household_without_a_basket_still_has_rows() -> None:
    frame = make(inputs(household=inputs().household.filter(pl.col("household_id") != BEN)))
    row = frame.filter((pl.col("household_id") == BEN) & (pl.col("product_id") == "milk"))
    assert row["hh_baskets_28d"].to_list() == [None]
    assert row["hr_redemptions"].to_list() == [0.0]


def cadence(days: int = 28, **values: float | None) -> float:
    names = (
        "hh_days_since_first_basket",
        "hp_baskets_364d",
        "hp_recency_over_interval",
        "p_reach_28d",
    )
    frame = pl.DataFrame(
        {name: [values.get(name)] for name in names}, schema=dict.fromkeys(names, pl.Float64)
    )
    return frame.select(response.repeat_cadence(days=days)).item()


def test_the_heuristic_by_hand() -> None:
    habit = {"hh_days_since_first_basket": 100.0, "hp_baskets_364d": 10.0}
    assert cadence(**habit) == pytest.approx(1 - math.exp(-2.8))
    assert cadence(5, **habit) == pytest.approx(1 - math.exp(-0.5))
    due = cadence(**habit, hp_recency_over_interval=1.0)
    assert due == pytest.approx(cadence(**habit))
    late = cadence(**habit, hp_recency_over_interval=3.0)
    assert late == pytest.approx(1 - math.exp(-2.8 * response.LAPSE_BASE**2))
    # Ten baskets in a day are no habit of ten a day.
    fresh = cadence(hh_days_since_first_basket=1.0, hp_baskets_364d=1.0)
    assert fresh == pytest.approx(1 - math.exp(-1.0))
    assert cadence(p_reach_28d=0.25) == pytest.approx(1 - math.exp(-0.25))
    assert cadence() == 0.0


def campaigns(count: int = 6, *, households: int = 40) -> pl.DataFrame:
    """Examples in which a low price of the product, unknown to the heuristic, decides."""
    rng = np.random.default_rng(11)
    rows = []
    for c in range(count):
        started = STARTED + timedelta(days=40 * c)
        for h in range(households):
            for p in range(12):
                price = rng.random()
                late = int(rng.random() < (0.7 if price < 0.4 else 0.05))
                early = int(late and rng.random() < 0.4)
                rows.append(
                    dict.fromkeys(response.FEATURES)
                    | {
                        "campaign_id": f"{c}",
                        "household_id": f"hh{h:010}",
                        "product_id": f"p{p:02}",
                        "as_of": (started - timedelta(days=started.weekday())).date(),
                        "started_at": started,
                        "known_at": started,
                        "shortlisted": True,
                        "response_5d": early,
                        "response_28d": late,
                        "response_5d_known_at": started + timedelta(days=12),
                        "response_28d_known_at": started + timedelta(days=35),
                        "p_unit_price_91d": price,
                        "p_reach_28d": 0.2,
                    }
                )
    return pl.DataFrame(rows, schema=pl.Schema(response.SCHEMA)).sort("started_at", *response.KEY)


@pytest.fixture(scope="module")
def learned() -> pl.DataFrame:
    return campaigns()


def test_byte_identical_over_runs_threads_and_row_order(learned: pl.DataFrame) -> None:
    model = response.train(learned, seed=3, rounds=20, threads=1)
    assert response.train(learned, seed=3, rounds=20, threads=3) == model
    assert response.train(learned.reverse(), seed=3, rounds=20) == model
    assert response.train(learned, seed=4, rounds=20) != model


def test_it_learns_what_the_heuristic_misses_for_both_windows(learned: pl.DataFrame) -> None:
    model = response.train(learned, seed=3)
    for days in response.WINDOWS:
        odds = response.log_odds(model, learned, days=days)
        cheap = odds.filter(learned["p_unit_price_91d"] < 0.35).to_numpy()
        dear = odds.filter(learned["p_unit_price_91d"] > 0.45).to_numpy()
        assert cheap.min() > dear.max()
    long, short = (response.log_odds(model, learned, days=d).to_numpy() for d in (28, 5))
    assert (long > short).all()


def test_rows_outside_the_shortlist_teach_nothing(learned: pl.DataFrame) -> None:
    others = learned.head(50).with_columns(
        pl.lit(value=False).alias("shortlisted"), pl.col("product_id") + "x"
    )
    model = response.train(learned, seed=3, rounds=5)
    assert response.train(pl.concat([learned, others]), seed=3, rounds=5) == model


def test_calibrated_probabilities_hold_on_average(learned: pl.DataFrame) -> None:
    half = learned["started_at"].unique().sort()[3]
    model = response.train(learned.filter(pl.col("started_at") < half), seed=3)
    unseen = learned.filter(pl.col("started_at") >= half)
    predicted = unseen.select(
        *response.KEY,
        "started_at",
        response.log_odds(model, unseen, days=5),
        pl.col("response_5d").alias("label"),
    )
    fitted = response.calibrate(predicted)
    assert fitted is not None
    said = response.probabilities(fitted, predicted["log_odds"]).to_numpy().mean()
    # Of twelve products the ten likeliest are shown: what is left out would be said too high.
    assert said == pytest.approx(unseen["response_5d"].mean(), abs=0.02)
    assert response.calibrate(predicted.head(50)) is None
    raw = response.probabilities(None, pl.Series([0.0, -800.0]))
    assert raw.to_list() == [0.5, 0.0]


def test_one_outcome_only_is_refused(learned: pl.DataFrame) -> None:
    with pytest.raises(ValueError, match="0 of 2,880 pairs responded"):
        response.train(learned.with_columns(pl.lit(0, pl.Int8).alias("response_28d")), seed=1)
    with pytest.raises(ValueError, match="objective"):
        response.train(learned, seed=1, params={"objective": "rank:ndcg"})
