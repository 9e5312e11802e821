"""The response head: examples from campaigns, the model, and the report on unseen campaigns."""

import hashlib
import json
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from assets.artifact_asset import Artifact, ArtifactContext, artifact_asset, progress
from assets.lake_asset import Input, TableContext, lake_asset
from assets.partitions import calendar
from assets.training.weeks import PROTOCOL
from checks.contracts.ranking import RANKING_TEAM
from checks.contracts.response import RESPONSE_EXAMPLES
from models.calendar import ONE_WEEK, start_of_week
from models.evaluation.response import MIN_TRAIN_POSITIVES, evaluate
from models.evaluation.response_report import document, render_html, summary
from models.ranking import response
from resources import model_registry
from resources.content_version import table_version
from resources.report_files import write_report
from resources.revision import git_revision
from resources.settings import Settings, get_settings

NAME = "response"
REPORT = f"evaluation.{NAME}"


@lake_asset(
    RESPONSE_EXAMPLES,
    inputs={
        "campaigns": Input("marts.dim_campaign"),
        "targets": Input("marts.fct_campaign_target"),
        "coupons": Input("marts.fct_coupon_product"),
        "redemptions": Input("marts.fct_coupon_redemption"),
        "products": Input("marts.dim_product"),
        "household": Input("features.household"),
        "product": Input("features.product"),
        "household_product": Input("features.household_product"),
        "lines": Input("marts.fct_basket_line"),
    },
    group="training",
    kinds={"polars", "ducklake"},
    partitioned=False,
)
def response_examples(context: TableContext, **frames: pl.LazyFrame) -> pl.DataFrame:
    settings = context.settings
    cut = start_of_week(PROTOCOL.coming, time_zone=settings.time_zone)
    context.metadata["maturity_cut"] = cut.isoformat()
    return response.examples(
        response.ResponseInputs(**frames),
        first_as_of=calendar()[0] + ONE_WEEK,
        cut=cut,
        time_zone=settings.time_zone,
        late_arrival_days=settings.label_allowance_days,
    )


@artifact_asset(
    f"models.{NAME}",
    inputs={"examples": Input(RESPONSE_EXAMPLES.table)},
    group="training",
    kinds={"xgboost"},
    owner=RANKING_TEAM,
    description=(
        "XGBoost `binary:logistic` that corrects the repeat-cadence heuristic: will a targeted "
        "household buy a coupon product within 5 or 28 days of the campaign's start? Response, "
        "never lift. With too few responses nothing is trained, and the report says so."
    ),
    depends_on=[str(get_settings().seed)],
)
def response_model(context: ArtifactContext, examples: pl.LazyFrame) -> Artifact:
    settings = context.settings
    rows = examples.sort("started_at", *response.KEY).collect()
    found = evaluate(rows, held_out_from=PROTOCOL.held_out[0], seed=settings.seed)
    progress.info("response: %d results on unseen campaigns", len(found.results))
    examples_version = table_version(rows, RESPONSE_EXAMPLES)
    cut = start_of_week(PROTOCOL.coming, time_zone=settings.time_zone)
    facts = {
        "data_snapshot": str(context.lake.snapshot_id()),
        "git_revision": git_revision(),
        "seed": settings.seed,
        "maturity_cut": cut.isoformat(),
        "params": dict(response.DEFAULT_PARAMS),
        "examples": rows.height,
        "examples_version": examples_version,
        "calibrations": {
            str(days): fitted.to_json() if fitted else None
            for days, fitted in found.calibrations.items()
        },
    }
    version = _train(settings, rows, facts)
    evaluation = document(found, model_version=version, lineage=facts)
    _evaluation_file(settings).write_text(json.dumps(evaluation, indent=1), encoding="utf-8")
    # Results too: with too few responses there is no model to tell two evaluations apart.
    told = json.dumps([version, evaluation["results"], evaluation["campaigns"]])
    return Artifact(
        versions={None: hashlib.sha256(told.encode()).hexdigest()[:12]},
        sizes={None: rows.height},
        metadata={"model_version": version or "none", "summary": "\n\n".join(summary(evaluation))},
    )


def _train(settings: Settings, rows: pl.DataFrame, facts: dict[str, Any]) -> str | None:
    """Train on all mature campaigns and store it; ``None`` if too little happened to learn from."""
    label = pl.col(response.label(response.LEARNED_DAYS))
    learned = rows.filter(pl.col(response.SHORTLISTED) & label.is_not_null())
    model_registry.models_folder(settings, NAME).mkdir(parents=True, exist_ok=True)
    if int(learned.select(label.sum()).item() or 0) < MIN_TRAIN_POSITIVES:
        return None
    model = response.train(learned, seed=settings.seed)
    version = hashlib.sha256(model).hexdigest()[:12]
    stored = model_registry.store_model(
        settings,
        name=NAME,
        version=version,
        model=model,
        facts=facts | {"model_version": version},
    )
    # Recorded, not registered: nothing serves it.
    model_registry.log_training(settings, stored=stored, params=facts["params"], metrics={})
    return version


def _evaluation_file(settings: Settings) -> Path:
    return model_registry.models_folder(settings, NAME) / "evaluation.json"


@artifact_asset(
    REPORT,
    inputs={"model": Input(f"models.{NAME}", load=False)},
    group="evaluation",
    kinds={"altair"},
    owner=RANKING_TEAM,
    description=(
        "The response head beside the repeat-cadence heuristic on campaigns it had not seen: "
        "`reports/response/` for people and machines. Where too little happened, it says that."
    ),
)
def response_report(context: ArtifactContext) -> Artifact:
    found = json.loads(_evaluation_file(context.settings).read_text(encoding="utf-8"))
    folder = context.settings.reports / "response"
    page = write_report(folder, page=render_html(found), figures=json.dumps(found, indent=1))
    digest = hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:12]
    return Artifact(
        versions={None: digest},
        metadata={
            "summary": dg.MetadataValue.md("\n\n".join(summary(found))),
            "report": dg.MetadataValue.path(str(page)),
        },
    )
