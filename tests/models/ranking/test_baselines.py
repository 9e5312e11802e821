from __future__ import annotations

import math
from datetime import date

import polars as pl
import pytest

from models.ranking.baselines import (
    BASELINES,
    BASKET_BASELINES,
    basket_lines,
    decayed_topfreq,
    g_topfreq,
    gp_topfreq,
    p_topfreq,
    purchase_counts,
)

W1, W2, W3, W4 = (date(2017, 1, day) for day in (2, 9, 16, 23))

# household, product, basket, week
LINES = pl.LazyFrame(
    [
        ("ann", "tea", "b1", W1),
        ("ann", "tea", "b1", W1),  # printed twice on one receipt: one purchase
        ("ann", "tea", "b2", W1),
        ("ann", "milk", "b3", W2),
        ("bob", "milk", "b4", W1),
        ("bob", "milk", "b5", W2),
        ("bob", "eggs", "b5", W2),
        ("bob", "ham", "b6", W3),
        ("ann", "ham", "b7", W3),
        ("ann", "ham", "b8", W3),
        ("ann", "ham", "b9", W3),
        ("ann", "ham", "b10", W3),
    ],
    schema={
        "household_id": pl.String,
        "product_id": pl.String,
        "basket_id": pl.String,
        "week_start": pl.Date,
    },
    orient="row",
)
COUNTS = purchase_counts(LINES)
EVENTS = pl.DataFrame(
    [("ann", W3), ("bob", W3), ("new", W3)],
    schema={"household_id": pl.String, "as_of": pl.Date},
    orient="row",
)


def lists(frame: pl.DataFrame) -> dict[str, list[tuple[int, str, float]]]:
    return {
        household: part.select("rank", "product_id", "score").rows()
        for (household,), part in frame.group_by("household_id", maintain_order=True)
    }


def test_purchases_are_receipts() -> None:
    tea = COUNTS.filter((pl.col("household_id") == "ann") & (pl.col("product_id") == "tea"))
    assert tea["purchases"].to_list() == [2]


def test_global_by_hand() -> None:
    # Before W3: milk 3, tea 2, eggs 1; ham is the future.
    want = [(1, "milk", 3.0), (2, "tea", 2.0)]
    assert lists(g_topfreq(COUNTS, events=EVENTS, k=2)) == {"ann": want, "bob": want, "new": want}


def test_personal_by_hand() -> None:
    assert lists(p_topfreq(COUNTS, events=EVENTS, k=3)) == {
        "ann": [(1, "tea", 2.0), (2, "milk", 1.0)],
        "bob": [(1, "milk", 2.0), (2, "eggs", 1.0)],
    }


def test_personal_filled_by_global_by_hand() -> None:
    assert lists(gp_topfreq(COUNTS, events=EVENTS, k=3)) == {
        "ann": [(1, "tea", 2.0), (2, "milk", 1.0), (3, "eggs", 1.0)],
        "bob": [(1, "milk", 2.0), (2, "eggs", 1.0), (3, "tea", 2.0)],
        "new": [(1, "milk", 3.0), (2, "tea", 2.0), (3, "eggs", 1.0)],
    }


def test_decay_by_hand() -> None:
    # With a half-life of half a week, W1 counts a quarter of W2 at W3.
    ranked = decayed_topfreq(COUNTS, events=EVENTS, k=3, half_life_weeks=0.5)
    assert lists(ranked) == {
        "ann": [(1, "milk", 1.0), (2, "tea", 0.5), (3, "eggs", 1.0)],
        "bob": [(1, "milk", 1.25), (2, "eggs", 1.0), (3, "tea", 0.5)],
        "new": [(1, "milk", 2.25), (2, "eggs", 1.0), (3, "tea", 0.5)],
    }


def test_a_long_half_life_is_plain_frequency() -> None:
    plain = gp_topfreq(COUNTS, events=EVENTS, k=3).drop("score")
    assert (
        decayed_topfreq(COUNTS, events=EVENTS, k=3, half_life_weeks=1e9).drop("score").equals(plain)
    )


@pytest.mark.parametrize("name", BASELINES)
def test_the_future_changes_nothing(name: str) -> None:
    past = COUNTS.filter(pl.col("week_start") < W3)
    baseline = BASELINES[name]
    assert baseline(COUNTS, events=EVENTS, k=3).equals(baseline(past, events=EVENTS, k=3))


