"""Models in BentoML's store, read without importing BentoML."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from resources.settings import Settings

# As bentos/ranker_model.py names it; assets do not import the service.
RANKER_MODEL = "liftgraph_ranker"


@dataclass(frozen=True)
class PackagedModel:
    """A model that the service can load.

    Attributes:
        tag: ``name:version`` in the store.
        labels: ``model_version``, ``data_snapshot``, ``feature_set_hash``, ``git_revision``.
    """

    tag: str
    labels: dict[str, str]


def packaged(settings: Settings, *, model_version: str, name: str = RANKER_MODEL) -> PackagedModel:
    """The model of a version; packaged several times, the one marked latest, else the newest.

    Raises:
        FileNotFoundError: It was never packaged.
    """
    store = settings.bentoml_home / "models" / name
    found = [(file, p) for file, p in _all(store) if p.labels.get("model_version") == model_version]
    if not found:
        raise FileNotFoundError(
            f"model {model_version} is not packaged in {store}; materialise serving.bento"
        )
    pointer = store / "latest"
    latest = pointer.read_text(encoding="utf-8").strip() if pointer.exists() else ""
    marked = [p for _, p in found if p.tag == f"{name}:{latest}"]
    return marked[0] if marked else max(found, key=lambda pair: pair[0].stat().st_mtime)[1]


def _all(store: Path) -> Iterator[tuple[Path, PackagedModel]]:
    for file in sorted(store.glob("*/model.yaml")):
        read = yaml.safe_load(file.read_text(encoding="utf-8"))
        labels = {str(k): str(v) for k, v in (read.get("labels") or {}).items()}
        yield file, PackagedModel(tag=f"{read['name']}:{read['version']}", labels=labels)
