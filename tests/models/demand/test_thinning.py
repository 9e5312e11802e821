from __future__ import annotations

import polars as pl
import pytest

from models.demand.examples import demand_examples
from models.demand.thinning import keep_zeros, thin_zeros, zeros_kept
from tests.models.demand.market import market, week


def sparse() -> pl.DataFrame:
    rows = demand_examples(market(), targets=[week(w) for w in range(10, 40)])
    some = pl.int_range(pl.len()) % 20 == 0
    return rows.with_columns(pl.when(some).then("units").otherwise(0.0).alias("units"))


def test_every_sale_stays_and_zeros_stand_for_those_that_went() -> None:
    rows = sparse()
    thin = thin_zeros(rows, seed=1, per_sale=4.0)
    sold = rows.filter(pl.col("units") > 0)
    assert thin.filter(pl.col("units") > 0).drop("weight").equals(sold)
    zeros = thin.filter(pl.col("units") == 0)
    assert zeros.height == pytest.approx(4 * sold.height, rel=0.2)
    assert thin["weight"].sum() == pytest.approx(rows.height, rel=0.2)
    assert thin.select("week_start", "store_id", "product_id").equals(
        thin.select("week_start", "store_id", "product_id").sort(
            "week_start", "store_id", "product_id"
        )
    )


def test_what_stays_does_not_depend_on_the_order() -> None:
    rows = sparse()
    shuffled = thin_zeros(rows.sample(fraction=1.0, shuffle=True, seed=2), seed=1)
    assert shuffled.sort("week_start", "store_id", "product_id").equals(thin_zeros(rows, seed=1))
    assert not thin_zeros(rows, seed=2).equals(thin_zeros(rows, seed=1))


def test_weeks_thinned_one_by_one_are_the_whole_thinned() -> None:
    rows = sparse()
    share = zeros_kept(rows)
    weeks = rows.partition_by("week_start", maintain_order=True)
    parts = [keep_zeros(part, share=share, seed=1) for part in weeks]
    assert pl.concat(parts).equals(thin_zeros(rows, seed=1))


def test_a_dense_panel_keeps_every_row() -> None:
    rows = demand_examples(market(), targets=[week(20)])
    assert thin_zeros(rows, seed=1)["weight"].to_list() == [1.0] * 30
    with pytest.raises(ValueError, match="more than 0"):
        thin_zeros(rows, seed=1, per_sale=0.0)