@pytest.mark.parametrize("name", BASELINES)
def test_each_as_of_sees_its_own_past(name: str) -> None:
    baseline = BASELINES[name]
    later = EVENTS.with_columns(pl.lit(W4).alias("as_of"))
    both = baseline(COUNTS, events=pl.concat([EVENTS, later]), k=2)
    alone = pl.concat([baseline(COUNTS, events=e, k=2) for e in (EVENTS, later)])
    assert both.equals(alone)
    top = both.filter((pl.col("as_of") == W4) & (pl.col("household_id") == "ann"))
    assert top["product_id"][0] == "ham"


def test_equal_scores_go_by_product_id() -> None:
    tied = pl.DataFrame(
        {
            "household_id": ["ann"] * 3,
            "product_id": ["c", "a", "b"],
            "week_start": [W1] * 3,
            "purchases": [1, 1, 1],
        }
    )
    ranked = p_topfreq(tied, events=EVENTS.head(1), k=2)
    assert ranked["product_id"].to_list() == ["a", "b"]


def test_no_events_give_no_rankings() -> None:
    assert gp_topfreq(COUNTS, events=EVENTS.clear(), k=3).is_empty()


def test_a_half_life_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="half_life_weeks is 0"):
        decayed_topfreq(COUNTS, events=EVENTS, k=3, half_life_weeks=0)


# The same purchases as above, with times; the future (W3 and later) is there to be ignored.
SALES = LINES.with_columns(
    (
        pl.col("week_start").cast(pl.Datetime("us")) + pl.duration(hours=pl.int_range(pl.len()))
    ).alias("sold_at")
)
BASKETS = basket_lines(SALES)


def test_baskets_are_coded_and_a_product_printed_twice_counts_once() -> None:
    same_time = basket_lines(
        SALES.with_columns(pl.col("week_start").cast(pl.Datetime("us")).alias("sold_at"))
    )
    # b1 holds the same product twice.
    first = same_time.log.rows.filter(pl.col("week_start") == W1, pl.col("household_id") == "ann")
    assert first.height == first.n_unique(["product_id", "number"])
    history = BASKETS.before(W3)
    assert history is BASKETS.before(W3)
    assert history.households.to_list() == sorted(
        SALES.filter(pl.col("week_start") < W3).collect()["household_id"].unique()
    )


@pytest.mark.parametrize("name", BASKET_BASELINES)
def test_basket_baselines_fill_up_with_popular_products(name: str) -> None:
    ranked = lists(BASKET_BASELINES[name](BASKETS, events=EVENTS, k=3))
    # Before W3: milk 3, tea 2, eggs 1 baskets.
    assert ranked["new"] == [(1, "milk", 3.0), (2, "tea", 2.0), (3, "eggs", 1.0)]
    assert all(len(mine) == 3 for mine in ranked.values())
    assert {product for _, product, _ in ranked["ann"]} == {"milk", "tea", "eggs"}


@pytest.mark.parametrize("name", BASKET_BASELINES)
def test_basket_baselines_see_only_the_past_of_each_as_of(name: str) -> None:
    baseline = BASKET_BASELINES[name]
    past = basket_lines(SALES.filter(pl.col("week_start") < W3))
    now = baseline(BASKETS, events=EVENTS, k=3)
    assert now.equals(baseline(past, events=EVENTS, k=3))
    later = EVENTS.with_columns(pl.lit(W4).alias("as_of"))
    both = baseline(BASKETS, events=pl.concat([later, EVENTS]), k=3)
    assert both.filter(pl.col("as_of") == W3).equals(now)
    until = basket_lines(SALES.filter(pl.col("week_start") < W4))
    assert both.equals(baseline(until, events=pl.concat([later, EVENTS]), k=3))
    if name != "als":
        # Which starts from the vectors of the as-of before.
        assert both.equals(pl.concat([now, baseline(BASKETS, events=later, k=3)]))


@pytest.mark.parametrize("name", BASKET_BASELINES)
def test_basket_baselines_without_events_or_history(name: str) -> None:
    baseline = BASKET_BASELINES[name]
    assert baseline(BASKETS, events=EVENTS.clear(), k=3).is_empty()
    assert baseline(basket_lines(SALES.clear()), events=EVENTS, k=3).is_empty()


def test_repeat_cadence_by_hand() -> None:
    # bob bought milk at hour 4 of W1 and at hour 5 of W2; no household and product has
    # two intervals, so milk's only one, 7 days and an hour, is taken; W3 is day 14.
    ranked = lists(BASKET_BASELINES["repeat_cadence"](BASKETS, events=EVENTS, k=1))
    interval = 7 + 1 / 24
    elapsed = 14 - (7 + 5 / 24)
    due = elapsed / interval
    ((_, product, score),) = ranked["bob"]
    assert (product, score) == ("milk", pytest.approx(2 * due * math.exp(1 - due)))
