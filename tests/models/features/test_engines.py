"""The same functions answer the same values on Polars, DuckDB and Spark, bit for bit."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import duckdb
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from models.features import FEATURE_SETS
from models.labels import purchases
from tests.models.features.tiny_marts import (
    INSTANT,
    MONDAY,
    Marts,
    collected,
    compute,
    in_order,
    line,
    lines_of,
)

AS_OFS = [MONDAY - timedelta(days=7), MONDAY, datetime.fromisoformat("2017-03-16T12:00:01")]


@pytest.fixture
def busy(marts: Marts) -> Marts:
    """A few hundred lines with amounts that have no exact float, and seconds in between."""
    rows = [
        line(
            f"h{i % 7}",
            f"b{i // 3}",
            ["milk", "bread", "fuel", "new"][i % 4],
            INSTANT - timedelta(days=120) + timedelta(seconds=(i // 3) * 93_311, microseconds=i),
            store=f"s{i % 3}",
            quantity=i % 5 if i % 41 else 9_000,
            sales=(i * 37 % 997) / 100,
            discount=(i * 13 % 101) / 100,
            coupon=(i % 11) / 10 if i % 5 == 0 else 0.0,
            match=(i % 3) / 10 if i % 5 == 0 else 0.0,
        )
        for i in range(400)
    ]
    return {**marts, "lines": pl.concat([marts["lines"], lines_of(rows)])}


@pytest.mark.parametrize("name", list(FEATURE_SETS))
def test_polars_engines_agree(name: str, busy: Marts) -> None:
    assert_frame_equal(
        collected(name, busy, AS_OFS, engine="streaming"),
        collected(name, busy, AS_OFS, engine="in-memory"),
        check_exact=True,
    )


@pytest.mark.parametrize("name", list(FEATURE_SETS))
def test_duckdb_agrees(name: str, busy: Marts, connection: duckdb.DuckDBPyConnection) -> None:
    # Neither the session's zone nor its order of rows may show.
    connection.execute("set timezone = 'Asia/Tokyo'")
    relations = {n: connection.from_arrow(frame.to_arrow()) for n, frame in busy.items()}
    answer = in_order(name, compute(name, relations, AS_OFS).pl())
    assert_frame_equal(answer, collected(name, busy, AS_OFS), check_exact=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(FEATURE_SETS))
def test_spark_agrees(name: str, busy: Marts, spark: Any) -> None:
    frames = {n: in_spark(spark, frame) for n, frame in busy.items()}
    answer = in_order(name, pl.from_arrow(compute(name, frames, AS_OFS).toArrow()))
    assert_frame_equal(answer, collected(name, busy, AS_OFS), check_exact=True)


def test_labels_agree_on_duckdb(busy: Marts, connection: duckdb.DuckDBPyConnection) -> None:
    relation = connection.from_arrow(busy["lines"].to_arrow())
    order = ["known_at", "household_id", "product_id"]
    expected = purchases(busy["lines"].lazy(), AS_OFS).collect().sort(order)
    assert expected.height > 0
    assert_frame_equal(purchases(relation, AS_OFS).pl().sort(order), expected, check_exact=True)


@pytest.mark.slow
def test_labels_agree_on_spark(busy: Marts, spark: Any) -> None:
    order = ["known_at", "household_id", "product_id"]
    expected = purchases(busy["lines"].lazy(), AS_OFS).collect().sort(order)
    answer = purchases(in_spark(spark, busy["lines"]), AS_OFS).toArrow()
    assert_frame_equal(pl.from_arrow(answer).sort(order), expected, check_exact=True)


def in_spark(spark: Any, frame: pl.DataFrame) -> Any:
    return spark.createDataFrame(frame.to_arrow())
