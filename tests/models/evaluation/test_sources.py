from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.evaluation.sources import (
    candidate_events,
    overlap_table,
    source_table,
    sources_of,
)
from tests.models.evaluation.test_metrics import LATER, purchases

SOURCES = {"personal": "personal_rank", "global": "global_rank"}


def candidates() -> pl.DataFrame:
    return purchases({"ann": ["a", "b", "c"], "bob": ["a"]}).with_columns(
        personal_rank=pl.Series([1, 2, None, None], dtype=pl.Int32),
        global_rank=pl.Series([None, 1, 2, 1], dtype=pl.Int32),
    )


BOUGHT = purchases({"ann": ["a", "b", "x", "y"], "bob": ["a"], "new": ["q"]})


def test_sources_are_the_rank_columns() -> None:
    assert sources_of(["as_of", "personal_rank", "score", "knn_rank"]) == {
        "personal": "personal_rank",
        "knn": "knn_rank",
    }


def test_recall_and_size_by_hand() -> None:
    events = candidate_events(candidates(), BOUGHT, sources=SOURCES)
    found = source_table(events, sources=tuple(SOURCES), seconds={"personal": 1.5})
    assert found["source"].to_list() == ["personal", "global", "union"]
    assert found["recall"].to_list() == pytest.approx([0.5 / 3, 1.25 / 3, 1.5 / 3])
    assert found["share"].to_list() == pytest.approx([2 / 6, 2 / 6, 3 / 6])
    assert found["candidates_per_event"].to_list() == [1.0, 1.5, 2.0]
    # bob has no personal candidate, and nobody proposed to the new household.
    assert found["empty_rate"].to_list() == pytest.approx([2 / 3, 1 / 3, 1 / 3])
    assert found["seconds"].to_list() == [1.5, None, None]


def test_overlap_by_hand() -> None:
    events = candidate_events(candidates(), BOUGHT, sources=SOURCES)
    (row,) = overlap_table(events, sources=tuple(SOURCES)).to_dicts()
    assert (row["source"], row["other"], row["both"]) == ("personal", "global", 1)
    assert row["jaccard"] == pytest.approx(1 / 4)
    assert (row["of_source"], row["of_other"]) == pytest.approx((1 / 2, 1 / 3))


def test_nothing_proposed_is_no_error() -> None:
    events = candidate_events(candidates().clear(), BOUGHT, sources=SOURCES)
    found = source_table(events, sources=tuple(SOURCES))
    assert found["recall"].to_list() == [0.0, 0.0, 0.0]
    assert found["empty_rate"].to_list() == [1.0, 1.0, 1.0]
    assert overlap_table(events, sources=tuple(SOURCES))["jaccard"].to_list() == [0.0]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 999))
def test_weeks_counted_apart_give_the_same(seed: int) -> None:
    both = pl.concat([candidates(), candidates().with_columns(as_of=pl.lit(LATER))])
    both = both.sample(fraction=0.7, seed=seed, shuffle=True)
    bought = pl.concat([BOUGHT, BOUGHT.with_columns(as_of=pl.lit(LATER))])
    whole = candidate_events(both, bought, sources=SOURCES)
    apart = pl.concat(
        candidate_events(
            both.filter(pl.col("as_of") == week),
            bought.filter(pl.col("as_of") == week),
            sources=SOURCES,
        )
        for week in bought["as_of"].unique().sort()
    )
    assert whole.equals(apart)
    table = source_table(whole, sources=tuple(SOURCES))
    union = table.row(by_predicate=pl.col("source") == "union", named=True)
    for row in table.to_dicts():
        assert row["recall"] <= union["recall"] + 1e-12
        assert row["empty_rate"] >= union["empty_rate"] - 1e-12
