from __future__ import annotations

from datetime import datetime

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from models.ranking.offers import ranked_offers
from tests.models.ranking.conftest import weeks


def scored(sizes: list[int], *, levels: int, seed: int) -> pl.DataFrame:
    """Events of the given sizes, with scores of a few levels so that many are tied."""
    rng = np.random.default_rng(seed)
    return pl.DataFrame(
        [
            (
                f"hh{event // 2:03}",
                f"p{p:03}",
                weeks(event % 2)[0],
                datetime.fromisoformat("2017-01-02"),
                "personal",
                float(rng.integers(levels)),
            )
            for event, size in enumerate(sizes)
            for p in rng.permutation(size)
        ],
        schema={
            "household_id": pl.String,
            "product_id": pl.String,
            "as_of": pl.Date,
            "known_at": pl.Datetime("us"),
            "source": pl.String,
            "score": pl.Float64,
        },
        orient="row",
    )


def plainly(frame: pl.DataFrame, k: int) -> list[tuple]:
    kept: dict[tuple, int] = {}
    rows = []
    order = sorted(
        frame.select("as_of", "household_id", "score", "product_id").rows(),
        key=lambda row: (row[0], row[1], -row[2], row[3]),
    )
    for as_of, household, score, product in order:
        rank = kept[as_of, household] = kept.get((as_of, household), 0) + 1
        if rank <= k:
            rows.append((as_of, household, rank, product, score))
    return rows


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 12), max_size=12),
    levels=st.integers(1, 30),
    k=st.integers(1, 6),
    seed=st.integers(0, 99),
    shuffled=st.booleans(),
)
def test_as_a_plain_sort(
    sizes: list[int], levels: int, k: int, seed: int, *, shuffled: bool
) -> None:
    frame = scored(sizes, levels=levels, seed=seed)
    if shuffled:
        frame = frame.sample(fraction=1.0, shuffle=True, seed=seed)
    offers = ranked_offers(frame, k=k, model_version="m")
    columns = ["as_of", "household_id", "rank", "product_id", "score"]
    assert offers.select(columns).rows() == plainly(frame, k)


def test_no_candidates_no_offers() -> None:
    assert ranked_offers(scored([], levels=1, seed=0), k=3, model_version="m").is_empty()


def test_one_household_with_ten_thousand_candidates() -> None:
    frame = scored([3, 10_000, 1], levels=50, seed=1)
    offers = ranked_offers(frame, k=10, model_version="m")
    assert offers.height == 14
    columns = ["as_of", "household_id", "rank", "product_id", "score"]
    assert offers.select(columns).rows() == plainly(frame, 10)
