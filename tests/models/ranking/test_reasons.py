"""Reasons: contributions that sum to the score, grouped into ideas, said with the row's values."""

from __future__ import annotations

import time
from datetime import date

import numpy as np
import polars as pl
import pytest
import xgboost as xgb
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from checks.contracts.ranking import MAX_REASON_TEXT
from models.ranking import xgboost_ranker
from models.ranking.inputs import FEATURES
from models.ranking.reasons import (
    IDEAS,
    MAX_REASONS,
    OTHER,
    SEPARATOR,
    by_idea,
    contributions,
    explained,
    grouping,
    idea_of,
    reasons,
)

NAMES = FEATURES.names
# A request must not wait for its explanation.
SLOWEST_REQUEST_MS = 25.0


def train(names: tuple[str, ...], *, seed: int = 1, rounds: int = 12) -> xgb.Booster:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(600, len(names))).astype(np.float32)
    rows[rng.random(rows.shape) < 0.2] = np.nan
    label = (np.nan_to_num(rows[:, 0]) + np.nan_to_num(rows[:, -1]) > 0.5).astype(np.float32)
    data = xgb.DMatrix(rows, label=label, feature_names=list(names), nthread=1)
    data.set_group([20] * 30)
    params = {"objective": "rank:ndcg", "max_depth": 4, "nthread": 1, "seed": seed}
    return xgb.train(params, data, num_boost_round=rounds)


@pytest.fixture(scope="module")
def booster() -> xgb.Booster:
    return train(NAMES)


@settings(deadline=None, max_examples=40)
@given(
    matrix=arrays(
        np.float32,
        st.tuples(st.integers(1, 12), st.just(len(NAMES))),
        elements=st.floats(-4, 400, width=32) | st.just(np.nan),
    )
)
def test_contributions_sum_to_the_score(booster: xgb.Booster, matrix: np.ndarray) -> None:
    score = xgboost_ranker.score(booster, matrix)
    parts = contributions(booster, matrix)
    assert parts.shape == (len(matrix), len(NAMES) + 1)
    np.testing.assert_allclose(parts.astype(np.float64).sum(axis=1), score, atol=1e-5)
    grouped = by_idea(parts, grouping(NAMES))
    np.testing.assert_allclose(grouped.sum(axis=1), score, atol=1e-5)


@settings(deadline=None, max_examples=40)
@given(
    matrix=arrays(
        np.float32,
        st.tuples(st.integers(1, 12), st.just(len(NAMES))),
        elements=st.floats(0, 400, width=32) | st.just(np.nan),
    )
)
def test_a_row_has_few_different_reasons_and_only_ideas_that_raised_it(
    booster: xgb.Booster, matrix: np.ndarray
) -> None:
    raised = by_idea(contributions(booster, matrix), grouping(NAMES))[:, :-1] > 0
    for said, positive in zip(
        reasons(booster, matrix, features=NAMES), raised.sum(axis=1), strict=True
    ):
        assert len(said) <= min(MAX_REASONS, positive)
        assert len(set(said)) == len(said)
        assert all("nan" not in text and "{" not in text for text in said)


def test_every_feature_of_the_ranker_says_a_named_idea() -> None:
    assert [name for name in NAMES if idea_of(name) is OTHER] == []


@pytest.mark.parametrize(
    ("feature", "idea"),
    [
        ("hp_baskets_364d", "habit"),
        ("personal_rank", "habit"),
        ("hp_recency_over_interval", "due-ness"),
        ("hp_days_between_purchases", "due-ness"),
        ("hp_days_since_last_purchase", "recency"),
        ("hp_last_unit_price", "price"),
        ("p_unit_price_91d", "price"),
        ("hp_discount_share_364d", "savings"),
        ("hh_coupon_share_91d", "household"),
        ("p_households_28d", "popularity"),
        ("p_repeat_rate_364d", "loyal buyers"),
        ("p_baskets_trend", "trend"),
        ("hh_spend_91d", "household"),
        ("hc_purchases_364d", "category habit"),
        ("substitute_rank", "category habit"),
        ("plan_display", "promotion"),
        ("promoted_rank", "promotion"),
        ("sp_mailer_weeks_28d", "promotion"),
        ("sp_households_28d", "own store"),
        ("store_rank", "own store"),
        ("sp_discount_share_91d", "savings"),
        ("sp_last_unit_price", "price"),
        ("coupon_rank", "coupon"),
        ("neighbours_score", "neighbours"),
        ("tifu_knn_rank", "neighbours"),
        ("als_score", "neighbours"),
        ("score", "standing"),
        ("something_unheard_of", "other"),
    ],
)
def test_features_fall_into_ideas(feature: str, idea: str) -> None:
    assert idea_of(feature).name == idea


def test_names_of_ideas_are_their_own() -> None:
    assert len({idea.name for idea in IDEAS}) == len(IDEAS)


