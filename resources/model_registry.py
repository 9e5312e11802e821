"""MLflow: the runs that trained models, and the registry of those that passed their gates.

Runs and versions are found by tag, so a retry or a second start adds nothing. The tracking store is
SQLite in the installation's home, or any MLflow address.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resources.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "offer_ranker"
CHAMPION = "champion"
VERSION_TAG = "liftgraph.model_version"


@dataclass(frozen=True)
class StoredModel:
    """A trained model as it lies on disk: ``model.ubj`` and what there is to say of it.

    Attributes:
        version: Content hash of the model's bytes.
        facts: Labels and figures, JSON values.
    """

    version: str
    folder: Path
    facts: Mapping[str, Any]

    @property
    def path(self) -> Path:
        return self.folder / "model.ubj"

    def read(self) -> bytes:
        return self.path.read_bytes()


def models_folder(settings: Settings, name: str) -> Path:
    return settings.home / "models" / name


def store_model(
    settings: Settings, *, name: str, version: str, model: bytes, facts: Mapping[str, Any]
) -> StoredModel:
    """Write a model whole, and make it the one trained last."""
    root = models_folder(settings, name)
    folder = root / version
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "model.ubj", model)
    _write(folder / "facts.json", json.dumps(dict(facts), indent=1, sort_keys=True).encode())
    _write(root / "LATEST", version.encode())
    return StoredModel(version=version, folder=folder, facts=facts)


def latest_model(settings: Settings, name: str) -> StoredModel:
    """The model that was trained last.

    Raises:
        FileNotFoundError: None was trained yet.
    """
    root = models_folder(settings, name)
    pointer = root / "LATEST"
    if not pointer.exists():
        raise FileNotFoundError(
            f"no {name} was trained in {root}; materialise models.{name} first (`make run`)"
        )
    folder = root / pointer.read_text(encoding="utf-8")
    facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    return StoredModel(version=folder.name, folder=folder, facts=facts)


def _write(path: Path, content: bytes) -> None:
    unfinished = path.with_name(f".{path.name}.part")
    unfinished.write_bytes(content)
    unfinished.replace(path)


def client(settings: Settings) -> MlflowClient:
    from mlflow import MlflowClient

    (settings.home / "mlflow").mkdir(parents=True, exist_ok=True)
    return MlflowClient(tracking_uri=settings.tracking_uri, registry_uri=settings.tracking_uri)


def log_training(
    settings: Settings,
    *,
    stored: StoredModel,
    params: Mapping[str, Any],
    metrics: Mapping[str, float],
) -> str:
    """Record a training as one MLflow run; the same model is recorded once.

    Returns:
        Run id.
    """
    mlflow = client(settings)
    experiment = mlflow.get_experiment_by_name(EXPERIMENT)
    experiment_id = (
        experiment.experiment_id
        if experiment
        else mlflow.create_experiment(
            EXPERIMENT, artifact_location=(settings.home / "mlflow" / "artifacts").as_uri()
        )
    )
    known = mlflow.search_runs(
        [experiment_id],
        filter_string=(
            f"tags.`{VERSION_TAG}` = '{stored.version}' AND attributes.status = 'FINISHED'"
        ),
        max_results=1,
    )
    if known:
        return known[0].info.run_id
    tags = {VERSION_TAG: stored.version} | {
        f"liftgraph.{k}": str(v) for k, v in stored.facts.items()
    }
    run = mlflow.create_run(experiment_id, tags=tags, run_name=stored.version)
    run_id = run.info.run_id
    for name, value in params.items():
        mlflow.log_param(run_id, name, value)
    for name, value in metrics.items():
        mlflow.log_metric(run_id, name, value)
    mlflow.log_artifact(run_id, str(stored.path), "model")
    mlflow.log_artifact(run_id, str(stored.folder / "facts.json"), "model")
    mlflow.set_terminated(run_id)
    return run_id


def register(
    settings: Settings, *, name: str, stored: StoredModel, run_id: str, tags: Mapping[str, str]
) -> str:
    """Register a model that passed its gates and make it the champion.

    Returns:
        The registry's version number; the same one for the same model.
    """
    from mlflow.exceptions import MlflowException

    mlflow = client(settings)
    try:
        mlflow.get_registered_model(name)
    except MlflowException:
        mlflow.create_registered_model(name)
    known = [
        v
        for v in mlflow.search_model_versions(f"name = '{name}'")
        if v.tags.get(VERSION_TAG) == stored.version
    ]
    if known:
        version = known[0].version
    else:
        source = f"{mlflow.get_run(run_id).info.artifact_uri}/model"
        created = mlflow.create_model_version(
            name, source=source, run_id=run_id, tags={VERSION_TAG: stored.version, **tags}
        )
        version = created.version
    mlflow.set_registered_model_alias(name, CHAMPION, version)
    return str(version)
