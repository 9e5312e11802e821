"""The ranker on held-out weeks: report, gate, and registration of what passed."""

import hashlib
import json
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path

import dagster as dg
import polars as pl

from assets.artifact_asset import Artifact, ArtifactContext, artifact_asset
from assets.lake_asset import Input
from assets.training.offer_ranker import NAME
from assets.training.weeks import HELD_OUT, PROTOCOL, UP_TO_HELD_OUT
from checks.contracts.ranking import RANKING_TEAM
from checks.gates.ranking import BEATS_GP_TOPFREQ, evaluate_beats_gp_topfreq
from models.calendar import start_of_week
from models.evaluation.ranking import evaluate_ranking
from models.evaluation.report import metrics_json, render_html, summary
from models.evaluation.result import EvaluationResult, Lineage
from models.ranking import baselines, xgboost_ranker
from models.ranking.dataset import examples
from models.ranking.inputs import FEATURES
from models.ranking.offers import ranked_offers
from resources import model_registry

REPORT = "evaluation.ranking"
K = 10
MODEL = "xgboost"
SOURCES = {"personal": "personal_rank", "global": "global_rank"}

FEATURE_INPUTS = {
    "candidates": Input("ranking.candidates", weeks=HELD_OUT),
    "household": Input("features.household", weeks=HELD_OUT),
    "product": Input("features.product", weeks=HELD_OUT),
    "household_product": Input("features.household_product", weeks=HELD_OUT),
}


@artifact_asset(
    REPORT,
    inputs=FEATURE_INPUTS
    | {
        "purchases": Input("labels.purchases", weeks=HELD_OUT),
        "lines": Input("marts.fct_basket_line", weeks=UP_TO_HELD_OUT),
        "model": Input(f"models.{NAME}", load=False),
    },
    group="evaluation",
    kinds={"xgboost", "altair"},
    owner=RANKING_TEAM,
    description=(
        "The trained ranker beside its baselines on the held-out weeks: `reports/ranking/` for "
        "people and machines, and the gate that registration waits for."
    ),
    checks=[
        dg.AssetCheckSpec(
            BEATS_GP_TOPFREQ,
            asset=dg.AssetKey(REPORT.split(".")),
            blocking=True,
            description=(
                "Better than global and personal top frequency on held-out weeks: the lower bound "
                "of the paired 95 % interval of the NDCG@10 difference is above zero."
            ),
        )
    ],
)
def ranking_report(
    context: ArtifactContext,
    candidates: pl.LazyFrame,
    household: pl.LazyFrame,
    product: pl.LazyFrame,
    household_product: pl.LazyFrame,
    purchases: pl.LazyFrame,
    lines: pl.LazyFrame,
) -> Artifact:
    stored = model_registry.latest_model(context.settings, NAME)
    model = stored.read()
    scored = _scored(
        model,
        candidates=candidates,
        household=household,
        product=product,
        household_product=household_product,
    )
    bought = purchases.select("household_id", "as_of", "product_id").collect()
    cut = start_of_week(PROTOCOL.coming, time_zone=context.settings.time_zone)
    immature = purchases.filter(pl.col("known_at") > cut).select(pl.len()).collect().item()
    if immature:
        raise dg.Failure(
            f"{immature:,} labels of the held-out weeks are not mature at {cut}; this is a fault "
            "of the training protocol (models/ranking/protocol.py)"
        )
    result = evaluate_ranking(
        {MODEL: ranked_offers(scored, k=K, model_version=stored.version)}
        | _baselines(lines, bought),
        model=MODEL,
        purchases=bought,
        lines=lines.select("household_id", "product_id", "week_start"),
        candidates=candidates.collect(),
        sources=SOURCES,
        importance=xgboost_ranker.importance(model),
        lineage=_lineage(stored),
        k=K,
        seed=context.settings.seed,
    )
    gate = evaluate_beats_gp_topfreq(result.differences)
    result = replace(result, gates=(gate,))
    folder = _write_report(context.settings.reports / "ranking", result)
    figures = metrics_json(result)
    return Artifact(
        versions={
            None: hashlib.sha256(json.dumps(figures, sort_keys=True).encode()).hexdigest()[:12]
        },
        sizes={None: result.events},
        metadata={
            "summary": dg.MetadataValue.md("\n\n".join(summary(result))),
            "report": dg.MetadataValue.path(str(folder / "index.html")),
            "metrics": dg.MetadataValue.json(figures["models"]),
            "model_version": stored.version,
        },
        checks=[
            dg.AssetCheckResult(
                asset_key=dg.AssetKey(REPORT.split(".")),
                check_name=BEATS_GP_TOPFREQ,
                passed=gate.passed,
                severity=dg.AssetCheckSeverity.ERROR,
                description=gate.reason,
                metadata={"value": gate.value, "threshold": gate.threshold} | dict(gate.evidence),
            )
        ],
    )


