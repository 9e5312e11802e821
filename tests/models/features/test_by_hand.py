"""Every feature set against values worked out by hand."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import polars as pl
import pytest

from models.features import FEATURE_SETS
from tests.models.features.tiny_marts import (
    INSTANT,
    MONDAY,
    Marts,
    ago,
    collected,
    line,
    lines_of,
)

# Seven days before the as-of by the wall clock; the clocks went forward in between.
WEEK_BEFORE = datetime.fromisoformat("2017-03-06T05:00")


def row(name: str, marts: Marts, **entity: str) -> dict[str, object]:
    frame = collected(name, marts, [MONDAY])
    found = frame.filter(*(pl.col(k) == v for k, v in entity.items()))
    assert found.height == 1
    return found.row(0, named=True)


def test_household(marts: Marts) -> None:
    h1 = row("household", marts, household_id="h1")
    assert (h1["as_of"], h1["known_at"]) == (MONDAY, INSTANT)
    assert [h1[f"baskets_{d}d"] for d in (7, 28, 91, 364)] == [1, 2, 4, 4]
    assert [h1[f"lines_{d}d"] for d in (7, 28, 91, 364)] == [2, 3, 5, 5]
    assert [h1[f"units_{d}d"] for d in (7, 28, 91, 364)] == [3, 4, 6, 6]
    assert h1["spend_91d"] == pytest.approx(29.75)
    assert (h1["products_91d"], h1["categories_91d"]) == (3, 3)
    assert h1["basket_value_91d"] == pytest.approx(29.75 / 4)
    assert (h1["days_since_last_basket"], h1["days_since_first_basket"]) == (3, 63)
    assert h1["days_between_baskets"] == 20
    assert h1["recency_over_interval"] == pytest.approx(3 / 20)
    regular = 29.75 + 1.25 + 0.5
    assert h1["discount_share_91d"] == pytest.approx(1.25 / regular)
    assert h1["coupon_share_91d"] == pytest.approx(1.0 / regular)
    assert h1["private_share_91d"] == pytest.approx(7.25 / 29.75)


def test_household_without_a_recent_basket(marts: Marts) -> None:
    h2 = row("household", marts, household_id="h2")
    assert (h2["baskets_91d"], h2["baskets_364d"]) == (0, 1)
    assert (h2["products_91d"], h2["categories_91d"]) == (0, 0)
    assert h2["days_since_first_basket"] == 200
    for name in ("basket_value_91d", "private_share_91d", "days_between_baskets"):
        assert h2[name] is None


def test_product(marts: Marts) -> None:
    milk = row("product", marts, product_id="milk")
    assert [milk[f"households_{d}d"] for d in (7, 28, 91, 364)] == [1, 1, 1, 2]
    assert [milk[f"baskets_{d}d"] for d in (7, 28, 91, 364)] == [1, 2, 3, 4]
    assert [milk[f"units_{d}d"] for d in (7, 28, 91, 364)] == [2, 3, 4, 5]
    assert milk["unit_price_91d"] == pytest.approx(7.25 / 4)
    assert milk["regular_price_91d"] == pytest.approx(9.0 / 4)
    assert milk["discount_share_91d"] == pytest.approx(1.25 / 9.0)
    assert milk["repeat_rate_364d"] == 0.5
    assert milk["baskets_trend"] == pytest.approx((2 / 28) / (3 / 91))
    assert (milk["days_since_last_sale"], milk["days_since_first_sale"]) == (3, 200)


def test_store(marts: Marts) -> None:
    s1 = row("store", marts, store_id="s1")
    assert [s1[f"baskets_{d}d"] for d in (7, 28, 91, 364)] == [1, 1, 3, 4]
    assert [s1[f"households_{d}d"] for d in (7, 28, 91, 364)] == [1, 1, 1, 2]
    assert s1["lines_per_basket_91d"] == pytest.approx(4 / 3)
    assert s1["basket_value_91d"] == pytest.approx(27.75 / 3)


def test_household_product(marts: Marts) -> None:
    milk = row("household_product", marts, household_id="h1", product_id="milk")
    assert [milk[f"baskets_{d}d"] for d in (28, 91, 364)] == [2, 3, 3]
    assert [milk[f"units_{d}d"] for d in (28, 91, 364)] == [3, 4, 4]
    assert milk["spend_364d"] == pytest.approx(7.25)
    assert (milk["days_since_last_purchase"], milk["days_since_first_purchase"]) == (3, 63)
    assert milk["days_between_purchases"] == 30
    assert milk["recency_over_interval"] == pytest.approx(0.1)
    assert milk["basket_share_364d"] == 0.75
    assert milk["last_unit_price"] == 1.5
    assert milk["discount_share_364d"] == pytest.approx(1.25 / 9.0)


def test_pairs_older_than_a_year_are_gone(marts: Marts) -> None:
    frame = collected("household_product", marts, [MONDAY])
    assert frame.select("household_id", "product_id").rows() == [
        ("h1", "bread"),
        ("h1", "fuel"),
        ("h1", "milk"),
        ("h2", "milk"),
    ]


def test_store_product(marts: Marts) -> None:
    milk = row("store_product", marts, store_id="s1", product_id="milk")
    assert [milk[f"units_{d}d"] for d in (7, 28, 91)] == [2, 2, 3]
    assert [milk[f"display_weeks_{d}d"] for d in (7, 28, 91)] == [1, 2, 2]
    assert [milk[f"mailer_weeks_{d}d"] for d in (7, 28, 91)] == [0, 1, 1]
    assert milk["last_unit_price"] == 1.5
    bread = row("store_product", marts, store_id="s1", product_id="bread")
    assert (bread["display_weeks_91d"], bread["mailer_weeks_91d"]) == (0, 0)


def test_a_line_of_something_measured_is_one_unit(marts: Marts) -> None:
    fuel = row("household_product", marts, household_id="h1", product_id="fuel")
    assert (fuel["units_364d"], fuel["last_unit_price"]) == (1, 20.0)


def test_a_product_twice_on_one_receipt_is_one_basket(marts: Marts) -> None:
    marts["lines"] = lines_of(
        [line("h1", "b1", "milk", ago(1), sales=2.0), line("h1", "b1", "milk", ago(1), sales=1.0)]
    )
    milk = row("household_product", marts, household_id="h1", product_id="milk")
    assert (milk["baskets_28d"], milk["units_28d"], milk["last_unit_price"]) == (1, 2, 1.5)


def test_no_price_without_units(marts: Marts) -> None:
    marts["lines"] = lines_of([line("h1", "b1", "milk", ago(1), quantity=0, sales=0.0)])
    milk = row("household_product", marts, household_id="h1", product_id="milk")
    assert milk["baskets_28d"] == 1
    assert milk["last_unit_price"] is None
    assert milk["discount_share_364d"] is None


def test_the_newest_version_known_at_the_as_of_counts(marts: Marts) -> None:
    later = collected("household", marts, [MONDAY + timedelta(days=7)])
    h1 = later.filter(pl.col("household_id") == "h1").row(0, named=True)
    # Bread has become private-label dairy.
    assert h1["categories_91d"] == 2
    assert h1["private_share_91d"] == pytest.approx(9.75 / 29.75)


def test_a_sale_at_the_instant_is_not_the_past(marts: Marts) -> None:
    second = timedelta(seconds=1)
    marts["lines"] = lines_of(
        [line("h1", "b1", "milk", INSTANT), line("h2", "b2", "milk", INSTANT - second)]
    )
    frame = collected("household", marts, [MONDAY])
    assert frame["household_id"].to_list() == ["h2"]


def test_a_week_is_a_business_week_when_the_clocks_change(marts: Marts) -> None:
    week_start = WEEK_BEFORE
    second = timedelta(seconds=1)
    marts["lines"] = lines_of(
        [line("h1", "b1", "milk", week_start), line("h1", "b2", "milk", week_start - second)]
    )
    assert row("household", marts, household_id="h1")["baskets_7d"] == 1


def test_an_instant_inside_a_week_sees_the_week_so_far(marts: Marts) -> None:
    thursday = datetime.fromisoformat("2017-03-16T12:00")
    marts["lines"] = lines_of(
        [*map(tuple, marts["lines"].rows()), line("h1", "b9", "milk", ago(-1))]
    )
    frame = collected("household", marts, [MONDAY, thursday])
    h1 = frame.filter(pl.col("household_id") == "h1")
    assert h1["known_at"].to_list() == [INSTANT, thursday]
    assert h1["as_of"].to_list() == [MONDAY, MONDAY]
    assert h1["baskets_364d"].to_list() == [4, 5]


@pytest.mark.parametrize("name", list(FEATURE_SETS))
def test_columns_and_types(name: str, marts: Marts) -> None:
    frame = collected(name, marts, [MONDAY])
    features = FEATURE_SETS[name]
    assert tuple(frame.columns) == (*features.keys, "as_of", "known_at", *features.features)
    assert frame.schema["as_of"] == pl.Date
    assert frame.schema["known_at"] == pl.Datetime("us")
    assert set(frame.select(features.features).dtypes) <= {pl.Int32, pl.Float32}


@pytest.mark.parametrize("name", list(FEATURE_SETS))
def test_nothing_in_nothing_out(name: str, marts: Marts) -> None:
    empty = {n: frame.clear() for n, frame in marts.items()}
    assert collected(name, empty, [MONDAY]).is_empty()
    expected = collected(name, marts, [MONDAY]).schema
    assert collected(name, empty, [MONDAY]).schema == expected


@pytest.mark.parametrize("name", list(FEATURE_SETS))
def test_before_all_data_there_is_nothing(name: str, marts: Marts) -> None:
    assert collected(name, marts, [date(2015, 1, 5)]).is_empty()


TYPES = pl.DataFrame({"product_id": ["milk", "bread"], "type": ["MILK", "LOAF"]})


def test_habit_and_rhythm_of_a_product(marts: Marts) -> None:
    frame = collected("household_product", marts, [MONDAY])
    (milk,) = frame.filter(household_id="h1", product_id="milk").to_dicts()
    # Bought 3, 13 and 63 days ago.
    assert (milk["baskets_7d"], milk["baskets_182d"]) == (1, 3)
    assert milk["habit_20d"] == pytest.approx(20 / 23 + 20 / 33 + 20 / 83, rel=1e-3)
    # Gaps of 50 and 10 days: mean 30, deviation 20; 3 days since is 27 short of the mean.
    assert milk["days_between_deviation"] == pytest.approx(20, rel=1e-3)
    assert milk["overdue"] == pytest.approx(-27 / 23, rel=1e-3)
    (bread,) = frame.filter(household_id="h1", product_id="bread").to_dicts()
    assert bread["days_between_deviation"] is None
    assert bread["overdue"] is None


def test_rhythm_of_a_type_and_own_stores(marts: Marts) -> None:
    typed = collected("household_type", marts, [MONDAY]).filter(household_id="h1")
    assert dict(typed.select("type", "purchases_364d").rows()) == {"MILK": 3, "LOAF": 1}
    visits = collected("household_store", marts, [MONDAY]).filter(household_id="h1")
    assert dict(visits.select("store_id", "baskets_28d").rows()) == {"s1": 1, "s2": 1}


@pytest.mark.parametrize("name", list(FEATURE_SETS))
def test_one_row_per_entity_and_as_of(name: str, marts: Marts) -> None:
    # A second version known at the same time must not double a household's rows.
    marts["products"] = pl.concat([marts["products"], marts["products"]])
    as_ofs = [MONDAY - timedelta(days=7), MONDAY]
    frame = collected(name, marts, as_ofs)
    keys = list(FEATURE_SETS[name].keys)
    days = FEATURE_SETS[name].window_days
    for as_of, instant in zip(as_ofs, (WEEK_BEFORE, INSTANT), strict=True):
        known = (
            marts["lines"]
            .filter(
                pl.col("sold_at") < instant, pl.col("sold_at") >= instant - timedelta(days=days)
            )
            .join(TYPES, on="product_id", how="left")
            .filter(pl.col("type").is_not_null() if "type" in keys else True)
        )
        ours = frame.filter(pl.col("as_of") == as_of)
        assert ours.height == known.select(keys).n_unique()
        assert ours.select(keys).n_unique() == ours.height
