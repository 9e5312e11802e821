from __future__ import annotations

import shutil
from datetime import datetime
from pathlib import Path

import pytest

from models.release.ledger import Release, Releases
from resources import model_registry
from resources.release_aliases import follow_ledger
from resources.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", reports=tmp_path / "reports").prepare()


@pytest.fixture(scope="module")
def new_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's database, made once: its migrations take longer than the tests."""
    made = Settings(home=tmp_path_factory.mktemp("mlflow")).prepare()
    model_registry.client(made).search_registered_models()
    return made.home / "mlflow" / "mlflow.db"


@pytest.fixture
def with_mlflow(settings: Settings, new_mlflow: Path) -> Settings:
    shutil.copyfile(new_mlflow, settings.home / "mlflow" / "mlflow.db")
    return settings


def store(settings: Settings, **changes: object) -> model_registry.StoredModel:
    given = {
        "name": "offer_ranker",
        "version": "v1",
        "model": b"trees",
        "facts": {"seed": 1},
        "files": {"neural.npz": b"weights", "calibration.json": b"{}"},
        **changes,
    }
    return model_registry.store_model(settings, **given)  # type: ignore[arg-type]


def test_a_model_lies_with_its_companions(settings: Settings) -> None:
    stored = store(settings)
    found = model_registry.latest_model(settings, "offer_ranker")
    assert found == stored
    assert found.read() == b"trees"
    assert found.file("neural.npz").read_bytes() == b"weights"
    assert not found.file("lightgbm.txt").exists()
    assert sorted(f.name for f in found.folder.iterdir()) == [
        "calibration.json",
        "facts.json",
        "model.ubj",
        "neural.npz",
    ]


def test_companions_of_an_earlier_training_do_not_stay(settings: Settings) -> None:
    store(settings)
    again = store(settings, files={"neural.npz": b"others"})
    assert again.file("neural.npz").read_bytes() == b"others"
    assert not again.file("calibration.json").exists()
    assert store(settings, files={}).path.read_bytes() == b"trees"


def test_the_model_trained_last_is_the_latest(settings: Settings) -> None:
    store(settings)
    store(settings, version="v2", model=b"other trees")
    assert model_registry.latest_model(settings, "offer_ranker").version == "v2"


@pytest.mark.parametrize("name", ["model.ubj", "facts.json", "../model", "a/b", ".hidden"])
def test_a_companion_cannot_take_another_place(settings: Settings, name: str) -> None:
    with pytest.raises(ValueError, match="plain names"):
        store(settings, files={name: b""})
    with pytest.raises(FileNotFoundError, match="no offer_ranker was trained"):
        model_registry.latest_model(settings, "offer_ranker")


@pytest.mark.slow
def test_a_training_is_recorded_once_with_all_its_files(with_mlflow: Settings) -> None:
    settings = with_mlflow
    stored = store(settings)
    figures = {"validation_ndcg_at_10.xgboost": 0.3, "validation_ndcg_at_10.neural": 0.29}
    run = model_registry.log_training(settings, stored=stored, params={"eta": 0.1}, metrics=figures)
    assert run == model_registry.log_training(settings, stored=stored, params={}, metrics={})
    mlflow = model_registry.client(settings)
    assert mlflow.get_run(run).data.metrics == figures
    held = {Path(item.path).name for item in mlflow.list_artifacts(run, "model")}
    assert held == {"calibration.json", "facts.json", "model.ubj", "neural.npz"}


@pytest.mark.slow
def test_the_champion_stays_whatever_is_trained_since(with_mlflow: Settings) -> None:
    settings = with_mlflow
    stored = store(settings)
    with pytest.raises(FileNotFoundError, match=r"materialise models\.champion"):
        model_registry.champion_model(settings, "offer_ranker")
    run = model_registry.log_training(settings, stored=stored, params={}, metrics={})
    model_registry.register(settings, name="offer_ranker", stored=stored, run_id=run, tags={})
    store(settings, version="v2", model=b"other trees")
    assert model_registry.latest_model(settings, "offer_ranker").version == "v2"
    assert model_registry.champion_model(settings, "offer_ranker") == stored
    stored.path.unlink()
    with pytest.raises(FileNotFoundError, match="files are gone"):
        model_registry.champion_model(settings, "offer_ranker")


def released(version: str) -> Release:
    at = datetime(2026, 1, 5)  # noqa: DTZ001 - times are naive UTC
    return Release(model_version=version, model_tag=f"t:{version}", percent=None, since=at)


@pytest.mark.slow
def test_aliases_follow_the_ledger(with_mlflow: Settings) -> None:
    name, tag = "offer_ranker", model_registry.VERSION_TAG
    registry = model_registry.client(with_mlflow)
    registry.create_registered_model(name)
    for version in ("a", "b"):
        registry.create_model_version(name, source=f"file:///{version}", tags={tag: version})
    for releases, expected in (
        (Releases(live=released("a"), shadow=released("b")), {"champion": "a", "challenger": "b"}),
        (Releases(live=released("b")), {"champion": "b"}),
        # Of another machine: what is registered here stays.
        (Releases(live=released("x")), {"champion": "b"}),
    ):
        follow_ledger(with_mlflow, releases, name=name)
        held = registry.get_registered_model(name).aliases
        versions = {a: registry.get_model_version(name, n).tags[tag] for a, n in held.items()}
        assert versions == expected


def test_a_version_is_that_of_all_that_is_served() -> None:
    files = {"model.ubj": b"trees", "calibration.json": b"{}"}
    version = model_registry.content_version(files)
    assert version == model_registry.content_version(dict(reversed(files.items())))
    assert version != model_registry.content_version(files | {"calibration.json": b"[]"})
    assert version != model_registry.content_version({"model.ubj": b"trees"})
