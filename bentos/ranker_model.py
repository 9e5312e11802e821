"""The offer ranker as the service holds it: an XGBoost booster read from a BentoML model."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import bentoml
import numpy as np
from bentoml.exceptions import NotFound

from models.serving.snapshot import SnapshotManifest

if TYPE_CHECKING:
    import xgboost as xgb

MODEL_NAME = "liftgraph_ranker"
MODEL_FILE = "model.ubj"
# Labels every packaged model carries.
MODEL_VERSION = "model_version"
DATA_SNAPSHOT = "data_snapshot"
FEATURE_SET_HASH = "feature_set_hash"
GIT_REVISION = "git_revision"
REQUIRED_LABELS = (MODEL_VERSION, DATA_SNAPSHOT, FEATURE_SET_HASH, GIT_REVISION)
# How many differing names a message shows.
SHOWN_NAMES = 5


class ModelError(RuntimeError):
    """A model is there but cannot be served; the message says why."""


@dataclass(frozen=True)
class RankerModel:
    """A booster with the names that trace it."""

    booster: xgb.Booster
    tag: str
    version: str
    feature_names: tuple[str, ...]
    feature_set_hash: str
    labels: dict[str, str] = field(default_factory=dict)

    def score(self, features: np.ndarray) -> np.ndarray:
        """Scores of n candidates.

        Args:
            features: (n, F) float32 in the order of ``feature_names``.

        Returns:
            (n,) float32; higher is better.
        """
        return self.booster.inplace_predict(features, validate_features=False)

    def check_fits(self, manifest: SnapshotManifest) -> None:
        """Refuse a snapshot whose features are not those the model was trained on.

        Raises:
            ModelError: Names, order or definition differ.
        """
        if self.feature_names != manifest.feature_names:
            raise ModelError(
                f"model {self.tag} and snapshot {manifest.version} differ in their features: "
                f"{_difference(self.feature_names, manifest.feature_names)}; package the model and "
                "write the snapshot from the same feature set"
            )
        if self.feature_set_hash != manifest.feature_set_hash:
            raise ModelError(
                f"model {self.tag} was trained on feature set {self.feature_set_hash}, snapshot "
                f"{manifest.version} holds {manifest.feature_set_hash}: the names agree but the "
                "definitions do not; retrain, or write the snapshot with the older definitions"
            )


def load_ranker(tag: str) -> RankerModel | None:
    """Load a packaged ranker.

    Args:
        tag: ``name:version`` in the BentoML model store; ``name:latest`` is allowed.

    Returns:
        The model, or None when the store has no such model, which the service answers with
        popular products.

    Raises:
        ModelError: It is there but damaged or unlabelled.
    """
    try:
        stored = bentoml.models.get(tag)
    except NotFound:
        return None
    labels = {name: str(value) for name, value in stored.info.labels.items()}
    missing = [name for name in REQUIRED_LABELS if not labels.get(name)]
    if missing:
        raise ModelError(
            f"model {stored.tag} lacks the label(s) {', '.join(missing)}: package it again"
        )
    booster = read_booster(Path(stored.path_of(MODEL_FILE)), name=str(stored.tag))
    return RankerModel(
        booster=booster,
        tag=str(stored.tag),
        version=labels[MODEL_VERSION],
        feature_names=tuple(booster.feature_names or ()),
        feature_set_hash=labels[FEATURE_SET_HASH],
        labels=labels,
    )


def read_booster(path: Path, *, name: str) -> xgb.Booster:
    """Read a booster from UBJSON, for one thread: a request has too few rows to share."""
    # Here, because BentoML's supervisor imports the service too and never scores.
    import xgboost as xgb

    try:
        booster = xgb.Booster({"nthread": 1}, model_file=path)
    except xgb.core.XGBoostError as error:
        reason = str(error).strip().splitlines()[-1]
        raise ModelError(
            f"model {name}: {path.name} is missing or damaged ({reason}); package it again"
        ) from error
    booster.set_param({"nthread": 1})
    if not booster.feature_names:
        raise ModelError(
            f"model {name}: the booster holds no feature names, so their order cannot be checked; "
            "train it with feature_names"
        )
    return booster


def _difference(model: tuple[str, ...], snapshot: tuple[str, ...]) -> str:
    only_model = [n for n in model if n not in snapshot]
    only_snapshot = [n for n in snapshot if n not in model]
    if not only_model and not only_snapshot:
        first = next(
            i for i, pair in enumerate(zip(model, snapshot, strict=True)) if len({*pair}) > 1
        )
        return (
            f"the order differs from column {first} on (model {model[first]}, "
            f"snapshot {snapshot[first]})"
        )
    parts = []
    if only_model:
        parts.append(f"only the model has {_some(only_model)}")
    if only_snapshot:
        parts.append(f"only the snapshot has {_some(only_snapshot)}")
    return ", ".join(parts)


def _some(names: list[str]) -> str:
    rest = len(names) - SHOWN_NAMES
    return ", ".join(names[:SHOWN_NAMES]) + (f" and {rest} more" if rest > 0 else "")
