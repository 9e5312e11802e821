from __future__ import annotations

import math

import polars as pl
import pytest

from models.evaluation.popularity import popularity_table
from tests.models.evaluation.test_metrics import purchases, ranking

# a was bought by all four households, b by one, c by none.
PAST = pl.DataFrame(
    [("ann", "a"), ("bob", "a"), ("cat", "a"), ("dan", "a"), ("dan", "b")],
    schema=["household_id", "product_id"],
    orient="row",
)
PRODUCTS = pl.DataFrame(
    {"product_id": ["a", "b", "c"], "category": ["MILK", "MILK", "TEA"], "type": ["x", "y", "x"]}
)


def table(lists: dict[str, list[str]], *, k: int = 2) -> dict[str, dict]:
    bought = purchases({"ann": ["a", "c"]})
    found = popularity_table({"model": ranking(lists)}, bought, past=PAST, products=PRODUCTS, k=k)
    return {row["system"]: row for row in found.to_dicts()}


def test_by_hand() -> None:
    found = table({"ann": ["a", "b", "c"]})
    model = found["model"]
    assert model["mean_percentile"] == pytest.approx((1.0 + 0.5) / 2)
    assert model["coverage"] == 1.0
    assert (model["category_diversity"], model["type_diversity"]) == (0.5, 1.0)
    assert model["novelty_bits"] == pytest.approx((0 + math.log2(4)) / 2)
    assert model["new_share"] == 0.5
    bought = found["purchases"]
    assert bought["mean_percentile"] == pytest.approx(0.5)
    assert bought["coverage"] == 0.5
    assert bought["category_diversity"] is None
    assert bought["new_share"] == 0.5


def test_lists_of_households_that_did_not_shop_do_not_count() -> None:
    assert table({"ann": ["a"], "bob": ["b"]})["model"] == table({"ann": ["a"]})["model"]


def test_the_same_list_for_all_is_seen() -> None:
    one = table({"ann": ["a"]}, k=1)["model"]
    assert (one["coverage"], one["mean_percentile"], one["novelty_bits"]) == (0.5, 1.0, 0.0)
