from __future__ import annotations

import math
from datetime import date

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.evaluation.metrics import (
    calibration_error,
    mean_metrics,
    per_event,
    split_by_history,
)

WEEK = date(2017, 1, 9)
LATER = date(2017, 1, 16)


def ranking(lists: dict[str, list[str]], week: date = WEEK) -> pl.DataFrame:
    rows = [(h, week, p, i + 1) for h, ps in lists.items() for i, p in enumerate(ps)]
    return pl.DataFrame(
        rows,
        schema={
            "household_id": pl.String,
            "as_of": pl.Date,
            "product_id": pl.String,
            "rank": pl.Int32,
        },
        orient="row",
    )


def purchases(lists: dict[str, list[str]], week: date = WEEK) -> pl.DataFrame:
    return ranking(lists, week).drop("rank")


def test_by_hand() -> None:
    events = per_event(
        ranking({"ann": ["a", "b", "c"], "bob": ["a", "b", "c"], "idle": ["a"]}),
        purchases({"ann": ["b", "x"], "bob": ["z"], "absent": ["a"]}),
        k=3,
    )
    assert events.select("household_id", "bought", "hits", "recall", "hit").rows() == [
        ("absent", 1, 0, 0.0, 0.0),
        ("ann", 2, 1, 0.5, 1.0),
        ("bob", 1, 0, 0.0, 0.0),
    ]
    ndcg = (1 / math.log2(3)) / (1 / math.log2(2) + 1 / math.log2(3))
    assert events["ndcg"].to_list() == pytest.approx([0.0, ndcg, 0.0])
    assert mean_metrics(events, k=3) == pytest.approx(
        {"recall@3": 0.5 / 3, "ndcg@3": ndcg / 3, "phr@3": 1 / 3}
    )


def test_the_cut_off_counts() -> None:
    events = per_event(ranking({"ann": ["x", "y", "a"]}), purchases({"ann": ["a"]}), k=2)
    assert events.select("recall", "ndcg", "hit").row(0) == (0.0, 0.0, 0.0)


def test_the_ideal_list_is_no_longer_than_what_was_bought() -> None:
    events = per_event(ranking({"ann": ["a", "x", "y"]}), purchases({"ann": ["a"]}), k=3)
    assert events["ndcg"].item() == pytest.approx(1.0)


def test_weeks_are_events_of_their_own() -> None:
    events = per_event(
        pl.concat([ranking({"ann": ["a"]}), ranking({"ann": ["a"]}, LATER)]),
        pl.concat([purchases({"ann": ["a"]}), purchases({"ann": ["b"]}, LATER)]),
        k=1,
    )
    assert events.select("as_of", "recall").rows() == [(WEEK, 1.0), (LATER, 0.0)]


def test_a_product_bought_twice_is_bought_once() -> None:
    events = per_event(ranking({"ann": ["a"]}), purchases({"ann": ["a", "a"]}), k=1)
    assert events.select("bought", "recall").row(0) == (1, 1.0)


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("product_id", ["a", "a"], "2 row.s. repeat a product"),
        ("rank", [1, 1], "2 a rank"),
        ("rank", [0, 1], "1 have a rank below 1"),
    ],
)
def test_a_malformed_ranking_is_refused(column: str, values: list, message: str) -> None:
    bad = ranking({"ann": ["a", "b"]})
    bad = bad.with_columns(pl.Series(column, values, dtype=bad.schema[column]))
    with pytest.raises(ValueError, match=message):
        per_event(bad, purchases({"ann": ["a"]}), k=2)


def test_no_event_has_no_mean() -> None:
    empty = per_event(ranking({"ann": ["a"]}), purchases({}), k=2)
    with pytest.raises(ValueError, match="no event with a purchase"):
        mean_metrics(empty, k=2)


def test_k_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="k is 0"):
        per_event(ranking({"ann": ["a"]}), purchases({"ann": ["a"]}), k=0)


HOUSEHOLDS = ["h1", "h2", "h3"]
PRODUCTS = list("abcdefgh")
lists = st.dictionaries(
    st.sampled_from(HOUSEHOLDS), st.lists(st.sampled_from(PRODUCTS), min_size=1, unique=True)
)
some = st.dictionaries(
    st.sampled_from(HOUSEHOLDS),
    st.lists(st.sampled_from(PRODUCTS), min_size=1, unique=True),
    min_size=1,
)


