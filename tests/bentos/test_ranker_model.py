"""Boosters: read from UBJSON, or refused with the reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xgboost as xgb

from bentos.ranker_model import (
    CALIBRATION_FILE,
    CLASSIFIER_FILE,
    ModelError,
    read_booster,
    read_probabilities,
)
from tests.bentos.conftest import FEATURES, World, train_probabilities


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


def test_without_a_classifier_there_are_no_probabilities(tmp_path: Path, world: World) -> None:
    booster = read_booster(world.model_ubj, name="x:1")
    assert read_probabilities(tmp_path, name="x:1", ranker=booster) is None


@pytest.mark.parametrize("gone", [CLASSIFIER_FILE, CALIBRATION_FILE])
def test_half_of_what_tells_probabilities_is_refused(
    tmp_path: Path, world: World, gone: str
) -> None:
    train_probabilities(tmp_path)
    (tmp_path / gone).unlink()
    booster = read_booster(world.model_ubj, name="x:1")
    with pytest.raises(ModelError, match=r"but not both of classifier\.ubj"):
        read_probabilities(tmp_path, name="x:1", ranker=booster)


def test_a_damaged_calibration_is_named(tmp_path: Path, world: World) -> None:
    train_probabilities(tmp_path)
    (tmp_path / CALIBRATION_FILE).write_text("{}")
    booster = read_booster(world.model_ubj, name="x:1")
    with pytest.raises(ModelError, match=r"calibration\.json"):
        read_probabilities(tmp_path, name="x:1", ranker=booster)


def test_a_classifier_of_other_features_is_refused(tmp_path: Path, world: World) -> None:
    train_probabilities(tmp_path)
    data = xgb.DMatrix(np.zeros((4, 1), dtype=np.float32), label=[0, 1, 0, 1], feature_names=["a"])
    other = xgb.train({"nthread": 1}, data, num_boost_round=1)
    with pytest.raises(ModelError, match="differ in their features"):
        read_probabilities(tmp_path, name="x:1", ranker=other)
