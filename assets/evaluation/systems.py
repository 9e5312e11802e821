"""What is judged beside the ranker: its challengers, the champion, the baselines; and its cost."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import polars as pl

from assets.training.offer_ranker import SERVED
from models import xgboost_booster
from models.evaluation.held_out import Scorer
from models.ranking import (
    baselines,
    calibration,
    lightgbm_ranker,
    neural_ranker,
    xgboost_ranker,
)
from models.ranking.families import CLASSIFIER
from models.ranking.inputs import FEATURES
from models.ranking.training import CALIBRATION_FILE
from resources import model_registry
from resources.model_registry import StoredModel
from resources.settings import Settings

# Stored beside the model where they were trained.
CHALLENGERS = {
    "lightgbm": ("lightgbm.txt", lightgbm_ranker.score_frame),
    "neural": ("neural.npz", neural_ranker.score_frame),
}

# Enough calls for a 99th percentile that one slow call does not make.
CALLS = 400
WARM_UP = 20


@dataclass(frozen=True)
class Champion:
    """The registered model, if it is another than the one judged.

    Attributes:
        scorer: ``None`` if there is none, or it cannot be used.
        registered: Whether there is one.
        unusable: Why it cannot be ranked on the same weeks.
    """

    scorer: Scorer | None = None
    registered: bool = False
    unusable: str = ""


def challengers(stored: StoredModel) -> dict[str, Scorer]:
    """Scorers of the challengers stored beside the model."""
    return {
        name: partial(score, stored.file(file).read_bytes())
        for name, (file, score) in CHALLENGERS.items()
        if stored.file(file).exists()
    }


def probabilities(stored: StoredModel) -> Scorer | None:
    """Purchase probabilities of the model, if it was stored with a calibrated classifier."""
    classifier, fitted = stored.file(CLASSIFIER.file), stored.file(CALIBRATION_FILE)
    if not (classifier.exists() and fitted.exists()):
        return None
    return partial(
        calibration.probabilities,
        classifier.read_bytes(),
        calibration.Calibration.from_json(fitted.read_text(encoding="utf-8")),
    )


def registered_champion(settings: Settings, *, name: str, judged: StoredModel) -> Champion:
    """The model that is registered now, to be ranked on the same weeks."""
    from mlflow.exceptions import MlflowException

    try:
        version = model_registry.client(settings).get_model_version_by_alias(
            name, model_registry.CHAMPION
        )
    except MlflowException:
        return Champion()
    digest = version.tags[model_registry.VERSION_TAG]
    if digest == judged.version:
        return Champion()
    path = model_registry.models_folder(settings, name) / digest / model_registry.MODEL_FILE
    if not path.exists():
        return Champion(registered=True, unusable=f"{path} is gone; restore it")
    model = path.read_bytes()
    gone = sorted(set(xgboost_booster.feature_names(model)) - set(FEATURES.names))
    if gone:
        return Champion(
            registered=True,
            unusable=f"it reads features that are gone ({', '.join(gone[:5])}); restore them, or "
            "override the gate and say so",
        )
    return Champion(scorer=partial(xgboost_ranker.score_frame, model), registered=True)


def baseline_rankings(
    lines: pl.LazyFrame, events: pl.DataFrame, *, k: int
) -> dict[str, pl.DataFrame]:
    """Every baseline's ranking of the events, from what was bought before each."""
    counts = baselines.purchase_counts(lines)
    baskets = baselines.basket_lines(lines)
    read = dict.fromkeys(baselines.BASELINES, counts) | dict.fromkeys(
        baselines.BASKET_BASELINES, baskets
    )
    registry = {**baselines.BASELINES, **baselines.BASKET_BASELINES}
    # Each is mostly one core's work: two at a time take half as long.
    with ThreadPoolExecutor(max_workers=2) as pool:
        ranked = pool.map(lambda name: registry[name](read[name], events=events, k=k), read)
        return dict(zip(read, ranked, strict=True))


def served_bytes(stored: StoredModel) -> int:
    """Bytes of all files that the service loads."""
    files = [stored.file(name) for name in SERVED]
    return sum(file.stat().st_size for file in files if file.exists())


def scoring_p99_ms(stored: StoredModel, *, candidates: int) -> float:
    """99th percentile of scoring one request, in milliseconds of processor time.

    What else the machine does while a model is judged says nothing about the model; waiting is
    what the service's own guard looks at.

    Args:
        stored: The model.
        candidates: Rows of the request.
    """
    booster = xgboost_booster.load(stored.read())
    width = len(xgboost_booster.feature_names(booster))
    rows = np.random.default_rng(0).random((candidates, width), dtype=np.float32)
    taken = []
    for _ in range(WARM_UP + CALLS):
        started = time.process_time()
        xgboost_ranker.score(booster, rows)
        taken.append(time.process_time() - started)
    return float(np.quantile(taken[WARM_UP:], 0.99) * 1000)