def one_feature_model(name: str, *others: str) -> xgb.Booster:
    """A booster whose score rises with the first feature alone, also when it is missing."""
    value = np.tile(np.arange(40, dtype=np.float32), 10)
    value[::7] = np.nan
    label = np.where(np.isnan(value), 60.0, value)
    rows = np.column_stack([value, *(np.zeros_like(value) for _ in others)])
    data = xgb.DMatrix(rows, label=label, feature_names=[name, *others], nthread=1)
    return xgb.train({"max_depth": 6, "eta": 0.5, "nthread": 1}, data, num_boost_round=10)


@pytest.mark.parametrize(
    ("names", "row", "text"),
    [
        (("hp_baskets_364d",), [36.0], "Bought in 36 baskets this year"),
        (("hp_baskets_364d",), [np.nan], "Something new: not bought this year"),
        (
            ("hp_days_between_purchases", "hp_days_since_last_purchase"),
            [35.2, 36.4],
            "Usually bought every 35 days, last 36 days ago",
        ),
        (("hp_days_between_purchases",), [np.nan], "How regularly you buy it"),
        (("hp_days_since_last_purchase",), [33.0], "Last bought 33 days ago"),
        (("p_households_28d",), [39.0], "Bought by 39 households in the last four weeks"),
        (("plan_display",), [39.0], "On display in your store this week"),
        (("plan_mailer_stores",), [39.0], "In the mailer of 39 stores this week"),
        (("plan_unheard_of",), [39.0], "How it is promoted"),
        (
            ("sp_households_28d",),
            [39.0],
            "Bought by 39 households in your store in the last four weeks",
        ),
        (("hc_purchases_364d",), [39.0], "This kind was bought 39 times this year"),
        (("coupon_rank",), [39.0], "You have a coupon for it"),
        (("neighbours_score",), [39.0], "Households that shop like you buy it"),
        (("unheard_of",), [39.0], "Fits what you buy"),
    ],
)
def test_texts_use_the_rows_own_values(names: tuple[str, ...], row: list[float], text: str) -> None:
    model = one_feature_model(*names)
    matrix = np.array([row], dtype=np.float32)
    assert reasons(model, matrix, features=names) == [[text]]


def test_what_lowers_the_score_is_no_reason() -> None:
    model = one_feature_model("hp_baskets_364d")
    assert reasons(model, np.array([[2.0]], dtype=np.float32), features=("hp_baskets_364d",)) == [
        []
    ]


def test_no_rows_have_no_reasons(booster: xgb.Booster) -> None:
    assert reasons(booster, np.zeros((0, len(NAMES)), dtype=np.float32), features=NAMES) == []


def test_a_request_is_explained_in_milliseconds(booster: xgb.Booster) -> None:
    rng = np.random.default_rng(3)
    matrix = rng.random((10, len(NAMES)), dtype=np.float32) * 30
    reasons(booster, matrix, features=NAMES)
    took = []
    for _ in range(30):
        started = time.perf_counter()
        reasons(booster, matrix, features=NAMES)
        took.append((time.perf_counter() - started) * 1e3)
    assert float(np.median(took)) < SLOWEST_REQUEST_MS


def test_stored_offers_carry_their_reasons_and_probabilities() -> None:
    names = ("hp_baskets_364d",)
    model = one_feature_model(*names)
    event = {"as_of": date(2017, 1, 2), "household_id": "ann"}
    examples = pl.DataFrame(
        [event | {"product_id": p, names[0]: v} for p, v in (("a", 36.0), ("b", 2.0), ("c", 38.0))],
        schema_overrides={names[0]: pl.Float32},
    )
    offers = pl.DataFrame([event | {"product_id": p, "rank": i} for p, i in (("c", 1), ("b", 2))])
    told = explained(offers, examples, booster=model)
    assert told["product_id"].to_list() == ["c", "b"]
    assert told["reasons"].to_list() == ["Bought in 38 baskets this year", None]
    assert told["probability"].to_list() == [None, None]
    assert told.schema["probability"] == pl.Float64
    told = explained(offers, examples, booster=model, probability=lambda rows: rows[names[0]] / 100)
    assert told["probability"].to_list() == pytest.approx([0.38, 0.02])
    with pytest.raises(ValueError, match="2 offers, of which 1 have features"):
        explained(offers, examples.head(2), booster=model)


def test_joined_reasons_fit_their_column() -> None:
    texts = [p.text for idea in (*IDEAS, OTHER) for p in idea.phrases]
    texts += [idea.otherwise for idea in (*IDEAS, OTHER)]
    # Values add a few digits.
    longest = MAX_REASONS * (max(map(len, texts)) + 20) + len(SEPARATOR) * (MAX_REASONS - 1)
    assert longest <= MAX_REASON_TEXT
