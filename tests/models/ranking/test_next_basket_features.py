from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl
import pytest

from models.ranking.next_basket import Origin, last_basket, next_basket_data
from models.ranking.next_basket_features import examples, feature_names
from tests.models.ranking.next_baskets import ordered, shop

DAY = datetime.fromisoformat("2021-03-01")


def tiny() -> Origin:
    rows = [
        # ann: five baskets, two days apart; the last is foreseen.
        *(
            ("ann", f"a{b}", b * 2, p)
            for b, ps in enumerate(["xy", "x", "z", "x", "y"])
            for p in ps
        ),
        *(("bob", f"b{b}", b * 2, p) for b, ps in enumerate(["x", "w", "w"]) for p in ps),
        ("new", "n0", 0, "q"),
    ]
    frame = pl.DataFrame(
        [(h, b, DAY + timedelta(days=d), p) for h, b, d, p in rows],
        schema=["household_id", "basket_id", "sold_at", "product_id"],
        orient="row",
    )
    return last_basket(next_basket_data(frame)).test


def of(frame: pl.DataFrame, household: str, product: str) -> dict[str, float | None]:
    return frame.filter(household_id=household, product_id=product).row(0, named=True)


@pytest.fixture(scope="module")
def rows() -> pl.DataFrame:
    origin = tiny()
    return examples(
        origin, households=origin.events["household_id"], timed=True, seed=1, labelled=True
    )


def test_personal_features_by_hand(rows: pl.DataFrame) -> None:
    # ann bought x in baskets 3, 2 and 0 baskets ago, of 4; the next is expected 2 days on.
    x = of(rows, "ann", "x")
    assert {name: x[name] for name in x if name in feature_names(timed=True)[:19]} == (
        pytest.approx(
            {
                "baskets": 3,
                "baskets_last_1": 1,
                "baskets_last_3": 2,
                "baskets_last_6": 3,
                "baskets_last_12": 3,
                "baskets_last_25": 3,
                "decayed_2_baskets": 0.5**1.5 + 0.5 + 1,
                "decayed_5_baskets": 0.5**0.6 + 0.5**0.4 + 1,
                "decayed_12_baskets": 0.5**0.25 + 0.5 ** (1 / 6) + 1,
                "decayed_30_baskets": 0.5**0.1 + 0.5 ** (1 / 15) + 1,
                "basket_share": 3 / 4,
                "share_since_first": 3 / 4,
                "baskets_since_last": 0,
                "baskets_since_first": 3,
                "gap_mean": 1.5,
                "gap_std": 0.5**0.5,
                "gap_last": 2,
                "recency_over_gap": 1 / 1.5,
                "personal_rank": 1,
            }
        )
    )
    assert (x["days_since_last"], x["day_gap_mean"]) == pytest.approx((2, 3))
    assert x["days_over_gap"] == pytest.approx(2 / 3)


def test_product_and_household_features_by_hand(rows: pl.DataFrame) -> None:
    # Known: ann xy, x, z, x; bob x, w. Two households, six baskets.
    x = of(rows, "ann", "x")
    want = {
        "p_buyers_share": 1.0,
        "p_basket_share": 4 / 6,
        "p_purchases_per_buyer": 2.0,
        "p_repeat_share": 0.5,
        "p_next_share": 1 / 4,
        "p_gap_median": 1.5,
        "p_rank": 1,
        "hh_baskets": 4,
        "hh_basket_size": 5 / 4,
        "hh_last_basket_size": 1,
        "hh_products": 3,
        "hh_repeat_share": 2 / 5,
        "hh_recent_basket_size": 5 / 4,
        "hh_recent_repeat_share": 2 / 5,
    }
    assert {name: x[name] for name in want} == pytest.approx(want)
    assert x["label"] == 0
    assert of(rows, "ann", "y")["label"] == 1


def test_a_household_without_a_history_gets_what_is_popular(rows: pl.DataFrame) -> None:
    new = rows.filter(household_id="new")
    assert new["product_id"].to_list() == ["w", "x", "y", "z"]
    assert new.select("baskets", "hh_baskets", "tifu_knn_score").null_count().row(0) == (4, 4, 4)
    assert (new["p_buyers_share"] > 0).all()


@pytest.mark.parametrize("frame", [shop(), ordered(shop())])
def test_rows_are_complete_sorted_and_the_same_again(frame: pl.DataFrame) -> None:
    data = next_basket_data(frame)
    origin = last_basket(data).train[-1]
    first, again = (
        examples(
            origin,
            households=origin.events["household_id"],
            timed=data.timed,
            seed=1,
            labelled=True,
        )
        for _ in range(2)
    )
    assert first.equals(again)
    keys = ["as_of", "household_id", "product_id"]
    assert first.select(keys).equals(first.select(keys).unique().sort(keys))
    assert tuple(first.columns[3:-1]) == feature_names(timed=data.timed)
    assert not first.select(pl.any_horizontal(pl.col(first.columns[3:-1]).is_nan().any())).item()


def test_the_purchases_to_foresee_change_no_feature() -> None:
    origin = last_basket(next_basket_data(shop())).test
    households = origin.events["household_id"]
    other = Origin(as_of=origin.as_of, history=origin.history, purchases=origin.purchases.head(1))
    one, two = (
        examples(o, households=households, timed=True, seed=1, labelled=False)
        for o in (origin, other)
    )
    assert one.equals(two)
