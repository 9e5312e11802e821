from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.ranking.basket_history import basket_history, basket_log, best_of_blocks, sorted_enums

LINES = pl.DataFrame(
    [
        ("bob", "milk", "b1", 5),
        ("ann", "tea", "a2", 2),
        ("ann", "tea", "a2", 2),
        ("ann", "milk", "a2", 2),
        ("ann", "tea", "a1", 1),
        # Two baskets at one time go by basket id; one basket's lines may differ in time.
        ("ann", "ham", "a4", 3),
        ("ann", "tea", "a3", 3),
        ("ann", "ham", "a3", 2),
    ],
    schema={
        "household_id": pl.String,
        "product_id": pl.String,
        "basket_id": pl.String,
        "at": pl.Int64,
    },
    orient="row",
)


def test_baskets_are_numbered_back_from_the_latest() -> None:
    history = basket_history(LINES)
    assert history.households.to_list() == ["ann", "bob"]
    assert history.products.to_list() == ["ham", "milk", "tea"]
    assert history.baskets.tolist() == [4, 1]
    rows = list(zip(history.household, history.product, history.ago, strict=True))
    assert rows == [(0, 0, 0), (0, 0, 1), (0, 1, 2), (0, 2, 1), (0, 2, 2), (0, 2, 3), (1, 1, 0)]


def test_matrix_sums_weights_per_pair() -> None:
    history = basket_history(LINES)
    assert history.matrix(np.ones(7)).toarray().tolist() == [[2, 1, 3], [0, 1, 0]]
    assert history.matrix(history.ago.astype(float)).toarray().tolist() == [[1, 2, 6], [0, 0, 0]]


def test_enums_give_the_same_numbers() -> None:
    coded = sorted_enums(LINES, ("household_id", "product_id", "basket_id"))
    plain, enums = basket_history(LINES), basket_history(coded)
    for name in ("household", "product", "ago", "baskets"):
        assert np.array_equal(getattr(plain, name), getattr(enums, name))
    assert plain.products.to_list() == enums.products.to_list()


@given(
    lines=st.lists(
        st.tuples(
            st.sampled_from("ab"), st.sampled_from("xyz"), st.integers(0, 5), st.integers(0, 3)
        ),
        max_size=30,
    ),
    first=st.integers(0, 6),
    end=st.integers(0, 9),
)
def test_a_cut_of_a_log_is_the_history_of_what_is_cut(
    lines: list[tuple[str, str, int, int]], first: int, end: int
) -> None:
    # A basket's lines may lie hours apart, here and there beyond the cut.
    frame = pl.DataFrame(
        [(who, what, f"b{basket}", basket + late) for who, what, basket, late in lines],
        schema=LINES.schema,
        orient="row",
    )
    begins = pl.col("at").min().over("household_id", "basket_id")
    frame = frame.filter(begins >= first)
    plain = basket_history(frame.filter(pl.col("at") < end))
    cut = basket_log(frame).cut(pl.col("at") < end, pl.col("at") >= first)
    for name in ("household", "product", "ago", "baskets"):
        assert np.array_equal(getattr(plain, name), getattr(cut, name)), name
    assert plain.products.to_list() == cut.products.to_list()
    assert plain.households.to_list() == cut.households.to_list()


def test_a_missing_value_is_refused_by_a_log() -> None:
    with pytest.raises(ValueError, match="product_id"):
        basket_log(LINES.with_columns(pl.lit(None, dtype=pl.String).alias("product_id")))


def test_an_empty_history_is_allowed() -> None:
    history = basket_history(LINES.clear())
    assert history.shape == (0, 0)
    nothing = best_of_blocks(
        history, lambda block: np.zeros((0, len(block))), households=None, limit=3, threads=1
    )
    assert nothing.is_empty()


def test_a_missing_value_is_refused() -> None:
    with pytest.raises(ValueError, match="basket_id"):
        basket_history(LINES.with_columns(pl.lit(None, dtype=pl.String).alias("basket_id")))


def test_the_best_are_exact_whatever_the_guess(monkeypatch: pytest.MonkeyPatch) -> None:
    from models.ranking import basket_history as module

    rng = np.random.default_rng(3)
    lines = pl.DataFrame(
        {
            "household_id": [f"h{i:02}" for i in rng.integers(20, size=900)],
            "product_id": [f"p{i:03}" for i in rng.integers(60, size=900)],
            "basket_id": [f"b{i}" for i in range(900)],
            "at": list(range(900)),
        }
    )
    history = basket_history(lines)
    # Many ties, zeros and negative scores.
    table = rng.integers(-3, 6, size=history.shape[::-1]).astype(np.float32)
    want = []
    for h, household in enumerate(history.households):
        order = sorted((-s, p) for p, s in enumerate(table[:, h]) if s > 0)[:7]
        want += [(household, history.products[p], rank, -s) for rank, (s, p) in enumerate(order, 1)]
    for guessed in (7, 20, 4096):
        monkeypatch.setattr(module, "GUESSED_FROM", guessed)
        got = best_of_blocks(
            history, lambda block: table[:, block], households=None, limit=7, threads=2
        )
        assert got.rows() == want


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="limit of 1"):
        best_of_blocks(
            basket_history(LINES),
            lambda block: np.zeros((3, len(block)), np.float32),
            households=None,
            limit=0,
            threads=1,
        )
