from __future__ import annotations

import polars as pl
import pytest

from models.ranking.sampling import group_sizes, learnable, thin_negatives, uniform
from tests.models.ranking.conftest import weeks


def test_only_events_with_a_purchase_stay(shop: pl.DataFrame) -> None:
    nothing = pl.col("household_id") == "hh0000000003"
    frame = shop.with_columns(
        pl.when(nothing).then(0).otherwise("label").cast(pl.Int8).alias("label")
    )
    useful = learnable(frame)
    assert useful.filter(nothing).is_empty()
    assert useful["label"].sum() == frame["label"].sum()
    sizes = group_sizes(useful)
    assert sizes.sum() == useful.height
    assert set(sizes) == {12}


def test_unsorted_rows_are_refused(shop: pl.DataFrame) -> None:
    with pytest.raises(ValueError, match="not sorted"):
        learnable(shop.reverse())


def test_no_purchase_at_all_is_refused(shop: pl.DataFrame) -> None:
    with pytest.raises(ValueError, match="nothing to learn"):
        learnable(shop.with_columns(pl.lit(0, pl.Int8).alias("label")))


def test_thinning_keeps_purchases_and_about_the_asked_share(shop: pl.DataFrame) -> None:
    thin = thin_negatives(shop, per_positive=1.5, seed=1)
    positives = int(shop["label"].sum())
    assert thin["label"].sum() == positives
    assert thin.height - positives == pytest.approx(1.5 * positives, rel=0.1)
    assert thin_negatives(shop, per_positive=1e6, seed=1).equals(shop)
    assert not thin_negatives(shop, per_positive=1.5, seed=2).equals(thin)


def test_a_row_stays_or_goes_by_its_key_alone(shop: pl.DataFrame) -> None:
    values = shop.select("as_of", "household_id", "product_id").with_columns(
        pl.Series("u", uniform(shop, seed=7))
    )
    part = shop.filter(pl.col("as_of") == weeks(2)[0]).reverse()
    again = part.select("as_of", "household_id", "product_id").with_columns(
        pl.Series("u", uniform(part, seed=7))
    )
    expected = values.filter(pl.col("as_of") == weeks(2)[0]).reverse()
    assert again.equals(expected)
    assert values["u"].is_between(0, 1, closed="left").all()
    assert values["u"].n_unique() == shop.height
    assert values["u"].mean() == pytest.approx(0.5, abs=0.02)


def test_the_hash_does_not_change_between_versions() -> None:
    frame = pl.DataFrame(
        {"as_of": weeks(0), "household_id": ["hh1"], "product_id": ["p1"], "label": [0]}
    )
    assert uniform(frame, seed=1).tolist() == [pytest.approx(0.0893048118943588, abs=1e-15)]


def test_a_share_of_nothing_is_refused(shop: pl.DataFrame) -> None:
    with pytest.raises(ValueError, match="per_positive is 0"):
        thin_negatives(shop, per_positive=0, seed=1)
