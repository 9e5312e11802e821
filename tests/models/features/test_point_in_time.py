"""Point-in-time assembly against a plain loop, and what it refuses."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from models.features.point_in_time import assemble

EPOCH = datetime.fromisoformat("1970-01-01T00:00")
HOUR = timedelta(hours=1)

LABEL_SCHEMA = {"household_id": pl.String, "at": pl.Datetime("us"), "label": pl.Int8}
FEATURE_SCHEMA = {"household_id": pl.String, "known_at": pl.Datetime("us"), "x": pl.Float32}


def labels_of(rows: list[tuple[str, int]]) -> pl.DataFrame:
    data = [(k, EPOCH + h * HOUR, i % 2) for i, (k, h) in enumerate(rows)]
    return pl.DataFrame(data, schema=LABEL_SCHEMA, orient="row")


def features_of(rows: list[tuple[str, int]]) -> pl.DataFrame:
    data = [(k, EPOCH + h * HOUR, float(i)) for i, (k, h) in enumerate(rows)]
    return pl.DataFrame(data, schema=FEATURE_SCHEMA, orient="row")


def joined(labels: pl.DataFrame, features: pl.DataFrame, **options: Any) -> pl.DataFrame:
    return assemble(
        labels,
        features,
        on="household_id",
        label_time="at",
        feature_time="known_at",
        **options,
    )


LABELS = labels_of([("h2", 9), ("h1", 5), ("h1", 5), ("h3", 5), ("h1", 1)])
FEATURES = features_of([("h1", 5), ("h2", 10), ("h1", 3), ("h2", 2), ("h1", 6)])


def test_newest_not_newer_in_the_labels_order() -> None:
    answer = joined(LABELS, FEATURES)
    assert answer.columns == ["household_id", "at", "label", "x"]
    assert answer.drop("x").equals(LABELS)
    assert answer["x"].to_list() == [3.0, 0.0, 0.0, None, None]


def test_max_age_is_inclusive() -> None:
    assert joined(LABELS, FEATURES, max_age=7 * HOUR)["x"].to_list()[0] == 3.0
    assert joined(LABELS, FEATURES, max_age=6 * HOUR)["x"].to_list()[0] is None


def test_dates_and_several_keys() -> None:
    labels = pl.DataFrame({"h": ["a", "a"], "p": ["m", "n"], "as_of": [date(2017, 1, 9)] * 2})
    features = pl.DataFrame(
        {
            "h": ["a", "a"],
            "p": ["m", "n"],
            "week": [date(2017, 1, 9), date(2017, 1, 16)],
            "x": [1, 2],
        }
    )
    answer = assemble(labels, features, on=["h", "p"], label_time="as_of", feature_time="week")
    assert answer["x"].to_list() == [1, None]


def test_columns_and_prefix() -> None:
    extra = FEATURES.with_columns(label=pl.lit(1.0), other=pl.lit(2))
    answer = joined(LABELS, extra, columns=["label"], prefix="hh_")
    assert answer.columns == ["household_id", "at", "label", "hh_label"]


keys = st.sampled_from(["h1", "h2", "h3", "h4"])
# Negative hours are before 1970.
hours = st.integers(min_value=-40, max_value=40)


@given(
    labels=st.lists(st.tuples(keys, hours), max_size=30),
    features=st.lists(st.tuples(keys, hours), max_size=30, unique=True),
    max_age=st.one_of(st.none(), st.integers(min_value=0, max_value=50)),
)
@settings(deadline=None)
def test_equals_a_plain_loop(
    labels: list[tuple[str, int]], features: list[tuple[str, int]], max_age: int | None
) -> None:
    expected = []
    for key, hour in labels:
        known = [
            (h, i)
            for i, (k, h) in enumerate(features)
            if k == key and h <= hour and (max_age is None or hour - h <= max_age)
        ]
        expected.append(float(max(known)[1]) if known else None)
    left = labels_of(labels)
    answer = joined(
        left, features_of(features), max_age=None if max_age is None else max_age * HOUR
    )
    column = pl.Series("x", expected, dtype=pl.Float32)
    assert_frame_equal(answer, left.with_columns(column), check_exact=True)


def test_a_newer_feature_row_changes_nothing() -> None:
    newer = features_of([("h1", 7), ("h2", 11), ("h3", 6)])
    assert joined(LABELS, pl.concat([newer, FEATURES])).equals(joined(LABELS, FEATURES))


def test_no_features_and_no_labels() -> None:
    assert joined(LABELS, FEATURES.clear())["x"].null_count() == LABELS.height
    empty = joined(LABELS.clear(), FEATURES)
    assert empty.is_empty()
    assert empty.schema["x"] == pl.Float32


@pytest.mark.parametrize(
    ("labels", "features", "message"),
    [
        (LABELS, pl.concat([FEATURES, FEATURES.head(1)]), "1 feature row.* repeat.*'h1'"),
        (LABELS, FEATURES.rename({"x": "label"}), r"\['label'\] occur in labels and features"),
        (LABELS.drop("at"), FEATURES, r"labels lack \['at'\]"),
        (LABELS, FEATURES.drop("household_id"), r"features lack \['household_id'\]"),
        (
            LABELS,
            FEATURES.with_columns(known_at=pl.lit(None, dtype=pl.Datetime("us"))),
            r"features have nulls in \['known_at'\]",
        ),
        (
            LABELS,
            FEATURES.with_columns(pl.col("known_at").dt.date()),
            "labels.at is Datetime.* but features.known_at is Date; cast",
        ),
        (LABELS.rename({"label": "__order"}), FEATURES, "which assemble.. uses; rename"),
    ],
)
def test_refuses(labels: pl.DataFrame, features: pl.DataFrame, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        joined(labels, features)


def test_refuses_an_unknown_column() -> None:
    with pytest.raises(ValueError, match=r"features lack \['y'\]"):
        joined(LABELS, FEATURES, columns=["y"])
