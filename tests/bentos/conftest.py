"""A small world to serve: four households, a booster that likes spend, a key, and a snapshot."""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import xgboost as xgb

from bentos.arms import LEDGER_NAME
from bentos.engine import Engine
from bentos.ranker_model import (
    CALIBRATION_FILE,
    CLASSIFIER_FILE,
    RankerModel,
    read_booster,
    read_probabilities,
)
from bentos.settings import ServingSettings
from models.pseudonyms import pseudonymise
from models.ranking.calibration import Calibration
from models.release.ledger import Event, State
from models.serving.snapshot import SnapshotManifest, snapshot_arrays
from resources.api_keys import add_key
from resources.decision_files import log_files
from resources.online_snapshot import write_snapshot
from resources.release_ledger import ReleaseLedger

FEATURES = ["spend", "weeks_since"]
FEATURE_SET_HASH = "f00d"
KEY = "a key for tests, and long enough"
LABELS = {
    "model_version": "7",
    "data_snapshot": "42",
    "feature_set_hash": FEATURE_SET_HASH,
    "git_revision": "0123abc",
}
# The coming week of the default calendar: the week these features stand at the start of.
AS_OF = date(2018, 1, 1)
KNOWN_AT = datetime.fromisoformat("2018-01-01T05:00")
RAW_IDS = ("1", "2", "3", "4")
CANDIDATES_EACH = 12


def spends(household: int, shift: int = 0) -> list[float]:
    """Each household's spend per candidate: a permutation, so that its ranking is its own."""
    return [float((7 * i + household + shift) % CANDIDATES_EACH) for i in range(CANDIDATES_EACH)]


def product_ids(household: int) -> list[str]:
    return [f"{household}{i:03d}" for i in range(CANDIDATES_EACH)]


def best_first(household: int, shift: int = 0) -> list[str]:
    """The ranking that spend alone gives."""
    pairs = zip(spends(household, shift), product_ids(household), strict=True)
    return [product for _, product in sorted(pairs, key=lambda pair: -pair[0])]


@dataclass(frozen=True)
class World:
    """A home folder with everything the service reads."""

    home: Path
    model_ubj: Path

    @property
    def online(self) -> Path:
        return self.home / "online"

    @property
    def settings(self) -> ServingSettings:
        return ServingSettings(home=self.home, ledger_poll_seconds=0.05, snapshot_poll_seconds=0.05)

    def publish(
        self,
        *,
        shift: int = 0,
        features: list[str] | None = None,
        feature_set_hash: str = FEATURE_SET_HASH,
        known_at: datetime = KNOWN_AT,
    ) -> SnapshotManifest:
        """Write a snapshot; another ``shift`` gives other rankings."""
        names = features or FEATURES
        rows = [
            {
                "household_id": pseudonymise(raw_id, KEY.encode()),
                "product_id": product,
                "source": "personal",
                **dict.fromkeys(names, 0.0),
                names[0]: spend,
            }
            for raw_id in RAW_IDS
            for product, spend in zip(
                product_ids(int(raw_id)), spends(int(raw_id), shift), strict=True
            )
        ]
        popular = pl.DataFrame(
            {
                "product_id": ["popular-a", "popular-b", "popular-c"],
                "source": "popular",
                names[0]: [1.0, 3.0, 2.0],
                **dict.fromkeys(names[1:], 0.0),
            }
        )
        products = pl.DataFrame({"product_id": ["popular-a", "1000"], "category": ["FRUIT", "TEA"]})
        arrays, dictionary = snapshot_arrays(
            pl.DataFrame(rows), popular=popular, feature_names=names, products=products
        )
        return write_snapshot(
            self.online,
            arrays,
            dictionary,
            as_of=AS_OF,
            known_at=known_at,
            data_snapshot=f"data-{shift}",
            feature_set_hash=feature_set_hash,
        )

    def model(self, **changes: object) -> RankerModel:
        booster = read_booster(self.model_ubj, name="ranker")
        values: dict = {
            "booster": booster,
            "tag": "liftgraph_ranker:test",
            "version": LABELS["model_version"],
            "feature_names": tuple(booster.feature_names or ()),
            "feature_set_hash": FEATURE_SET_HASH,
            "labels": LABELS,
        }
        return RankerModel(**{**values, **changes})

    def model_with_probabilities(self) -> RankerModel:
        booster = read_booster(self.model_ubj, name="ranker")
        train_probabilities(self.home)
        told = read_probabilities(self.home, name="ranker", ranker=booster)
        return self.model(probabilities=told)

    def key(self, *scopes: str, name: str = "tests", **options: object) -> str:
        """A new API key."""
        _, token = add_key(self.settings.api_keys_file, name=name, scopes=scopes, **options)
        return token

    def engine(
        self,
        load_model: Callable[[], RankerModel | None] | None = None,
        models: Mapping[str, RankerModel] | None = None,
        **settings: object,
    ) -> Engine:
        return Engine(
            self.settings.model_copy(update=settings),
            load_model=load_model or self.model,
            load_tag=(models or {}).get,
        )

    def released(self, version: str, **changes: object) -> RankerModel:
        """A model of this version, as the store would give it: the order of all, its own scores."""
        own = {"booster": booster_of(version), **changes}
        return self.model(tag=f"liftgraph_ranker:{version}", version=version, **own)

    @property
    def ledger(self) -> ReleaseLedger:
        return ReleaseLedger(self.settings.ledger_url)

    def step(self, version: str, to: State, percent: float | None = None) -> Event:
        """Append to the ledger, whatever the judge would say."""
        known = self.ledger.releases(LEDGER_NAME).state_of(version)
        if known is None and to != "candidate":
            self.step(version, "candidate")
        return self.ledger.append(
            name=LEDGER_NAME,
            model_version=version,
            model_tag=f"liftgraph_ranker:{version}",
            to=to,
            percent=percent,
            actor="tests",
            reason="a test",
            forced=True,
        )

    def log_lines(self) -> list[bytes]:
        files = log_files(self.home / "decisions")
        return [line for file in files for line in file.read_bytes().splitlines(keepends=True)]


