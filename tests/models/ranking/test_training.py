from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from models.ranking.calibration import Calibration, probabilities
from models.ranking.families import FAMILIES
from models.ranking.training import Training, train
from tests.models.ranking.conftest import FEATURES, weeks

QUICK = tuple(replace(family, rounds=5) for family in FAMILIES)


def trained(shop: pl.DataFrame, bought: pl.DataFrame, folder: Path, **changes: object) -> Training:
    given = {
        "purchases": bought.filter(pl.col("as_of").is_in(weeks(4, 5))),
        "features": FEATURES,
        "tuning_train": weeks(0, 1, 2, 3),
        "validation": weeks(4, 5),
        "data_snapshot": "s1",
        "storage": f"sqlite:///{folder / 'studies.db'}",
        "seed": 2,
        "trials": 2,
        "threads": 2,
        "families": QUICK,
        **changes,
    }
    return train(shop, **given)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def learned(shop: pl.DataFrame) -> pl.DataFrame:
    return shop.filter(pl.col("as_of") < weeks(6)[0])


@pytest.fixture(scope="module")
def training(
    learned: pl.DataFrame, bought: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory
) -> Training:
    return trained(learned, bought, tmp_path_factory.mktemp("training"))


def test_it_makes_every_file_and_they_score(training: Training, shop: pl.DataFrame) -> None:
    assert set(training.files) == {
        "model.ubj",
        "classifier.ubj",
        "lightgbm.txt",
        "neural.npz",
        "calibration.json",
    }
    assert training.model == training.files["model.ubj"]
    later = shop.filter(pl.col("as_of") >= weeks(6)[0])
    for family in QUICK:
        scores = family.score(training.files[family.file], later)
        bought = later["label"] == 1
        assert scores.filter(bought).mean() > scores.filter(~bought).mean()  # type: ignore[operator]
    calibration = Calibration.from_json(training.files["calibration.json"].decode())
    p = probabilities(training.files["classifier.ubj"], calibration, later)
    assert p.is_between(0, 1).all()


def test_what_was_found_is_json(training: Training) -> None:
    assert set(training.selection.means) == {family.name for family in FAMILIES}
    json.dumps([training.selection.as_dict(), dict(training.calibration)])
    assert training.calibration["slope"] == pytest.approx(1.0, abs=0.2)


def test_same_files_again_and_after_a_resumed_search(
    training: Training, learned: pl.DataFrame, bought: pl.DataFrame, tmp_path: Path
) -> None:
    trained(learned, bought, tmp_path, trials=1, threads=1)
    told: list[str] = []
    again = trained(learned, bought, tmp_path, on_step=told.append)
    assert again.files == training.files
    assert again.selection == training.selection
    assert {study.resumed for study in again.studies.values()} == {1}
    tried = [step for step in told if step.startswith("tuning: trial 2 of 2, ")]
    assert len(tried) == len(QUICK)
    assert any(step.startswith("tuning: trial 2 of 2, xgboost, NDCG@10 ") for step in tried)
    assert told[-1].startswith("calibration: ")


def test_too_little_for_a_calibration_says_so(
    learned: pl.DataFrame, bought: pl.DataFrame, tmp_path: Path
) -> None:
    few = [f"hh{h:010}" for h in range(5)]
    made = trained(
        learned.filter(pl.col("household_id").is_in(few)),
        bought.filter(pl.col("household_id").is_in(few) & pl.col("as_of").is_in(weeks(4, 5))),
        tmp_path,
        trials=1,
    )
    assert "calibration.json" not in made.files
    assert "Give more weeks or households" in made.calibration["missing"]
