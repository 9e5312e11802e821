"""A home to serve from: a week of made-up candidates of the real shape, and models of it."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import orjson
import polars as pl
import xgboost as xgb

from benchmarks.scoring import AS_OF, week
from bentos.arms import LEDGER_NAME
from bentos.ranker_model import MODEL_FILE, MODEL_NAME
from bentos.settings import ServingSettings
from models import xgboost_booster
from models.pseudonyms import pseudonymise
from models.ranking import xgboost_ranker
from models.ranking.inputs import FEATURES
from models.release.ledger import Event, State
from models.serving.snapshot import SnapshotManifest, snapshot_arrays
from resources.api_keys import add_key
from resources.online_snapshot import write_snapshot
from resources.release_ledger import ReleaseLedger

HOUSEHOLDS = 1_000
CANDIDATES = 100
SEED = 20170103
# Of the product the graph trains.
TREES = 80
FIRST, SECOND, BROKEN = "aaaaaaaaaaaa", "bbbbbbbbbbbb", "ffffffffffff"
_TRAIN_HOUSEHOLDS = 200
_RATE = 1e6
_HASH = "benchmark"
_KEY = "a key of the benchmark, nobody else's"


@dataclass(frozen=True)
class World:
    """What the servers read.

    Attributes:
        home: liftgraph's home.
        key: An API key with every scope, and no limit that matters.
        matrices: One (100, F) float32 per household.
        bodies: One request body per household.
        rows: The candidates behind the snapshot.
        tags: Model version to its BentoML tag; ``BROKEN`` scores nothing but NaN.
        files: Model version to its booster's file.
    """

    home: Path
    key: str
    matrices: list[np.ndarray]
    bodies: list[bytes]
    rows: pl.DataFrame
    files: dict[str, Path]
    tags: dict[str, str]

    @property
    def settings(self) -> ServingSettings:
        return ServingSettings(home=self.home)

    @property
    def ledger(self) -> ReleaseLedger:
        return ReleaseLedger(self.settings.ledger_url)

    def step(self, version: str, to: State, percent: float | None = None) -> Event:
        """Append to the ledger, whatever the judge would say."""
        state = self.ledger.releases(LEDGER_NAME).state_of(version)
        if state in {None, "rolled_back", "retired"} and to != "candidate":
            self.step(version, "candidate")
        return self.ledger.append(
            name=LEDGER_NAME,
            model_version=version,
            model_tag=self.tags[version],
            to=to,
            percent=percent,
            actor="benchmark",
            reason="measured",
            forced=True,
        )

    def live(self, version: str) -> None:
        """Make it live, if it is not."""
        now = self.ledger.releases(LEDGER_NAME).live
        if now is None or now.model_version != version:
            self.step(version, "live")


def make(home: Path) -> World:
    """Make everything; some seconds."""
    (home / "secrets").mkdir(parents=True)
    (home / "secrets" / "pseudonym.key").write_text(_KEY)
    learned = week(households=_TRAIN_HOUSEHOLDS, candidates=CANDIDATES, seed=SEED)
    files, tags = {}, {}
    for version, rounds in ((FIRST, TREES), (SECOND, TREES // 2)):
        path = home / "trained" / version / "model.ubj"
        path.parent.mkdir(parents=True)
        model = xgboost_ranker.train(learned, features=FEATURES.names, rounds=rounds, seed=SEED)
        path.write_bytes(model)
        files[version] = path
    files[BROKEN] = _broken(files[FIRST], home / "trained" / "broken")
    for version, path in files.items():
        tags[version] = _store(path, version, home)
    _, key = add_key(
        ServingSettings(home=home).api_keys_file,
        name="benchmark",
        scopes=["offers:read", "actions:read", "events:write", "release:write"],
        rate_per_second=_RATE,
    )
    rows = week(households=HOUSEHOLDS, candidates=CANDIDATES, seed=SEED + 1).drop("label")
    publish(home, rows)
    matrix = xgboost_booster.to_matrix(rows, FEATURES.names)
    made = World(
        home=home,
        key=key,
        matrices=[matrix[i : i + CANDIDATES].copy() for i in range(0, len(matrix), CANDIDATES)],
        rows=rows,
        bodies=[orjson.dumps({"household_id": f"{i:024x}"}) for i in range(HOUSEHOLDS)],
        files=files,
        tags=tags,
    )
    made.live(FIRST)
    return made


def publish(home: Path, rows: pl.DataFrame) -> SnapshotManifest:
    """Write the online snapshot of examples, as the graph does."""
    raw = rows["household_id"].unique(maintain_order=True)
    names = pl.Series([pseudonymise(text, _KEY.encode()) for text in raw])
    known = rows.with_columns(pl.col("household_id").replace_strict(raw, names))
    # In the order of product ids, as the matrices of the bare servers are.
    popular = rows.head(CANDIDATES).select("product_id", "source", *FEATURES.names)
    arrays, dictionary = snapshot_arrays(known, popular=popular, feature_names=FEATURES.names)
    return write_snapshot(
        home / "online",
        arrays,
        dictionary,
        as_of=AS_OF,
        known_at=datetime.combine(AS_OF, datetime.min.time()),
        data_snapshot="benchmark",
        feature_set_hash=_HASH,
    )


def _store(path: Path, version: str, home: Path) -> str:
    """Into BentoML's model store, without a bento: the service runs from source."""
    # BentoML reads it when it is imported.
    os.environ["BENTOML_HOME"] = str(home / "bentoml")
    import bentoml

    labels = {
        "model_version": version,
        "data_snapshot": "benchmark",
        "feature_set_hash": _HASH,
        "git_revision": "benchmark",
    }
    with bentoml.models.create(f"{MODEL_NAME}:{version}", labels=labels) as model:
        shutil.copyfile(path, model.path_of(MODEL_FILE))
    return f"{MODEL_NAME}:{version}"


def _broken(model: Path, folder: Path) -> Path:
    content = json.loads(xgb.Booster(model_file=model).save_raw("json"))
    for tree in content["learner"]["gradient_booster"]["model"]["trees"]:
        tree["split_conditions"] = [
            float("nan") if left == -1 else value
            for left, value in zip(tree["left_children"], tree["split_conditions"], strict=True)
        ]
    folder.mkdir(parents=True)
    xgb.Booster(model_file=bytearray(json.dumps(content).encode())).save_model(folder / "model.ubj")
    return folder / "model.ubj"
