from __future__ import annotations

import polars as pl
import pytest

from models.evaluation import slices
from tests.models.evaluation.test_metrics import LATER, WEEK, purchases, ranking

BOUGHT = purchases({"ann": ["a", "b"], "bob": ["a"], "new": ["c"]})


def named(groups: pl.DataFrame) -> dict[str, list[tuple[str, str]]]:
    return {
        str(name): part.select("household_id", "product_id").rows()
        for (name,), part in groups.group_by("name", maintain_order=True)
    }


def test_tenure_bands_include_their_upper_bound() -> None:
    households = pl.DataFrame(
        {
            "household_id": ["ann", "bob"],
            "as_of": [WEEK, WEEK],
            "days_since_first_basket": [28.0, 28.5],
        }
    )
    groups = slices.tenure_groups(BOUGHT, households)
    assert named(groups) == {
        "no basket yet": [("new", "c")],
        "1 to 4 weeks": [("ann", "a"), ("ann", "b")],
        "5 to 13 weeks": [("bob", "a")],
    }
    assert groups["dimension"].unique().to_list() == ["tenure"]


def test_basket_size_counts_the_week() -> None:
    many = purchases({"ann": [f"p{i}" for i in range(6)], "bob": ["a"]})
    later = purchases({"ann": ["a"]}, LATER)
    groups = slices.basket_size_groups(pl.concat([many, later]))
    sizes = groups.group_by("name", maintain_order=True).len().rows()
    assert sizes == [("1 to 5 products", 2), ("6 to 10 products", 6)]


def test_the_largest_categories_are_kept() -> None:
    products = pl.DataFrame(
        {"product_id": ["a", "b", "c"], "category": ["MILK", "TEA", "TEA"], "type": ["x"] * 3}
    )
    groups = slices.category_groups(BOUGHT, products, top=1)
    # Two purchases each: the tie goes to the name.
    assert named(groups) == {"MILK": [("ann", "a"), ("bob", "a")]}
    assert list(named(slices.category_groups(BOUGHT, products))) == ["MILK", "TEA"]


def test_promotion_is_that_of_the_store_and_week() -> None:
    lines = pl.LazyFrame(
        {
            "household_id": ["ann", "ann", "bob", "new"],
            "product_id": ["a", "b", "a", "c"],
            "store_id": ["1", "1", "2", "1"],
            "week_start": [WEEK, WEEK, WEEK, WEEK],
        }
    )
    promotions = pl.LazyFrame(
        {
            "product_id": ["a", "b", "c", "c"],
            "store_id": ["1", "1", "1", "1"],
            "week_start": [WEEK, WEEK, WEEK, LATER],
            "on_display": [True, True, False, True],
            "in_mailer": [False, True, True, True],
        }
    )
    assert named(slices.promotion_groups(BOUGHT, lines, promotions)) == {
        "not promoted": [("bob", "a")],
        "in mailer": [("new", "c")],
        "on display": [("ann", "a")],
        "display and mailer": [("ann", "b")],
    }


def test_a_slice_of_purchases_judges_those_alone() -> None:
    products = pl.DataFrame({"product_id": ["a", "b", "c"], "category": ["MILK", "TEA", "TEA"]})
    rankings = {
        "model": ranking({"ann": ["a", "b"], "bob": ["a", "b"], "new": ["b", "a"]}),
        "habit": ranking({"ann": ["b", "a"], "bob": ["b", "a"], "new": ["c", "a"]}),
    }
    milk, tea = slices.slices(
        rankings,
        slices.category_groups(BOUGHT, products),
        model="model",
        reference="habit",
        k=2,
        seed=1,
    )
    assert (milk.name, milk.events, milk.households, milk.purchases) == ("MILK", 2, 2, 2)
    assert milk.metrics["model"]["ndcg@2"] == 1.0
    assert milk.metrics["habit"]["recall@2"] == 1.0
    assert milk.difference.low > 0.3
    assert tea.metrics["habit"]["ndcg@2"] == 1.0
    assert tea.difference.high < 0
    assert milk.difference.confidence == slices.CONFIDENCE


def test_the_order_of_rows_means_nothing() -> None:
    def judged(seed: int | None) -> tuple[slices.Slice, ...]:
        def mixed(frame: pl.DataFrame) -> pl.DataFrame:
            return frame if seed is None else frame.sample(fraction=1, shuffle=True, seed=seed)

        lists = ranking({"ann": ["a", "b"], "bob": ["a", "b"], "new": ["b", "a"]})
        return slices.slices(
            {"model": mixed(lists), "habit": mixed(lists)},
            slices.basket_size_groups(mixed(BOUGHT)),
            model="model",
            reference="habit",
            k=2,
            seed=1,
        )

    assert judged(None) == judged(3)
    assert judged(None)[0].difference.estimate == pytest.approx(0.0)