def naive(listed: dict[str, list[str]], bought: dict[str, list[str]], k: int) -> dict[str, float]:
    recalls, ndcgs, hits = [], [], []
    for household, truth in bought.items():
        top = listed.get(household, [])[:k]
        rel = [1 if product in truth else 0 for product in top]
        recalls.append(sum(rel) / len(truth))
        gain = sum(r / math.log2(i + 2) for i, r in enumerate(rel))
        ndcgs.append(gain / sum(1 / math.log2(i + 2) for i in range(min(k, len(truth)))))
        hits.append(float(any(rel)))
    n = len(bought)
    return {f"recall@{k}": sum(recalls) / n, f"ndcg@{k}": sum(ndcgs) / n, f"phr@{k}": sum(hits) / n}


@settings(max_examples=60, deadline=None)
@given(listed=lists, bought=some, k=st.integers(1, 9))
def test_agrees_with_a_naive_implementation(
    listed: dict[str, list[str]], bought: dict[str, list[str]], k: int
) -> None:
    events = per_event(ranking(listed), purchases(bought), k=k)
    assert mean_metrics(events, k=k) == pytest.approx(naive(listed, bought, k))
    for column in ("recall", "ndcg", "hit"):
        assert events[column].is_between(0.0, 1.0).all()


@settings(max_examples=30, deadline=None)
@given(bought=some, k=st.integers(1, 9))
def test_a_perfect_ranking_scores_one(bought: dict[str, list[str]], k: int) -> None:
    perfect = {h: [*ps, *(p for p in PRODUCTS if p not in ps)] for h, ps in bought.items()}
    means = mean_metrics(per_event(ranking(perfect), purchases(bought), k=k), k=k)
    assert means[f"ndcg@{k}"] == pytest.approx(1.0)
    assert means[f"phr@{k}"] == 1.0


@settings(max_examples=30, deadline=None)
@given(listed=lists, bought=some, seed=st.integers(0, 99))
def test_the_order_of_rows_means_nothing(
    listed: dict[str, list[str]], bought: dict[str, list[str]], seed: int
) -> None:
    straight = per_event(ranking(listed), purchases(bought), k=4)
    shuffled = per_event(
        ranking(listed).sample(fraction=1, shuffle=True, seed=seed),
        purchases(bought).sample(fraction=1, shuffle=True, seed=seed),
        k=4,
    )
    assert straight.equals(shuffled)


def test_calibration_error_by_hand() -> None:
    # Two of four at .1 with mean outcome 0, two at .9 with mean outcome .5.
    error = calibration_error(pl.Series([0.1, 0.1, 0.9, 0.9]), pl.Series([0, 0, 1, 0]))
    assert error == pytest.approx(0.5 * 0.1 + 0.5 * 0.4)


def test_a_calibrated_forecast_has_no_error() -> None:
    assert calibration_error(pl.Series([0.25] * 4), pl.Series([1, 0, 0, 0])) == 0.0


@settings(max_examples=30, deadline=None)
@given(
    pairs=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 1)), min_size=1, max_size=30),
    bins=st.integers(1, 20),
)
def test_calibration_error_agrees_with_a_naive_one(
    pairs: list[tuple[float, int]], bins: int
) -> None:
    groups: dict[int, list[tuple[float, int]]] = {}
    for p, y in pairs:
        groups.setdefault(min(math.floor(p * bins), bins - 1), []).append((p, y))
    want = sum(
        len(g) / len(pairs) * abs(sum(p for p, _ in g) / len(g) - sum(y for _, y in g) / len(g))
        for g in groups.values()
    )
    got = calibration_error(
        pl.Series([p for p, _ in pairs]), pl.Series([y for _, y in pairs]), bins=bins
    )
    assert got == pytest.approx(want, abs=1e-12)
    assert 0.0 <= got <= 1.0


@pytest.mark.parametrize("bad", [[0.5, 1.5], [0.5, None], [0.5, float("nan")]])
def test_calibration_refuses_what_is_no_probability(bad: list) -> None:
    with pytest.raises(ValueError, match="have a probability outside"):
        calibration_error(pl.Series(bad), pl.Series([0, 1]))


def test_repeat_and_explore_by_hand() -> None:
    lines = pl.LazyFrame(
        {
            "household_id": ["ann", "ann", "bob"],
            "product_id": ["a", "b", "c"],
            "week_start": [date(2017, 1, 2), WEEK, date(2017, 1, 2)],
        }
    )
    bought = purchases({"ann": ["a", "b", "c"]})
    repeat, explore = split_by_history(bought, lines)
    assert repeat["product_id"].to_list() == ["a"]
    assert sorted(explore["product_id"]) == ["b", "c"]
