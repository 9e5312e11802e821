"""MLflow: the runs that trained models, and the registry of those that passed their gates.

Runs and versions are found by tag, so a retry or a second start adds nothing. The tracking store is
SQLite in the installation's home, or any MLflow address.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from resources.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHAMPION = "champion"
VERSION_TAG = "liftgraph.model_version"

MODEL_FILE = "model.ubj"
FACTS_FILE = "facts.json"
CHAMPION_POINTER = "CHAMPION"
_OWN_FILES = frozenset({MODEL_FILE, FACTS_FILE})


@dataclass(frozen=True)
class StoredModel:
    """A trained model as it lies on disk: ``model.ubj``, its companions, and what there is to say.

    Attributes:
        version: Content hash of the model's bytes.
        folder: Where it lies, with whatever other files its training made.
        facts: Labels and figures, JSON values.
    """

    version: str
    folder: Path
    facts: Mapping[str, Any]

    @property
    def path(self) -> Path:
        return self.folder / MODEL_FILE

    def read(self) -> bytes:
        return self.path.read_bytes()

    def file(self, name: str) -> Path:
        """Where a further file of this model lies, ``calibration.json`` say, if it was made."""
        return self.folder / name


# MLflow refuses longer ones in some stores; the facts are whole among the run's files.
LONGEST_TAG = 500


def models_folder(settings: Settings, name: str) -> Path:
    return settings.home / "models" / name


def content_version(files: Mapping[str, bytes]) -> str:
    """12 hexadecimal characters over the files that together are served, names included."""
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(f"{name}:{len(files[name])}:".encode() + files[name])
    return digest.hexdigest()[:12]


def store_model(
    settings: Settings,
    *,
    name: str,
    version: str,
    model: bytes,
    facts: Mapping[str, Any],
    files: Mapping[str, bytes] = MappingProxyType({}),
) -> StoredModel:
    """Write a model whole, and make it the one trained last.

    Args:
        settings: Where models lie.
        name: Of the model.
        version: Content hash of what is served, see ``content_version``.
        model: What becomes ``model.ubj``.
        facts: Labels and figures, JSON values.
        files: Name to content of what lies beside it. A file of an earlier training of the same
            version that is not among these is removed: it would belong to other companions.

    Raises:
        ValueError: A file has the name of one of the model's own, or a path in its name.
    """
    refused = [f for f in files if f in _OWN_FILES or f.startswith(".") or Path(f).name != f]
    if refused:
        raise ValueError(
            f"store_model(): {refused} cannot lie beside {sorted(_OWN_FILES)}; give plain names"
        )
    root = models_folder(settings, name)
    folder = root / version
    folder.mkdir(parents=True, exist_ok=True)
    for held in folder.iterdir():
        if held.name not in _OWN_FILES and held.name not in files:
            held.unlink()
    for file, content in files.items():
        _write(folder / file, content)
    _write(folder / MODEL_FILE, model)
    _write(folder / FACTS_FILE, json.dumps(dict(facts), indent=1, sort_keys=True).encode())
    # Last: whoever finds it finds everything.
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
    return _stored(root / pointer.read_text(encoding="utf-8"))


def champion_model(settings: Settings, name: str) -> StoredModel:
    """The model that passed its gates last, whatever was trained since.

    Raises:
        FileNotFoundError: None is registered, or its files are gone.
    """
    root = models_folder(settings, name)
    pointer = root / CHAMPION_POINTER
    if not pointer.exists():
        raise FileNotFoundError(
            f"no {name} is registered as champion in {root}; materialise models.champion "
            "(`make run`): it registers a model that passes its gates"
        )
    folder = root / pointer.read_text(encoding="utf-8")
    if not (folder / MODEL_FILE).exists():
        raise FileNotFoundError(
            f"the champion's files are gone from {folder}; restore them, or train and register anew"
        )
    return _stored(folder)


def stored_model(settings: Settings, name: str, version: str) -> StoredModel:
    """A model by its version.

    Raises:
        FileNotFoundError: Its files are gone, or were never here.
    """
    folder = models_folder(settings, name) / version
    if not (folder / MODEL_FILE).exists():
        raise FileNotFoundError(
            f"the files of {name} {version} are not in {folder}; copy them from the home that "
            "trained it, or from MLflow's artifacts"
        )
    return _stored(folder)


def _stored(folder: Path) -> StoredModel:
    facts = json.loads((folder / FACTS_FILE).read_text(encoding="utf-8"))
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
    """Record a training as one MLflow run, in the model's experiment; the same model once.

    Returns:
        Run id.
    """
    mlflow = client(settings)
    name = stored.folder.parent.name
    experiment = mlflow.get_experiment_by_name(name)
    experiment_id = (
        experiment.experiment_id
        if experiment
        else mlflow.create_experiment(
            name, artifact_location=(settings.home / "mlflow" / "artifacts").as_uri()
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
        f"liftgraph.{k}": str(v) for k, v in stored.facts.items() if len(str(v)) <= LONGEST_TAG
    }
    run = mlflow.create_run(experiment_id, tags=tags, run_name=stored.version)
    run_id = run.info.run_id
    for param, value in params.items():
        mlflow.log_param(run_id, param, value)
    for metric, value in metrics.items():
        mlflow.log_metric(run_id, metric, value)
    for file in sorted(stored.folder.iterdir()):
        if not file.name.startswith("."):
            mlflow.log_artifact(run_id, str(file), "model")
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
    # For whoever serves or scores, without MLflow's imports; after the alias, which leads.
    _write(models_folder(settings, name) / CHAMPION_POINTER, stored.version.encode())
    return str(version)
