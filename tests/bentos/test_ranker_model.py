"""Boosters: read from UBJSON, or refused with the reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xgboost as xgb

from bentos.ranker_model import ModelError, read_booster
from tests.bentos.conftest import FEATURES, World


def test_scores_are_those_of_the_booster_row_by_row(world: World) -> None:
    rows = np.array([[3, 0], [11, 0], [0, np.nan]], dtype=np.float32)
    model = world.model()
    together = model.score(rows)
    assert together.dtype == np.float32
    booster = xgb.Booster(model_file=world.model_ubj)
    expected = booster.predict(xgb.DMatrix(rows, feature_names=FEATURES))
    np.testing.assert_array_equal(together, expected)
    np.testing.assert_array_equal(
        together, np.concatenate([model.score(rows[i : i + 1]) for i in range(3)])
    )


def test_a_damaged_or_missing_file_is_named(tmp_path: Path, model_ubj: Path) -> None:
    torn = tmp_path / "model.ubj"
    torn.write_bytes(model_ubj.read_bytes()[:100])
    with pytest.raises(ModelError, match=r"model x:1: model.ubj is missing or damaged"):
        read_booster(torn, name="x:1")
    with pytest.raises(ModelError, match="package it again"):
        read_booster(tmp_path / "gone.ubj", name="x:1")


def test_a_booster_without_feature_names_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.ubj"
    data = xgb.DMatrix(np.zeros((4, 1), dtype=np.float32), label=np.zeros(4))
    xgb.train({"nthread": 1}, data, num_boost_round=1).save_model(path)
    with pytest.raises(ModelError, match="holds no feature names"):
        read_booster(path, name="x:1")