def _scored(
    model: bytes,
    *,
    candidates: pl.LazyFrame,
    household: pl.LazyFrame,
    product: pl.LazyFrame,
    household_product: pl.LazyFrame,
) -> pl.DataFrame:
    rows = examples(
        candidates,
        household=household,
        product=product,
        household_product=household_product,
        features=FEATURES,
    )
    scores = xgboost_ranker.score_frame(model, rows)
    return rows.select("household_id", "product_id", "as_of", "known_at", "source").with_columns(
        scores.alias("score")
    )


def _baselines(lines: pl.LazyFrame, bought: pl.DataFrame) -> dict[str, pl.DataFrame]:
    events = bought.select("household_id", "as_of").unique()
    counts = baselines.purchase_counts(lines)
    return {
        "g_topfreq": baselines.g_topfreq(counts, events=events, k=K),
        "p_topfreq": baselines.p_topfreq(counts, events=events, k=K),
        "gp_topfreq": baselines.gp_topfreq(counts, events=events, k=K),
        "decayed_topfreq": baselines.decayed_topfreq(counts, events=events, k=K),
    }


def _lineage(stored: model_registry.StoredModel) -> Lineage:
    facts = stored.facts
    return Lineage(
        model_version=stored.version,
        data_snapshot=facts["data_snapshot"],
        feature_set_hash=facts["feature_set_hash"],
        git_revision=facts["git_revision"],
        seed=facts["seed"],
        maturity_cut=datetime.fromisoformat(facts["maturity_cut"]),
        train_as_ofs=tuple(date.fromisoformat(w) for w in facts["train_as_ofs"]),
        params=facts["params"],
    )


def _write_report(folder: Path, result: EvaluationResult) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (
        ("index.html", render_html(result)),
        ("metrics.json", json.dumps(metrics_json(result), indent=1)),
    ):
        unfinished = folder / f".{name}.part"
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(folder / name)
    return folder


@artifact_asset(
    "models.champion",
    inputs={
        "model": Input(f"models.{NAME}", load=False),
        "report": Input(REPORT, load=False),
    },
    group="evaluation",
    kinds={"mlflow"},
    owner=RANKING_TEAM,
    description="The ranker that passed its gates, in the MLflow registry under `champion`.",
    automation=dg.AutomationCondition.eager()
    & dg.AutomationCondition.all_deps_blocking_checks_passed(),
)
def champion(context: ArtifactContext) -> Artifact:
    settings = context.settings
    stored = model_registry.latest_model(settings, NAME)
    run_id = model_registry.log_training(
        settings, stored=stored, params=stored.facts["params"], metrics={}
    )
    labels = {
        key: str(stored.facts[key]) for key in ("data_snapshot", "feature_set_hash", "git_revision")
    }
    version = model_registry.register(
        settings, name=NAME, stored=stored, run_id=run_id, tags=labels
    )
    return Artifact(
        versions={None: stored.version},
        metadata={"model_version": stored.version, "registry_version": version} | labels,
    )
