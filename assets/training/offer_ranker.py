"""The offer ranker: four families tuned by Optuna and trained, recorded in MLflow."""

from typing import Any

import dagster as dg
import polars as pl

from assets.artifact_asset import Artifact, ArtifactContext, artifact_asset, progress
from assets.lake_asset import Input
from assets.training.weeks import PROTOCOL, VALIDATION
from checks.contracts.ranking import OFFER_EXAMPLES, RANKING_TEAM
from models.calendar import start_of_week
from models.features.feature_set import combined_hash, feature_set_hash
from models.features.household import HOUSEHOLD
from models.features.household_product import HOUSEHOLD_PRODUCT
from models.features.household_store import HOUSEHOLD_STORE
from models.features.household_type import HOUSEHOLD_TYPE
from models.features.product import PRODUCT
from models.features.store_product import STORE_PRODUCT
from models.ranking.families import CLASSIFIER, XGBOOST
from models.ranking.inputs import FEATURES
from models.ranking.training import CALIBRATION_FILE, Training, train
from resources import model_registry
from resources.content_version import table_version
from resources.revision import git_revision
from resources.settings import Settings, get_settings

NAME = "offer_ranker"
# What the service loads: together they are the model, and its version is theirs.
SERVED = (XGBOOST.file, CLASSIFIER.file, CALIBRATION_FILE)


def ranker_feature_hash() -> str:
    """Names, order and versions of everything the ranker sees."""
    return feature_set_hash(
        FEATURES.names,
        version=combined_hash(
            [
                HOUSEHOLD,
                HOUSEHOLD_PRODUCT,
                HOUSEHOLD_STORE,
                HOUSEHOLD_TYPE,
                PRODUCT,
                STORE_PRODUCT,
            ]
        ),
    )


@artifact_asset(
    f"models.{NAME}",
    inputs={
        "examples": Input(OFFER_EXAMPLES.table),
        "purchases": Input("labels.purchases", weeks=VALIDATION),
    },
    group="training",
    kinds={"xgboost", "optuna", "mlflow"},
    owner=RANKING_TEAM,
    description=(
        "XGBoost `rank:ndcg` over candidate features, as `model.ubj`, and beside it a classifier "
        "with its calibration, LightGBM and a neural network. Each is tuned by a seeded, resumable "
        "Optuna study on the last training weeks; which ranks best is decided by rule. Same data, "
        "same code, same bytes."
    ),
    depends_on=[str(get_settings().seed)],
)
def offer_ranker(
    context: ArtifactContext, examples: pl.LazyFrame, purchases: pl.LazyFrame
) -> Artifact:
    settings = context.settings
    snapshot = context.lake.snapshot_id()
    rows = examples.sort("as_of", "household_id", "product_id").collect()
    examples_version = table_version(rows, OFFER_EXAMPLES)
    training = train(
        rows,
        purchases=purchases.select("household_id", "product_id", "as_of").collect(),
        features=FEATURES.names,
        tuning_train=PROTOCOL.tuning_train,
        validation=PROTOCOL.validation,
        data_snapshot=examples_version,
        storage=settings.study_url,
        seed=settings.seed,
        trials=settings.trials,
        threads=settings.threads,
        on_step=progress.info,
    )
    version = model_registry.content_version(
        {name: file for name, file in training.files.items() if name in SERVED}
    )
    stored = model_registry.store_model(
        settings,
        name=NAME,
        version=version,
        model=training.model,
        files={name: file for name, file in training.files.items() if name != XGBOOST.file},
        facts=_facts(training, settings=settings)
        | {
            "model_version": version,
            "data_snapshot": str(snapshot),
            "examples": rows.height,
            "examples_version": examples_version,
        },
    )
    run_id = model_registry.log_training(
        settings,
        stored=stored,
        params=stored.facts["params"] | {"rounds": XGBOOST.rounds},
        metrics=_figures(training),
    )
    return Artifact(
        versions={None: version},
        sizes={None: len(training.model)},
        metadata={
            "selection": training.selection.reason,
            "path": dg.MetadataValue.path(str(stored.path)),
            "bytes": len(training.model),
            "trials": settings.trials,
            "mlflow_run": run_id,
        }
        | {name: _shown(stored.facts[name]) for name in _SHOWN}
        | _figures(training),
    )


_SHOWN = ("model_version", "data_snapshot", "git_revision", "examples", "params", "calibration")


def _shown(fact: Any) -> Any:
    return dg.MetadataValue.json(fact) if isinstance(fact, dict) else fact


def _facts(training: Training, *, settings: Settings) -> dict[str, Any]:
    cut = start_of_week(PROTOCOL.held_out[0], time_zone=settings.time_zone)
    return {
        "feature_set_hash": ranker_feature_hash(),
        "git_revision": git_revision(),
        "seed": settings.seed,
        "maturity_cut": cut.isoformat(),
        "train_as_ofs": [str(w) for w in PROTOCOL.train],
        "params": dict(training.studies[XGBOOST.name].params),
        "params_of_families": {name: dict(s.params) for name, s in training.studies.items()},
        "studies": {name: s.name for name, s in training.studies.items()},
        "selection": training.selection.as_dict(),
        "calibration": dict(training.calibration),
    }


def _figures(training: Training) -> dict[str, float]:
    """Each family on the validation weeks: as tuned on a sample, and as judged."""
    tuned = {f"tuned_ndcg_at_10.{name}": s.value for name, s in training.studies.items()}
    pruned = {f"pruned_trials.{name}": float(s.pruned) for name, s in training.studies.items()}
    judged = {f"validation_ndcg_at_10.{n}": v for n, v in training.selection.means.items()}
    return tuned | pruned | judged
