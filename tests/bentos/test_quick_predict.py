"""Predicting through the C API: what ``inplace_predict`` gives, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
import xgboost as xgb
from hypothesis import given, settings
from hypothesis import strategies as st

from bentos.quick_predict import predict

WIDTH = 5


@pytest.fixture(scope="module")
def booster() -> xgb.Booster:
    rng = np.random.default_rng(1)
    rows = rng.gamma(1.0, 10.0, size=(500, WIDTH)).astype(np.float32)
    rows[rng.random(rows.shape) < 0.2] = np.nan
    data = xgb.DMatrix(rows, label=np.nansum(rows, axis=1))
    return xgb.train({"max_depth": 4, "nthread": 1}, data, num_boost_round=20)


@settings(max_examples=50, deadline=None)
@given(
    rows=st.integers(1, 40),
    seed=st.integers(0, 1000),
    missing=st.floats(0, 1),
    step=st.sampled_from([1, 2]),
)
def test_bit_for_bit(booster: xgb.Booster, rows: int, seed: int, missing: float, step: int) -> None:
    rng = np.random.default_rng(seed)
    matrix = rng.normal(10, 30, size=(rows, WIDTH)).astype(np.float32)
    matrix[rng.random(matrix.shape) < missing] = np.nan
    matrix = matrix[::step]
    expected = booster.inplace_predict(matrix, validate_features=False)
    assert predict(booster, matrix).tobytes() == expected.tobytes()


def test_what_does_not_fit_is_refused(booster: xgb.Booster) -> None:
    with pytest.raises(ValueError, match="float64"):
        predict(booster, np.zeros((2, WIDTH)))
    with pytest.raises(xgb.core.XGBoostError, match=r"[Ff]eature|column|shape"):
        predict(booster, np.zeros((2, WIDTH - 1), dtype=np.float32))


def test_an_answer_is_not_overwritten_by_the_next(booster: xgb.Booster) -> None:
    one = np.full((3, WIDTH), 1.0, dtype=np.float32)
    first = predict(booster, one)
    kept = first.copy()
    predict(booster, one * 50)
    assert first.tobytes() == kept.tobytes()
