"""The offer ranker: tuned by Optuna, trained on all training weeks, recorded in MLflow."""

import hashlib

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
from models.features.product import PRODUCT
from models.ranking import xgboost_ranker
from models.ranking.inputs import FEATURES
from models.ranking.tuning import tune
from resources import model_registry
from resources.lake import partition_versions
from resources.revision import git_revision

NAME = "offer_ranker"

# A trial on a sample of households orders parameters as the whole does, in a fraction of the time.
TUNING_HOUSEHOLDS = 600


def ranker_feature_hash() -> str:
    """Names, order and versions of everything the ranker sees."""
    return feature_set_hash(
        FEATURES.names, version=combined_hash([HOUSEHOLD, PRODUCT, HOUSEHOLD_PRODUCT])
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
        "XGBoost `rank:ndcg` over candidate features, tuned by a seeded, resumable Optuna study on "
        "the last training weeks, as `model.ubj`. Same data, same code, same bytes."
    ),
)
def offer_ranker(
    context: ArtifactContext, examples: pl.LazyFrame, purchases: pl.LazyFrame
) -> Artifact:
    settings = context.settings
    rows = examples.sort("as_of", "household_id", "product_id").collect()
    with context.lake.read() as connection:
        (held,) = partition_versions(connection, OFFER_EXAMPLES, weeks=None)
    content = held.data_version
    study = tune(
        rows,
        purchases=purchases.select("household_id", "product_id", "as_of").collect(),
        features=FEATURES.names,
        train_as_ofs=PROTOCOL.tuning_train,
        validation_as_ofs=PROTOCOL.validation,
        last_as_of=PROTOCOL.validation[-1],
        data_snapshot=content,
        storage=settings.study_url,
        seed=settings.seed,
        rounds=xgboost_ranker.DEFAULT_ROUNDS,
        trials=settings.trials,
        households=TUNING_HOUSEHOLDS,
        on_trial=lambda i, _, value: progress.info(
            "tuning: trial %d of %d, NDCG@10 %.4f", i + 1, settings.trials, value
        ),
    )
    model = xgboost_ranker.train(
        rows,
        features=FEATURES.names,
        params=study.params,
        rounds=xgboost_ranker.DEFAULT_ROUNDS,
        seed=settings.seed,
    )
    digest = hashlib.sha256(model).hexdigest()[:12]
    cut = start_of_week(PROTOCOL.held_out[0], time_zone=settings.time_zone)
    facts = {
        "model_version": digest,
        "data_snapshot": str(context.lake.snapshot_id()),
        "feature_set_hash": ranker_feature_hash(),
        "git_revision": git_revision(),
        "seed": settings.seed,
        "maturity_cut": cut.isoformat(),
        "train_as_ofs": [str(w) for w in PROTOCOL.train],
        "params": dict(study.params),
        "examples": rows.height,
        "examples_version": content,
    }
    stored = model_registry.store_model(
        settings, name=NAME, version=digest, model=model, facts=facts
    )
    run_id = model_registry.log_training(
        settings,
        stored=stored,
        params=dict(study.params) | {"rounds": xgboost_ranker.DEFAULT_ROUNDS},
        metrics={"validation_ndcg_at_10": study.value},
    )
    return Artifact(
        versions={None: digest},
        sizes={None: len(model)},
        metadata={
            "model_version": digest,
            "path": dg.MetadataValue.path(str(stored.path)),
            "bytes": len(model),
            "examples": rows.height,
            "trials": settings.trials,
            "validation_ndcg@10": study.value,
            "params": dg.MetadataValue.json(dict(study.params)),
            "mlflow_run": run_id,
            "data_snapshot": facts["data_snapshot"],
            "git_revision": facts["git_revision"],
        },
    )
