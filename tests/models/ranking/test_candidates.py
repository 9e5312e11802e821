from __future__ import annotations

from datetime import date, datetime, time

import polars as pl
import pytest

from checks.contracts.contract import validate
from checks.contracts.ranking import CANDIDATES
from models.ranking.candidates import candidates, unite
from models.ranking.order import OrderBy, top

W1, W2 = date(2017, 1, 9), date(2017, 1, 16)
ANN, BOB, NEW = "ann000000000", "bob000000000", "new000000000"


def households(*rows: tuple[str, date]) -> pl.LazyFrame:
    return pl.LazyFrame(
        [(h, w, datetime.combine(w, time(hour=5))) for h, w in rows],
        schema={"household_id": pl.String, "as_of": pl.Date, "known_at": pl.Datetime("us")},
        orient="row",
    )


def pairs(*rows: tuple[str, str, date, int, float | None]) -> pl.LazyFrame:
    return pl.LazyFrame(
        list(rows),
        schema={
            "household_id": pl.String,
            "product_id": pl.String,
            "as_of": pl.Date,
            "count": pl.Int32,
            "days": pl.Float32,
        },
        orient="row",
    )


def products(*rows: tuple[str, date, int]) -> pl.LazyFrame:
    return pl.LazyFrame(
        list(rows),
        schema={"product_id": pl.String, "as_of": pl.Date, "homes": pl.Int32},
        orient="row",
    )


def build(personal: int = 2, everybody: int = 2) -> pl.DataFrame:
    return candidates(
        households=households((ANN, W1), (BOB, W1), (NEW, W1), (ANN, W2)),
        household_product=pairs(
            (ANN, "tea", W1, 3, 9.0),
            (ANN, "milk", W1, 3, 2.0),
            (ANN, "bread", W1, 1, 1.0),
            (BOB, "soap", W1, 2, 5.0),
            (BOB, "salt", W1, 2, 5.0),
            (BOB, "never", W1, 0, None),
            (ANN, "tea", W2, 4, 1.0),
        ),
        product=products(("milk", W1, 9), ("eggs", W1, 5), ("ham", W1, 5), ("jam", W2, 7)),
        personal_order=(OrderBy("count"), OrderBy("days", descending=False)),
        global_order=(OrderBy("homes"),),
        personal_limit=personal,
        global_limit=everybody,
    ).collect()


def listed(frame: pl.DataFrame, household: str, week: date) -> list[tuple[str, str, int, int]]:
    return (
        frame.filter((pl.col("household_id") == household) & (pl.col("as_of") == week))
        .select("product_id", "source", "personal_rank", "global_rank")
        .rows()
    )


def test_union_of_sources_by_hand() -> None:
    frame = build()
    # milk was bought as often as tea, but later; eggs and ham tie and eggs comes first.
    assert listed(frame, ANN, W1) == [
        ("eggs", "global", None, 2),
        ("milk", "personal", 1, 1),
        ("tea", "personal", 2, None),
    ]
    assert listed(frame, BOB, W1) == [
        ("eggs", "global", None, 2),
        ("milk", "global", None, 1),
        ("salt", "personal", 1, None),
        ("soap", "personal", 2, None),
    ]
    assert listed(frame, ANN, W2) == [
        ("jam", "global", None, 1),
        ("tea", "personal", 1, None),
    ]


def test_a_household_without_history_gets_the_global_ones() -> None:
    assert [row[0] for row in listed(build(), NEW, W1)] == ["eggs", "milk"]


def test_score_is_the_sum_of_reciprocal_ranks() -> None:
    score = dict(
        build()
        .filter((pl.col("household_id") == ANN) & (pl.col("as_of") == W1))
        .select("product_id", "score")
        .rows()
    )
    assert score["milk"] == pytest.approx(1 / 61 + 1 / 61)
    assert score["tea"] == pytest.approx(1 / 62)


def test_one_row_per_pair_that_satisfies_the_contract() -> None:
    frame = build(personal=5, everybody=5)
    assert not frame.select("household_id", "product_id", "as_of").is_duplicated().any()
    assert "never" not in frame["product_id"]
    report = validate(frame, CANDIDATES)
    assert report.passed, str(report)


def test_known_at_comes_from_the_household() -> None:
    assert build().filter(pl.col("as_of") == W2)["known_at"].unique().to_list() == [
        datetime.fromisoformat("2017-01-16T05:00")
    ]


def test_a_third_source_needs_no_other_code() -> None:
    third = products(("cola", W1, 1)).select("product_id", "as_of", rank=pl.lit(1, pl.Int32))
    frame = unite(households((ANN, W1)), {"promoted": third}).collect()
    assert frame.select("product_id", "source", "promoted_rank").rows() == [("cola", "promoted", 1)]


def test_no_source_is_refused() -> None:
    with pytest.raises(ValueError, match="no candidate source"):
        unite(households((ANN, W1)), {})


@pytest.mark.parametrize("limit", [1, 2, 3, 10])
@pytest.mark.parametrize("descending", [True, False])
def test_top_agrees_with_a_plain_sort(limit: int, descending: bool) -> None:
    frame = pl.DataFrame(
        {
            "g": [i % 5 for i in range(200)],
            "a": [None if i % 17 == 0 else (i * 7) % 6 for i in range(200)],
            "product_id": [f"p{(i * 37) % 200:03}" for i in range(200)],
        }
    )
    got = top(
        frame.lazy(), group=("g",), order=(OrderBy("a", descending=descending),), limit=limit
    ).collect()
    want = (
        frame.sort("g", "a", "product_id", descending=[False, descending, False], nulls_last=True)
        .group_by("g", maintain_order=True)
        .head(limit)
    )
    assert got.select("g", "a", "product_id").equals(want)
    assert (
        got.group_by("g").agg(pl.col("rank"))["rank"].to_list() == [list(range(1, limit + 1))] * 5
    )


def test_top_keeps_null_rows_of_a_short_group() -> None:
    frame = pl.LazyFrame({"g": [1, 1], "a": [None, 2.0], "product_id": ["x", "y"]})
    assert top(frame, group=("g",), order=(OrderBy("a"),), limit=3).collect()[
        "product_id"
    ].to_list() == ["y", "x"]


def test_top_refuses_a_limit_of_zero() -> None:
    with pytest.raises(ValueError, match="limit 0"):
        top(pl.LazyFrame({"product_id": ["x"]}), group=(), order=(OrderBy("x"),), limit=0)
