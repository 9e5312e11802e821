from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.ranking import basket_history as blocks
from models.ranking.neighbours import TifuParams, UpcfParams, tifu_knn, up_cf

SCHEMA = {
    "household_id": pl.String,
    "product_id": pl.String,
    "basket_id": pl.String,
    "at": pl.Int64,
}


def lines(**households: list[str]) -> pl.DataFrame:
    """One letter per product, one text per basket, oldest first."""
    rows = [
        (household, product, f"{household}{at}", at)
        for household, baskets in households.items()
        for at, basket in enumerate(baskets)
        for product in basket
    ]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def scores(frame: pl.DataFrame, household: str) -> dict[str, float]:
    mine = frame.filter(pl.col("household_id") == household)
    assert mine["rank"].to_list() == list(range(1, mine.height + 1))
    return dict(mine.select("product_id", "score").rows())


def test_tifu_by_hand() -> None:
    # ann: three baskets in groups of two from the latest: [a, ab] and, oldest, [c].
    # Newest group: a = (1 + .5)/2, b = 1/2. Oldest: c = 1. u = (group0 + .8*group1)/2:
    # a .375, b .25, c .4.
    # bob: one group [b, a]: (b*.5 + a)/2: a .5, b .25; cat: d 1.
    history = lines(ann=["c", "a", "ab"], bob=["b", "a"], cat=["d"])
    params = TifuParams(m=2, r_b=0.5, r_g=0.8, k=1, alpha=0.6)
    found = tifu_knn(history, limit=4, params=params)
    # ann's nearest is bob (.125^2 + .4^2), bob's is ann; each blends .6 own with .4 of the other.
    assert scores(found, "ann") == pytest.approx(
        {"a": 0.6 * 0.375 + 0.4 * 0.5, "b": 0.25, "c": 0.24}, rel=1e-4
    )
    assert scores(found, "bob") == pytest.approx(
        {"a": 0.6 * 0.5 + 0.4 * 0.375, "b": 0.25, "c": 0.16}, rel=1e-4
    )
    # cat's nearest is bob: |bob|^2 = .3125 against |ann|^2 = .363.
    assert scores(found, "cat") == pytest.approx({"d": 0.6, "a": 0.2, "b": 0.1}, rel=1e-4)


def test_up_cf_by_hand() -> None:
    # r = 2: ann's last two baskets are ab, a. Sizes: ann 3 (a, b, c), bob 2 (a, b), cat 1 (d).
    history = lines(ann=["c", "ab", "a"], bob=["ab"], cat=["d"])
    params = UpcfParams(r=2, alpha=0.5, q=2.0)
    found = up_cf(history, limit=4, params=params)
    # sim(ann, bob)^2 = (2/sqrt(6))^2 = 2/3; bob's popularity is 1 for a and b.
    assert scores(found, "ann") == pytest.approx({"a": 1 + 2 / 3, "b": 0.5 + 2 / 3}, rel=1e-4)
    assert scores(found, "bob") == pytest.approx({"a": 1 + 2 / 3, "b": 1 + 1 / 3}, rel=1e-4)
    assert scores(found, "cat") == pytest.approx({"d": 1.0}, rel=1e-4)


def test_up_cf_similarity_is_asymmetric_by_hand() -> None:
    # alpha 1: |I_u & I_v| / |I_u|.
    history = lines(ann=["abc"], bob=["a"])
    found = up_cf(history, limit=4, params=UpcfParams(r=1, alpha=1.0, q=1.0))
    assert scores(found, "ann")["a"] == pytest.approx(1 + 1 / 3, rel=1e-4)
    assert scores(found, "bob") == pytest.approx({"a": 2.0, "b": 1.0, "c": 1.0}, rel=1e-4)


@pytest.mark.parametrize("method", [tifu_knn, up_cf])
def test_ties_go_by_product_id_and_a_line_printed_twice_counts_once(method) -> None:
    history = lines(ann=["cab", "bca"], bob=["d"])
    once = method(history, limit=2, households=pl.Series(["ann", "unknown"]))
    assert once["product_id"].to_list() == ["a", "b"]
    assert once["score"].n_unique() == 1
    twice = method(pl.concat([history, history]), limit=2, households=pl.Series(["ann"]))
    assert twice.equals(once)


