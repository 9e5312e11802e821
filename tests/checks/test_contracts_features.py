"""Feature and label contracts: real output passes, each kind of bad frame does not."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl
import pytest

from checks.contracts.contract import Contract, validate
from checks.contracts.features import FEATURES, _feature_column
from checks.contracts.labels import PURCHASES
from models.features import FEATURE_SETS
from models.labels import purchases
from tests.models.features.tiny_marts import (
    INSTANT,
    LINES,
    MONDAY,
    collected,
    line,
    lines_of,
    marts_by_hand,
)

BY_NAME = {contract.table.removeprefix("features."): contract for contract in FEATURES}
NAMES = list(BY_NAME)


def with_pseudonyms(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(pl.col("^household_id$").str.pad_end(12, "0"))


def good(name: str) -> pl.DataFrame:
    return with_pseudonyms(collected(name, marts_by_hand(), [MONDAY]))


def good_labels() -> pl.DataFrame:
    rows = [*LINES, line("h1", "b8", "milk", INSTANT), line("h1", "b8", "bread", INSTANT)]
    return with_pseudonyms(purchases(lines_of(rows).lazy(), [MONDAY]).collect())


def failed(frame: pl.DataFrame, contract: Contract) -> str:
    report = validate(frame, contract)
    assert not report.passed
    return str(report)


@pytest.mark.parametrize("name", NAMES)
def test_computed_features_pass(name: str) -> None:
    frame = good(name)
    assert frame.height > 0
    assert validate(frame, BY_NAME[name]).passed, validate(frame, BY_NAME[name])


def test_computed_labels_pass() -> None:
    frame = good_labels()
    assert frame.height == 2
    assert validate(frame, PURCHASES).passed, validate(frame, PURCHASES)


def test_every_feature_set_has_a_contract() -> None:
    assert set(BY_NAME) == set(FEATURE_SETS)


@pytest.mark.parametrize("name", NAMES)
def test_contracts_say_what_they_hold(name: str) -> None:
    contract = BY_NAME[name]
    features = FEATURE_SETS[name]
    assert contract.key == ("as_of", *features.keys)
    assert contract.partition_column == "as_of"
    assert contract.description
    for spec in contract.columns:
        assert spec.description
        assert "{" not in spec.description
        assert spec.privacy != "sensitive"
        assert (spec.unit is not None) == (spec.name in {*features.features, "known_at"})


@pytest.mark.parametrize("name", NAMES)
def test_every_count_and_amount_is_checked(name: str) -> None:
    for feature in FEATURE_SETS[name].features:
        bad = good(name)
        bad = bad.with_columns(pl.lit(-1000, dtype=bad.schema[feature]).alias(feature))
        assert feature in failed(bad, BY_NAME[name])


@pytest.mark.parametrize("name", NAMES)
def test_duplicate_entities_fail(name: str) -> None:
    frame = good(name)
    failed(pl.concat([frame, frame.head(1)]), BY_NAME[name])


@pytest.mark.parametrize("name", NAMES)
def test_an_as_of_that_is_not_a_monday_fails(name: str) -> None:
    bad = good(name).with_columns(as_of=pl.lit(MONDAY + timedelta(days=1)))
    assert "as_of is a Monday" in failed(bad, BY_NAME[name])


@pytest.mark.parametrize("name", NAMES)
def test_a_column_too_many_or_too_few_fails(name: str) -> None:
    frame = good(name)
    first = FEATURE_SETS[name].features[0]
    assert "age" in failed(frame.with_columns(age=pl.lit("35-44")), BY_NAME[name])
    assert first in failed(frame.drop(first), BY_NAME[name])


def test_a_retyped_feature_fails() -> None:
    bad = good("household").with_columns(pl.col("spend_7d").cast(pl.Float64))
    assert "spend_7d" in failed(bad, BY_NAME["household"])


def test_a_share_above_one_fails() -> None:
    bad = good("household").with_columns(pl.lit(1.5, dtype=pl.Float32).alias("private_share_91d"))
    assert "private_share_91d" in failed(bad, BY_NAME["household"])


def test_a_raw_household_id_fails() -> None:
    bad = good("household").with_columns(household_id=pl.lit("900"))
    assert "household_id" in failed(bad, BY_NAME["household"])


def test_a_feature_without_a_meaning_is_refused() -> None:
    with pytest.raises(KeyError, match="horoscope_7d has no declared meaning; add 'horoscope'"):
        _feature_column("horoscope_7d")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (pl.lit(-1, dtype=pl.Int32).alias("quantity"), "quantity"),
        (pl.lit(-0.5, dtype=pl.Float32).alias("spend"), "spend"),
        (pl.lit("900").alias("household_id"), "household_id"),
        (pl.lit(None, dtype=pl.String).alias("product_id"), "product_id"),
        (pl.lit(date(2017, 3, 14)).alias("as_of"), "as_of is a Monday"),
        (pl.col("as_of_at").alias("known_at"), "known_at is after as_of_at"),
    ],
)
def test_bad_labels_fail(change: pl.Expr, named: str) -> None:
    assert named in failed(good_labels().with_columns(change), PURCHASES)


def test_duplicate_labels_fail() -> None:
    failed(pl.concat([good_labels(), good_labels()]), PURCHASES)
