from __future__ import annotations

from datetime import date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.ranking.next_basket import (
    Origin,
    baseline_inputs,
    calendar,
    last_basket,
    next_basket_data,
)

DAY = datetime.fromisoformat("2021-03-01")


def baskets(*rows: tuple[str, str, int, str]) -> pl.DataFrame:
    """Household, basket, day, one letter per product."""
    return pl.DataFrame(
        [
            (household, basket, DAY + timedelta(days=day), product)
            for household, basket, day, products in rows
            for product in products
        ],
        schema=["household_id", "basket_id", "sold_at", "product_id"],
        orient="row",
    )


FRAME = baskets(
    ("ann", "a1", 0, "xy"),
    ("ann", "a2", 4, "x"),
    ("ann", "a3", 6, "xz"),
    ("ann", "a4", 9, "y"),
    ("bob", "b1", 0, "z"),
    ("bob", "b2", 20, "w"),
    ("cat", "c1", 3, "x"),
)


def bought(origin: Origin) -> dict[str, str]:
    return {
        household: "".join(sorted(part["product_id"]))
        for (household,), part in origin.purchases.sort("household_id").group_by(
            "household_id", maintain_order=True
        )
    }


def past(origin: Origin, household: str) -> list[tuple[str, str, int, float]]:
    mine = origin.history.filter(pl.col("household_id") == household)
    return mine.select("basket_id", "product_id", "ago", "elapsed").rows()


def test_last_baskets_by_hand() -> None:
    split = last_basket(next_basket_data(FRAME))
    assert bought(split.test) == {"ann": "y", "bob": "w", "cat": "x"}
    # ann's last basket comes on day 9, bob's on day 20.
    assert past(split.test, "ann") == [
        ("a1", "x", 2, 9.0),
        ("a1", "y", 2, 9.0),
        ("a2", "x", 1, 5.0),
        ("a3", "x", 0, 3.0),
        ("a3", "z", 0, 3.0),
    ]
    assert past(split.test, "cat") == []
    assert past(split.test, "bob") == [("b1", "z", 0, 20.0)]
    # Two origins to learn from; only ann has a basket and a history there.
    assert [bought(origin) for origin in split.train] == [{"ann": "x"}, {"ann": "xz"}]
    assert past(split.train[0], "ann") == [("a1", "x", 0, 4.0), ("a1", "y", 0, 4.0)]


def test_orders_count_baskets() -> None:
    frame = FRAME.with_columns(
        pl.col("sold_at").rank("dense").over("household_id").alias("order")
    ).drop("sold_at")
    split = last_basket(next_basket_data(frame))
    assert not split.timed
    assert [row[2:] for row in past(split.test, "ann")] == [(2, 3.0)] * 2 + [(1, 2.0)] + [
        (0, 1.0)
    ] * 2
    with pytest.raises(ValueError, match="order but no times"):
        calendar(next_basket_data(frame))


def test_calendar_by_hand() -> None:
    frame = baskets(
        ("ann", "a1", 0, "x"),
        ("ann", "a2", 15, "y"),
        ("ann", "a3", 22, "z"),
        ("bob", "b1", 28, "w"),
    )
    split = calendar(next_basket_data(frame))
    # Days 0 to 28: the last seven are 22 to 28; the week before them is 15 to 21.
    assert split.test.as_of == date(2021, 3, 23)
    assert bought(split.test) == {"ann": "z", "bob": "w"}
    assert past(split.test, "ann") == [("a1", "x", 1, 22.0), ("a2", "y", 0, 7.0)]
    assert [bought(origin) for origin in split.train] == [{"ann": "y"}]
    assert past(split.train[0], "ann") == [("a1", "x", 0, 15.0)]