def train(path: Path) -> None:
    """A booster that orders by spend, exactly."""
    _trained(slope=1.0).save_model(path)


@functools.cache
def booster_of(version: str) -> xgb.Booster:
    """As ``train``, with scores that no other version gives."""
    digest = hashlib.sha256(version.encode()).digest()
    return _trained(slope=2.0 + int.from_bytes(digest[:4]) / 2**32)


def _trained(slope: float) -> xgb.Booster:
    spend = np.tile(np.arange(CANDIDATES_EACH, dtype=np.float32), 20)
    rows = np.column_stack([spend, np.zeros_like(spend)])
    data = xgb.DMatrix(rows, label=slope * spend, feature_names=FEATURES)
    parameters = {"max_depth": 6, "eta": 1.0, "lambda": 0.0, "nthread": 1, "seed": 1}
    return xgb.train(parameters, data, num_boost_round=3)


def scores_of(model: RankerModel, household: int, shift: int = 0) -> list[float]:
    """What the model says of each candidate, in the order of ``product_ids``."""
    spend = np.array(spends(household, shift), dtype=np.float32)
    return model.score(np.column_stack([spend, np.zeros_like(spend)])).tolist()


def train_probabilities(folder: Path) -> None:
    """A classifier of the same rows, and a map that leaves its log-odds as they are."""
    spend = np.tile(np.arange(CANDIDATES_EACH, dtype=np.float32), 20)
    rows = np.column_stack([spend, np.zeros_like(spend)])
    bought = (spend >= CANDIDATES_EACH / 2).astype(np.float32)
    data = xgb.DMatrix(rows, label=bought, feature_names=FEATURES)
    parameters = {"objective": "binary:logistic", "max_depth": 3, "nthread": 1, "seed": 1}
    xgb.train(parameters, data, num_boost_round=3).save_model(folder / CLASSIFIER_FILE)
    fitted = Calibration(method="platt", values=(1.0, 0.0), errors={}, rows=1000)
    (folder / CALIBRATION_FILE).write_text(fitted.to_json())


def breaks(model_ubj: Path, target: Path) -> Path:
    """A booster that is whole and fits, and whose every score is not a number."""
    content = json.loads(xgb.Booster(model_file=model_ubj).save_raw("json"))
    tree = content["learner"]["gradient_booster"]["model"]["trees"][0]
    tree["split_conditions"] = [
        float("nan") if left == -1 else value
        for left, value in zip(tree["left_children"], tree["split_conditions"], strict=True)
    ]
    xgb.Booster(model_file=bytearray(json.dumps(content).encode())).save_model(target)
    return target


def make_world(home: Path, model_ubj: Path) -> World:
    (home / "secrets").mkdir(parents=True)
    (home / "secrets" / "pseudonym.key").write_text(KEY)
    return World(home=home, model_ubj=model_ubj)


@pytest.fixture(scope="session")
def model_ubj(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.ubj"
    train(path)
    return path


@pytest.fixture
def world(tmp_path: Path, model_ubj: Path) -> World:
    return make_world(tmp_path / "home", model_ubj)


@pytest.fixture(scope="session", autouse=True)
def _no_settings_from_outside() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in [n for n in os.environ if n.startswith("LIFTGRAPH_")]:
            patch.delenv(name)
        yield


@pytest.fixture(scope="session")
def bytecode_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Child processes compile the big libraries once, also where the environment forbids it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
        patch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path_factory.mktemp("bytecode")))
        yield
