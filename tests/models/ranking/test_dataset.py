from __future__ import annotations

from datetime import date, datetime, time

import polars as pl
import pytest

from checks.contracts.contract import validate
from checks.contracts.ranking import OFFER_EXAMPLES, offer_examples
from models.ranking.dataset import FeatureLists, examples, refuse_demographics
from models.ranking.inputs import FEATURES

W1, W2 = date(2017, 1, 9), date(2017, 1, 16)
MONDAY, NEXT_MONDAY = (datetime.combine(week, time()) for week in (W1, W2))
ANN, BOB = "ann000000000", "bob000000000"

CANDIDATES = pl.LazyFrame(
    {
        "household_id": [BOB, ANN, ANN, ANN],
        "product_id": ["tea", "tea", "milk", "tea"],
        "as_of": [W1, W2, W1, W1],
        "known_at": [MONDAY, NEXT_MONDAY, *[MONDAY] * 2],
        "source": ["global", "personal", "global", "personal"],
        "score": [0.1, 0.2, 0.3, 0.4],
    }
)
HOUSEHOLD = pl.LazyFrame({"household_id": [ANN, ANN], "as_of": [W1, W2], "baskets": [4, 5]})
PRODUCT = pl.LazyFrame(
    {"product_id": ["tea", "milk", "tea"], "as_of": [W1, W1, W2], "price": [1.0, 2.0, 3.0]}
)
PAIR = pl.LazyFrame(
    {
        "household_id": [ANN, ANN],
        "product_id": ["tea", "tea"],
        "as_of": [W1, W2],
        "often": [True, False],
    }
)
PURCHASES = pl.LazyFrame(
    {"household_id": [ANN, ANN, BOB], "product_id": ["tea", "tea", "soap"], "as_of": [W1] * 3}
)
LISTS = FeatureLists(
    candidate=("score",),
    household=("baskets",),
    product=("price",),
    household_product=("often",),
)


def build(**changes: object) -> pl.DataFrame:
    given = {
        "household": HOUSEHOLD,
        "product": PRODUCT,
        "household_product": PAIR,
        "features": LISTS,
        "purchases": PURCHASES,
        **changes,
    }
    return examples(CANDIDATES, **given)  # type: ignore[arg-type]


def test_features_of_the_same_as_of_by_hand() -> None:
    frame = build()
    assert frame.columns[5:] == ["score", "hh_baskets", "p_price", "hp_often", "label"]
    values = frame.select("household_id", "product_id", "as_of", *frame.columns[6:]).rows()
    assert values == [
        (ANN, "milk", W1, 4.0, 2.0, None, 0),
        (ANN, "tea", W1, 4.0, 1.0, 1.0, 1),
        (BOB, "tea", W1, None, 1.0, None, 0),
        (ANN, "tea", W2, 5.0, 3.0, 0.0, 0),
    ]


def test_the_contract_is_made_of_the_feature_list() -> None:
    frame = build().with_columns(pl.col("known_at").cast(pl.Datetime("us")))
    report = validate(frame, offer_examples(LISTS.names))
    assert report.passed, str(report)
    assert not validate(frame.drop("hp_often"), offer_examples(LISTS.names)).passed
    bad = frame.with_columns(pl.lit(2, pl.Int8).alias("label"))
    assert not validate(bad, offer_examples(LISTS.names)).passed


def test_the_default_contract_names_every_feature() -> None:
    assert set(FEATURES.names) < set(OFFER_EXAMPLES.names)
    assert OFFER_EXAMPLES.partition_column is None
    assert not [c.name for c in OFFER_EXAMPLES.columns if c.privacy == "sensitive"]


def test_without_purchases_there_is_no_label() -> None:
    frame = build(purchases=None)
    assert "label" not in frame.columns
    assert frame.height == 4


def test_a_duplicated_feature_row_is_refused() -> None:
    with pytest.raises(ValueError, match="4 candidates became 6 rows"):
        build(household=pl.concat([HOUSEHOLD, HOUSEHOLD.head(1)]))


def test_a_missing_feature_is_named() -> None:
    with pytest.raises(ValueError, match=r"product features: no column \['colour'\]"):
        build(features=FeatureLists(candidate=(), product=("colour",)))


def test_text_is_refused() -> None:
    with pytest.raises(ValueError, match="not numbers"):
        build(
            features=FeatureLists(candidate=("source",)),
        )


@pytest.mark.parametrize("name", ["hh_income", "hh_age", "kids", "p_household_size", "hh_size"])
def test_demographics_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="never a model input"):
        refuse_demographics(["hh_baskets", name])


def test_lookalikes_are_not() -> None:
    refuse_demographics(["p_size", "hh_basket_size", "hp_average", "p_coverage", *FEATURES.names])


def test_demographics_are_refused_by_examples_too() -> None:
    with pytest.raises(ValueError, match="never a model input"):
        build(features=FeatureLists(household=("income",)))


def test_the_digest_changes_with_names_and_order() -> None:
    one = FeatureLists(candidate=(), household=("a", "b"))
    assert one.digest == FeatureLists(candidate=(), household=("a", "b")).digest
    assert one.digest != FeatureLists(candidate=(), household=("b", "a")).digest
    assert one.digest != FeatureLists(candidate=(), product=("a", "b")).digest
