"""The offer ranker as the service holds it: XGBoost boosters read from a BentoML model.

The ranker orders; the classifier beside it, if there is one, tells probabilities of what is served.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import bentoml
import numpy as np
from bentoml.exceptions import NotFound

from bentos.quick_predict import predict
from models.ranking.calibration import Calibration
from models.ranking.reasons import reasons
from models.serving.snapshot import SnapshotManifest

if TYPE_CHECKING:
    import xgboost as xgb

MODEL_NAME = "liftgraph_ranker"
MODEL_FILE = "model.ubj"
# Both or neither lie beside it.
CLASSIFIER_FILE = "classifier.ubj"
CALIBRATION_FILE = "calibration.json"
PROBABILITY_FILES = (CLASSIFIER_FILE, CALIBRATION_FILE)
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
class Probabilities:
    """What tells a probability: log-odds of a classifier, and the map from them."""

    classifier: xgb.Booster
    calibration: Calibration

    def of(self, features: np.ndarray) -> np.ndarray:
        """(n,) float64 in 0..1 for (n, F) float32."""
        log_odds = self.classifier.inplace_predict(
            features, validate_features=False, predict_type="margin"
        )
        return self.calibration.apply(log_odds)


@dataclass(frozen=True)
class RankerModel:
    """A booster with the names that trace it, and what tells probabilities, if anything does."""

    booster: xgb.Booster
    tag: str
    version: str
    feature_names: tuple[str, ...]
    feature_set_hash: str
    labels: dict[str, str] = field(default_factory=dict)
    probabilities: Probabilities | None = None

    def score(self, features: np.ndarray) -> np.ndarray:
        """Scores of n candidates.

        Args:
            features: (n, F) float32 in the order of ``feature_names``.

        Returns:
            (n,) float32; higher is better.
        """
        return predict(self.booster, features)

    def probability(self, features: np.ndarray) -> list[float] | None:
        """Calibrated purchase probabilities of served rows; None without a classifier."""
        return None if self.probabilities is None else self.probabilities.of(features).tolist()

    def reasons(self, features: np.ndarray) -> list[list[str]]:
        """Why each served row stands where it does, from its own values alone."""
        return reasons(self.booster, features, features=self.feature_names)

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
    folder = Path(stored.path_of(MODEL_FILE)).parent
    booster = read_booster(folder / MODEL_FILE, name=str(stored.tag))
    return RankerModel(
        booster=booster,
        tag=str(stored.tag),
        version=labels[MODEL_VERSION],
        feature_names=tuple(booster.feature_names or ()),
        feature_set_hash=labels[FEATURE_SET_HASH],
        labels=labels,
        probabilities=read_probabilities(folder, name=str(stored.tag), ranker=booster),
    )


def read_probabilities(folder: Path, *, name: str, ranker: xgb.Booster) -> Probabilities | None:
    """Read the classifier and its calibration; None where the model has neither.

    Raises:
        ModelError: One of the two is missing or damaged, or the classifier has other features than
            the ranker, whose rows it is given.
    """
    present = [file for file in PROBABILITY_FILES if (folder / file).exists()]
    if not present:
        return None
    if len(present) < len(PROBABILITY_FILES):
        raise ModelError(
            f"model {name} has {present[0]} but not both of {', '.join(PROBABILITY_FILES)}; "
            "package it again"
        )
    classifier = read_booster(folder / CLASSIFIER_FILE, name=name)
    features = tuple(classifier.feature_names or ())
    if features != tuple(ranker.feature_names or ()):
        raise ModelError(
            f"model {name}: ranker and classifier differ in their features; train both from the "
            "same examples"
        )
    try:
        calibration = Calibration.from_json((folder / CALIBRATION_FILE).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"model {name}: {CALIBRATION_FILE}: {error}") from error
    return Probabilities(classifier=classifier, calibration=calibration)


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