@pytest.mark.parametrize("method", [tifu_knn, up_cf])
def test_one_household_with_one_basket(method) -> None:
    found = method(lines(ann=["ba"]), limit=5)
    assert found["product_id"].to_list() == ["a", "b"]
    assert found.schema == blocks.SCHEMA


@pytest.mark.parametrize("method", [tifu_knn, up_cf])
def test_nothing_bought_gives_nothing(method) -> None:
    assert method(lines(), limit=5).is_empty()


@pytest.mark.parametrize("method", [tifu_knn, up_cf])
def test_ids_of_households_without_a_history_here_have_no_row(method) -> None:
    history = lines(ann=["ab"], bob=["bc"], cat=["a"])
    coded = blocks.sorted_enums(history, ("household_id", "product_id"))
    cut = coded.filter(pl.col("household_id") != "bob")
    found = method(cut, limit=5)
    assert found["household_id"].unique().sort().to_list() == ["ann", "cat"]
    assert found["score"].is_finite().all()


def test_ten_thousand_baskets() -> None:
    history = lines(ann=["ab", "b"] * 5_000, bob=["c"])
    for method in (tifu_knn, up_cf):
        found = scores(method(history, limit=3), "ann")
        assert found["b"] > found["a"] > 0


@given(
    data=st.lists(
        st.tuples(st.integers(0, 8), st.integers(0, 12), st.integers(0, 6)), min_size=1, max_size=80
    ),
    seed=st.integers(0, 99),
)
@settings(max_examples=25, deadline=None)
def test_neither_row_order_nor_threads_nor_blocks_matter(data, seed) -> None:
    history = pl.DataFrame(
        [(f"h{h}", f"p{p:02}", f"b{h}-{b}", b) for h, p, b in data], schema=SCHEMA, orient="row"
    )
    shuffled = history.sample(fraction=1.0, shuffle=True, seed=seed)
    for method in (tifu_knn, up_cf):
        whole = method(history, limit=5)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(blocks, "BLOCK", 2)
            assert method(shuffled, limit=5, threads=2).equals(whole)
        one = history["household_id"].min()
        alone = method(history, limit=5, households=pl.Series([one]))
        assert alone.equals(whole.filter(pl.col("household_id") == one))


def test_tifu_agrees_with_a_plain_computation() -> None:
    rng = np.random.default_rng(4)
    history = pl.DataFrame(
        [
            (f"h{h}", f"p{p:02}", f"b{h}-{b}", b)
            for h in range(12)
            for b in range(int(rng.integers(1, 9)))
            for p in rng.choice(15, size=3, replace=False)
        ],
        schema=SCHEMA,
        orient="row",
    )
    params = TifuParams(m=3, r_b=0.9, r_g=0.7, k=4, alpha=0.7)
    found = tifu_knn(history, limit=15, params=params)
    vectors = np.zeros((12, 15))
    for h in range(12):
        mine = history.filter(pl.col("household_id") == f"h{h}")
        baskets = [
            set(part["product_id"])
            for _, part in mine.sort("at").group_by("at", maintain_order=True)
        ]
        groups = []
        while baskets:
            groups.append(baskets[-params.m :])
            baskets = baskets[: -params.m]
        for g, group in enumerate(groups):
            for j, basket in enumerate(reversed(group)):
                for product in basket:
                    weight = params.r_g**g * params.r_b**j / len(group) / len(groups)
                    vectors[h, int(product[1:])] += weight
    for h in range(12):
        distance = np.linalg.norm(vectors - vectors[h], axis=1)
        distance[h] = np.inf
        near = np.argsort(distance, kind="stable")[: params.k]
        want = params.alpha * vectors[h] + (1 - params.alpha) * vectors[near].mean(axis=0)
        got = scores(found, f"h{h}")
        assert got == pytest.approx({f"p{p:02}": s for p, s in enumerate(want) if s > 0}, rel=1e-4)


@pytest.mark.parametrize("wrong", [{"m": 0}, {"r_b": 0.0}, {"alpha": 1.5}, {"k": 0}])
def test_wrong_tifu_parameters_are_refused(wrong) -> None:
    with pytest.raises(ValueError, match="must be"):
        TifuParams(**wrong)


def test_wrong_up_cf_parameters_are_refused() -> None:
    with pytest.raises(ValueError, match="must be"):
        UpcfParams(q=0.0)
