from __future__ import annotations

import polars as pl

from models.evaluation.scopes import ALL, Scope, beverages
from tests.models.evaluation.test_metrics import ranking

PRODUCTS = pl.DataFrame(
    {
        "product_id": ["a", "b", "c", "d"],
        "category": ["SOFT DRINKS", "CHEESE", "COFFEE FILTERS", None],
    }
)


def test_drinks_and_nothing_else() -> None:
    assert beverages(PRODUCTS).products == {"a"}


def test_a_product_that_was_a_drink_once_is_one() -> None:
    versions = pl.DataFrame({"product_id": ["b", "b"], "category": ["TEAS", "CHEESE"]})
    assert beverages(versions).products == {"b"}


def test_all_keeps_everything() -> None:
    frame = ranking({"ann": ["b", "a"]})
    assert Scope(ALL).of(frame) is frame


def test_a_scope_keeps_its_products() -> None:
    lists = ranking({"ann": ["b", "a", "c"], "bob": ["d"]})
    some = Scope("some", frozenset({"a", "c"}))
    assert some.of(lists)["product_id"].to_list() == ["a", "c"]
    assert some.of(lists.lazy()).collect().height == 2


def test_no_drinks_is_an_empty_scope() -> None:
    assert beverages(PRODUCTS.clear()).of(ranking({"ann": ["a"]})).is_empty()
