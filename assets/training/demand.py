"""The demand model: tuned by Optuna, trained for each horizon, recorded in MLflow."""

import hashlib
from typing import Any

import dagster as dg
import polars as pl

from assets.artifact_asset import Artifact, ArtifactContext, artifact_asset, progress
from assets.lake_asset import FixedWeeks, Input
from assets.partitions import calendar
from assets.training.weeks import PROTOCOL
from checks.contracts.demand import DEMAND_PANEL, DEMAND_TEAM
from models.calendar import start_of_week
from models.demand.features import FEATURES
from models.demand.training import ROUNDS, DemandTraining, train
from models.features.feature_set import feature_set_hash
from resources import model_registry
from resources.content_version import contents, versions
from resources.revision import git_revision
from resources.settings import Settings

NAME = "demand"

UP_TO_TRAIN = FixedWeeks(calendar()[0], PROTOCOL.train[-1])

# Raised when a feature of the same name changes its meaning.
FEATURES_VERSION = 1


@artifact_asset(
    f"models.{NAME}",
    inputs={"panel": Input(DEMAND_PANEL.table, weeks=UP_TO_TRAIN)},
    group="demand",
    kinds={"xgboost", "optuna", "mlflow"},
    owner=DEMAND_TEAM,
    description=(
        "XGBoost Poisson with an offset, monotone in price and promotion: `model.ubj` one week "
        "ahead, `horizon_4.ubj` four, and how sales scatter around them. Tuned by a seeded, "
        "resumable Optuna study on the last training weeks. Same data, same code, same bytes."
    ),
)
def demand_model(context: ArtifactContext, panel: pl.LazyFrame) -> Artifact:
    settings = context.settings
    weeks = list(_weeks())
    held = versions(
        (
            contents(panel.filter(pl.col("week_start") == week).collect(), DEMAND_PANEL)
            for week in weeks
        ),
        weeks,
    )
    snapshot = hashlib.sha256("".join(v.data_version for v in held).encode()).hexdigest()[:16]
    training = train(
        panel,
        last=PROTOCOL.train[-1],
        data_snapshot=snapshot,
        storage=settings.study_url,
        seed=settings.seed,
        trials=settings.trials,
        threads=settings.threads,
        on_step=progress.info,
    )
    version = hashlib.sha256(training.model).hexdigest()[:12]
    stored = model_registry.store_model(
        settings,
        name=NAME,
        version=version,
        model=training.model,
        files={n: f for n, f in training.files.items() if n != model_registry.MODEL_FILE},
        facts=_facts(training, settings=settings)
        | {
            "model_version": version,
            "data_snapshot": str(context.lake.snapshot_id()),
            "panel_version": snapshot,
        },
    )
    figures = {f"validation_deviance.{h}": value for h, value in training.deviance.items()}
    run_id = model_registry.log_training(
        settings,
        stored=stored,
        params=stored.facts["params"] | {"rounds": ROUNDS},
        metrics=figures,
    )
    return Artifact(
        versions={None: version},
        sizes={None: len(training.model)},
        metadata={
            "model_version": version,
            "path": dg.MetadataValue.path(str(stored.path)),
            "mlflow_run": run_id,
            "params": dg.MetadataValue.json(stored.facts["params"]),
            "dispersion": dg.MetadataValue.json(stored.facts["dispersion"]),
        }
        | figures,
    )


def _weeks() -> list[Any]:
    return UP_TO_TRAIN.admits(None, calendar())


def _facts(training: DemandTraining, *, settings: Settings) -> dict[str, Any]:
    cut = start_of_week(PROTOCOL.held_out[0], time_zone=settings.time_zone)
    return {
        "feature_set_hash": feature_set_hash(FEATURES, version=FEATURES_VERSION),
        "git_revision": git_revision(),
        "seed": settings.seed,
        "maturity_cut": cut.isoformat(),
        "train_weeks": {str(h): [str(w) for w in ws] for h, ws in training.weeks.items()},
        "rows": {str(h): n for h, n in training.rows.items()},
        "params": dict(training.study.params),
        "study": training.study.name,
        "dispersion": {str(h): d.as_dict() for h, d in training.dispersions.items()},
        "validation_deviance": {str(h): v for h, v in training.deviance.items()},
    }