def test_a_longer_window_is_learned_from_as_a_longer_window() -> None:
    frame = baskets(
        ("ann", "a1", 0, "v"),
        ("ann", "a2", 9, "w"),
        ("ann", "a3", 15, "x"),
        ("ann", "a4", 22, "y"),
        ("ann", "a5", 30, "z"),
        ("ann", "a6", 36, "x"),
    )
    split = calendar(next_basket_data(frame), days=14)
    # Days 0 to 36: the last fourteen are 23 to 36, the fourteen before them 9 to 22.
    assert split.test.purchases["product_id"].sort().to_list() == ["x", "z"]
    (origin,) = split.train
    assert origin.purchases["product_id"].sort().to_list() == ["w", "x", "y"]
    assert past(origin, "ann") == [("a1", "v", 0, 9.0)]
    with pytest.raises(ValueError, match="47 are needed"):
        calendar(next_basket_data(frame), days=20)


def test_repeated_rows_count_once_and_other_columns_are_ignored() -> None:
    data = next_basket_data(FRAME)
    again = next_basket_data(pl.concat([FRAME, FRAME]).with_columns(pl.lit(1).alias("quantity")))
    assert again.lines.equals(data.lines)


def test_a_basket_has_one_time_and_ties_go_by_basket_id() -> None:
    frame = baskets(("ann", "a2", 1, "x"), ("ann", "a1", 1, "y"), ("ann", "a2", 2, "z"))
    frame = pl.concat([frame, baskets(("ann", "a3", 2, "x"))])
    lines = next_basket_data(frame).lines.select("basket_id", "position").unique().sort("position")
    assert lines.rows() == [("a1", 0), ("a2", 1), ("a3", 2)]


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (FRAME.drop("sold_at"), "sold_at or order"),
        (FRAME.drop("basket_id"), "basket_id"),
        (FRAME.with_columns(pl.lit("soon").alias("sold_at")), "date or a time"),
        (FRAME.with_columns(pl.lit(None, pl.String).alias("product_id")), "missing values"),
        (FRAME.clear(), "no row"),
    ],
)
def test_data_that_cannot_be_used(frame: pl.DataFrame, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        next_basket_data(frame)


def test_data_too_short_to_learn_from() -> None:
    short = next_basket_data(baskets(("ann", "a1", 0, "x"), ("ann", "a2", 1, "x")))
    with pytest.raises(ValueError, match="longest history has 2"):
        last_basket(short)
    with pytest.raises(ValueError, match="21 are needed"):
        calendar(short)


def test_baselines_see_what_has_elapsed() -> None:
    split = last_basket(next_basket_data(FRAME))
    counts, lines = baseline_inputs(split.test, timed=True)
    ann = lines.filter(pl.col("household_id") == "ann").sort("at")
    assert (ann["at"].max(), ann["at"].min()) == (
        datetime.fromisoformat("1999-12-31"),
        datetime.fromisoformat("1999-12-25"),
    )
    weeks = counts.filter(household_id="ann", product_id="x").sort("week_start")
    assert weeks.select("week_start", "purchases").rows() == [
        (date(1999, 12, 20), 1),
        (date(1999, 12, 27), 2),
    ]
    assert (lines["week_start"] < split.test.as_of).all()


@given(
    rows=st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 40), st.integers(0, 5)),
        min_size=20,
        max_size=80,
    )
)
@settings(max_examples=40, deadline=None)
def test_no_origin_knows_what_it_has_to_foresee(rows) -> None:
    frame = baskets(*((f"h{h}", f"b{h}-{day}", day, f"{p}") for h, day, p in rows))
    data = next_basket_data(frame)
    for make in (last_basket, calendar):
        try:
            split = make(data)
        except ValueError:
            continue
        whole = data.lines.select("household_id", "position", "at").unique()
        for origin in (*split.train, split.test):
            assert (origin.history["elapsed"] > 0).all()
            known = origin.history.group_by("household_id").agg(pl.col("at").max().alias("known"))
            # What is foreseen is a basket after all that is known of the household.
            later = (
                whole.join(known, on="household_id")
                .filter(pl.col("at") > pl.col("known"))["household_id"]
                .unique()
            )
            with_history = set(origin.events["household_id"]) & set(known["household_id"])
            assert with_history <= set(later)
