"""A home with the tiny week's snapshot, its history and a ranker with probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
import xgboost as xgb

from bentos.engine import Engine
from bentos.fresh_features import FreshFeatures
from bentos.ranker_model import (
    CALIBRATION_FILE,
    CLASSIFIER_FILE,
    RankerModel,
    read_booster,
    read_probabilities,
)
from bentos.settings import ServingSettings
from models.ranking.calibration import Calibration
from models.ranking.candidates import SOURCES
from models.ranking.inputs import FEATURES, GLOBAL_ORDER
from models.ranking.newcomer import popular_products
from models.ranking.xgboost_ranker import score_frame
from models.serving.snapshot import SnapshotManifest, snapshot_arrays
from resources.online_history import write_history
from resources.online_snapshot import write_snapshot
from tests.models.ranking.tiny_week import AS_OF, INSTANT, KEY, Week, week

FEATURE_SET_HASH = "tiny"


@dataclass(frozen=True)
class TinyService:
    """Everything a service of the tiny chain reads."""

    home: Path

    @property
    def settings(self) -> ServingSettings:
        return ServingSettings(home=self.home, ledger_poll_seconds=0.05, snapshot_poll_seconds=0.05)

    def publish(
        self,
        made: Week | None = None,
        *,
        examples: pl.DataFrame | None = None,
        known_at: datetime = INSTANT,
        history: bool = True,
        data_snapshot: str = "1",
    ) -> SnapshotManifest:
        """Write history and snapshot as the assets do."""
        made = made or week()
        written = ""
        if history:
            written = write_history(
                self.settings.online_history_dir,
                made.facts,
                known_at=known_at,
                data_snapshot=data_snapshot,
                feature_set_hash=FEATURE_SET_HASH,
            ).version
        known = made.known
        arrays, names = snapshot_arrays(
            made.examples if examples is None else examples,
            popular=popular_products(
                known.product,
                known=known.household.select("as_of", "known_at").head(1),
                household=known.household,
                household_product=known.household_product,
                order=GLOBAL_ORDER,
                features=FEATURES,
                limit=5,
            ),
            feature_names=FEATURES.names,
            products=known.products.select("product_id", "category", "type").collect(),
            sources=SOURCES,
        )
        return write_snapshot(
            self.settings.online_dir,
            arrays,
            names,
            as_of=AS_OF,
            known_at=known_at,
            data_snapshot=data_snapshot,
            feature_set_hash=FEATURE_SET_HASH,
            history=written,
        )

    def model(self) -> RankerModel:
        booster = read_booster(self.home / "model.ubj", name="tiny")
        return RankerModel(
            booster=booster,
            tag="liftgraph_ranker:tiny",
            version="tiny",
            feature_names=FEATURES.names,
            feature_set_hash=FEATURE_SET_HASH,
            probabilities=read_probabilities(self.home, name="tiny", ranker=booster),
        )

    def engine(self) -> Engine:
        return Engine(
            self.settings,
            load_model=self.model,
            load_tag={"liftgraph_ranker:tiny": self.model()}.get,
            fresh=FreshFeatures(self.settings),
        )

    def log_lines(self) -> list[bytes]:
        files = sorted(self.settings.decisions_dir.glob("*.jsonl*"))
        return [line for file in files for line in file.read_bytes().splitlines()]


def make_service(home: Path) -> TinyService:
    """Make the home; nothing is published yet."""
    (home / "secrets").mkdir(parents=True)
    (home / "secrets" / "pseudonym.key").write_text(KEY)
    rows = week().examples
    matrix = rows.select(FEATURES.names).to_numpy()
    rng = np.random.default_rng(3)
    # Recent habit decides, and a little of everything: each feature is used somewhere.
    label = rows["hp_habit_20d"].fill_null(0.0).to_numpy() + rng.random(len(matrix))
    parameters = {"max_depth": 5, "eta": 0.5, "nthread": 1, "seed": 1}
    data = xgb.DMatrix(matrix, label=label, feature_names=list(FEATURES.names))
    xgb.train(parameters, data, num_boost_round=15).save_model(home / "model.ubj")
    bought = xgb.DMatrix(matrix, label=label > np.median(label), feature_names=list(FEATURES.names))
    xgb.train(parameters | {"objective": "binary:logistic"}, bought, num_boost_round=8).save_model(
        home / CLASSIFIER_FILE
    )
    fitted = Calibration(method="platt", values=(1.2, -0.1), errors={}, rows=1000)
    (home / CALIBRATION_FILE).write_text(fitted.to_json())
    return TinyService(home)


def ranking_of(service: TinyService, examples: pl.DataFrame) -> list[str]:
    """Products by the model's score, best first."""
    scores = score_frame(xgb.Booster(model_file=service.home / "model.ubj"), examples)
    ranked = examples.select("product_id", score=scores).sort(
        "score", "product_id", descending=[True, False]
    )
    return ranked["product_id"].to_list()
