from __future__ import annotations

import polars as pl
import pytest

from models.ranking import last_basket
from models.ranking.basket_history import basket_history
from models.ranking.last_basket import last_basket_says

SCHEMA = {
    "household_id": pl.String,
    "product_id": pl.String,
    "basket_id": pl.String,
    "at": pl.Int64,
}


def history(**households: list[str]):
    rows = [
        (household, product, f"{household}{at}", at)
        for household, baskets in households.items()
        for at, basket in enumerate(baskets)
        for product in basket
    ]
    return basket_history(pl.DataFrame(rows, schema=SCHEMA, orient="row"))


def pairs(*rows: tuple[str, str]) -> pl.DataFrame:
    schema = {"household_id": pl.String, "product_id": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row")


def test_by_hand() -> None:
    # Five baskets: ann ab, c, a; bob ab, ac.
    past = history(ann=["ab", "c", "a"], bob=["ab", "ac"])
    asked = pairs(("ann", "b"), ("bob", "b"), ("ann", "a"), ("new", "a"), ("ann", "unknown"))
    co_purchase, follows = last_basket_says(past, asked)
    # ann's last is a: of 4 baskets with a, 2 hold b, against 2 of all 5.
    # bob's last is a and c: of 2 with c none holds b. A product never goes with itself.
    # a is in 4 of 5.
    want = [2 / 4 - 2 / 5, (2 / 4 + 0 / 2) / 2 - 2 / 5, 0 - 4 / 5]
    assert co_purchase.to_list()[:3] == pytest.approx(want)
    # Steps: ab -> c, c -> a, ab -> ac. After a (2 steps) never b; after c (1) never b; b follows
    # in none of 3 steps. After a, a follows in 1 of 2; a follows in 2 of 3 steps.
    assert follows.to_list()[:3] == pytest.approx([0.0, 0.0, 1 / 2 - 2 / 3])
    assert co_purchase.to_list()[3:] == follows.to_list()[3:] == [None, None]


def test_only_common_products_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(last_basket, "PAIRED_PRODUCTS", 1)
    past = history(ann=["ab", "a"])
    for found in last_basket_says(past, pairs(("ann", "a"), ("ann", "b"))):
        assert found.is_null().to_list() == [False, True]


def test_single_baskets_and_nothing_at_all() -> None:
    one = last_basket_says(history(ann=["a"]), pairs(("ann", "a")))
    assert [found.to_list() for found in one] == [[-1.0], [0.0]]
    nothing = last_basket_says(history(), pairs(("ann", "a")))
    assert [found.to_list() for found in nothing] == [[None], [None]]
