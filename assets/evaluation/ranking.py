"""The ranker on held-out weeks: report, gates, and registration of what passed."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime
from typing import Any

import dagster as dg
import polars as pl

from assets.artifact_asset import Artifact, ArtifactContext, artifact_asset
from assets.evaluation import systems
from assets.evaluation.override import forced_override
from assets.lake_asset import Input
from assets.training.offer_ranker import NAME
from assets.training.weeks import HELD_OUT, LAST_HELD_OUT, PROTOCOL, UP_TO_HELD_OUT
from checks.contracts.ranking import RANKING_TEAM
from checks.gates.gate import Clearance, GateResult, Override, require
from checks.gates.ranking_audit import BUDGET_CANDIDATES
from checks.gates.ranking_release import GATES, INFORMATIVE, evaluate_gates
from models import xgboost_booster
from models.calendar import start_of_week
from models.evaluation.audit import AuditInputs
from models.evaluation.figures import content_version, metrics_json
from models.evaluation.held_out import Scorer, WeeklyInputs, rank_held_out
from models.evaluation.judge import judge
from models.evaluation.report import render_html
from models.evaluation.result import CHAMPION, EvaluationResult, Lineage
from models.evaluation.scopes import ALL, Scope, beverages
from models.evaluation.sentences import summary
from models.ranking import xgboost_ranker
from models.ranking.inputs import FEATURES, GLOBAL_ORDER
from models.ranking.proposals import Known, source_seconds
from resources import model_registry
from resources.release_reviews import keep_gates
from resources.report_files import write_report
from resources.settings import Settings

REPORT = "evaluation.ranking"
K = 10
MODEL = "xgboost"

WEEKLY_INPUTS = {
    "candidates": Input("ranking.candidates", weeks=HELD_OUT),
    "household": Input("features.household", weeks=HELD_OUT),
    "product": Input("features.product", weeks=HELD_OUT),
    "household_product": Input("features.household_product", weeks=HELD_OUT),
}

# What each candidate source costs is taken on one week.
COST_INPUTS = {
    f"cost_{table}": Input(f"features.{table}", weeks=LAST_HELD_OUT)
    for table in ("household_store", "household_type", "store_product")
} | {
    "cost_campaigns": Input("marts.dim_campaign", weeks=UP_TO_HELD_OUT),
    "cost_targets": Input("marts.fct_campaign_target", weeks=UP_TO_HELD_OUT),
    "cost_coupons": Input("marts.fct_coupon_product", weeks=UP_TO_HELD_OUT),
}


@artifact_asset(
    REPORT,
    inputs=WEEKLY_INPUTS
    | COST_INPUTS
    | {
        "purchases": Input("labels.purchases", weeks=HELD_OUT),
        "lines": Input("marts.fct_basket_line", weeks=UP_TO_HELD_OUT),
        "promotions": Input("marts.fct_promotion", weeks=HELD_OUT),
        "products": Input("marts.dim_product"),
        # Read to audit fairness and for nothing else.
        "demographics": Input("marts.dim_household"),
        "model": Input(f"models.{NAME}", load=False),
    },
    group="evaluation",
    kinds={"xgboost", "altair"},
    owner=RANKING_TEAM,
    description=(
        "The trained ranker beside baselines, challengers and the champion on the held-out weeks: "
        "`reports/ranking/` for people and machines, and the gates that registration waits for."
    ),
    checks=[
        dg.AssetCheckSpec(
            name,
            asset=dg.AssetKey(REPORT.split(".")),
            blocking=name not in INFORMATIVE,
            description=asks,
        )
        for name, asks in GATES.items()
    ],
)
def ranking_report(context: ArtifactContext, **frames: pl.LazyFrame) -> Artifact:
    stored = model_registry.latest_model(context.settings, NAME)
    champion = systems.registered_champion(context.settings, name=NAME, judged=stored)
    result = _judged(context.settings, stored, champion.scorer, frames)
    gates = evaluate_gates(
        result,
        registered=champion.registered,
        unusable=champion.unusable,
        model_bytes=systems.served_bytes(stored),
        p99_ms=systems.scoring_p99_ms(stored, candidates=BUDGET_CANDIDATES),
    )
    override = forced_override() if any(gate.blocks for gate in gates) else None
    result = replace(result, gates=gates, override=override)
    figures = metrics_json(result)
    keep_gates(
        context.settings.home / "gate_history",
        model_version=stored.version,
        gates=figures["gates"],
        override=figures["override"],
    )
    page = write_report(
        context.settings.reports / "ranking",
        page=render_html(result),
        figures=json.dumps(figures, indent=1),
    )
    return Artifact(
        versions={None: content_version(figures)},
        sizes={None: result.events},
        metadata={
            "summary": dg.MetadataValue.md("\n\n".join(summary(result))),
            "report": dg.MetadataValue.path(str(page)),
            "metrics": dg.MetadataValue.json(figures["models"]),
            "model_version": stored.version,
        },
        checks=[_check(gate, override) for gate in gates],
    )


def _judged(
    settings: Settings,
    stored: model_registry.StoredModel,
    champion: Scorer | None,
    frames: Mapping[str, pl.LazyFrame],
) -> EvaluationResult:
    model = stored.read()
    challengers = systems.challengers(stored)
    products = _latest(frames["products"], "product_id", "category", "type", all_versions=True)
    scopes = [Scope(ALL), beverages(products)]
    bought = _mature(frames["purchases"], settings)
    scorers: dict[str, Scorer] = {MODEL: lambda rows: xgboost_ranker.score_frame(model, rows)}
    held = rank_held_out(
        WeeklyInputs(
            candidates=frames["candidates"],
            household=frames["household"],
            product=frames["product"],
            household_product=frames["household_product"],
        ),
        bought,
        weeks=PROTOCOL.held_out,
        features=FEATURES,
        scorers=scorers | challengers | ({CHAMPION: champion} if champion else {}),
        model=MODEL,
        scopes=scopes,
        popular=GLOBAL_ORDER,
        k=K,
        seed=settings.seed,
        probabilities=systems.probabilities(stored),
    )
    return judge(
        held,
        {
            scope.name: systems.baseline_rankings(
                scope.of(frames["lines"]), scope.of(bought).select("household_id", "as_of"), k=K
            )
            for scope in scopes
        },
        AuditInputs(
            purchases=bought,
            lines=frames["lines"],
            promotions=frames["promotions"],
            products=products.unique("product_id", keep="last", maintain_order=True),
            households=frames["household"]
            .select("household_id", "as_of", "days_since_first_basket", "spend_91d")
            .collect(),
            demographics=_latest(frames["demographics"], "household_id", "age", "income"),
            served=held.served,
            leakage=held.leakage,
        ),
        model=MODEL,
        scopes=scopes,
        importance=xgboost_booster.importance(model),
        lineage=_lineage(stored),
        k=K,
        seed=settings.seed,
        challengers=tuple(challengers),
        seconds=_source_seconds(settings, frames),
    )


def _source_seconds(settings: Settings, frames: Mapping[str, pl.LazyFrame]) -> Mapping[str, float]:
    """Seconds of each candidate source for the last held-out week."""
    week = PROTOCOL.held_out[-1]
    instant = start_of_week(week, time_zone=settings.time_zone)
    only = {
        name: frames[name].filter(pl.col("as_of") == week)
        for name in ("household", "household_product", "product")
    }
    own = {name.removeprefix("cost_"): frames[name] for name in COST_INPUTS}
    known = Known(
        **only,
        **own,
        lines=frames["lines"].filter(pl.col("sold_at") < instant),
        products=frames["products"].filter(pl.col("known_at") <= instant),
        plan=frames["promotions"].filter(pl.col("week_start") == week),
    )
    return source_seconds(known, as_ofs={week: instant})


def _latest(
    frame: pl.LazyFrame, key: str, *columns: str, all_versions: bool = False
) -> pl.DataFrame:
    rows = frame.sort(key, "week_start").select(key, *columns).collect()
    return rows if all_versions else rows.unique(key, keep="last", maintain_order=True)


def _mature(purchases: pl.LazyFrame, settings: Settings) -> pl.DataFrame:
    cut = start_of_week(PROTOCOL.coming, time_zone=settings.time_zone)
    immature = purchases.filter(pl.col("known_at") > cut).select(pl.len()).collect().item()
    if immature:
        raise dg.Failure(
            f"{immature:,} labels of the held-out weeks are not mature at {cut}; this is a fault "
            "of the training protocol (models/ranking/protocol.py)"
        )
    return purchases.select("household_id", "as_of", "product_id").collect()


def _check(gate: GateResult, override: Override | None) -> dg.AssetCheckResult:
    forced = gate.blocks and override is not None
    said = f"overridden by {override.actor} ({override.reason}): " if forced and override else ""
    evidence = {
        name: dg.MetadataValue.json(value) if isinstance(value, dict | list) else value
        for name, value in gate.evidence.items()
    }
    return dg.AssetCheckResult(
        asset_key=dg.AssetKey(REPORT.split(".")),
        check_name=gate.name,
        # Dagster has no third state: an overridden failure must let the champion through.
        passed=gate.passed or forced,
        severity=dg.AssetCheckSeverity.ERROR if gate.blocking else dg.AssetCheckSeverity.WARN,
        description=said + gate.reason,
        metadata={"value": gate.value, "threshold": gate.threshold, "overridden": forced}
        | evidence,
    )


def _lineage(stored: model_registry.StoredModel) -> Lineage:
    facts = stored.facts
    selection = facts.get("selection", {})
    return Lineage(
        model_version=stored.version,
        data_snapshot=facts["data_snapshot"],
        feature_set_hash=facts["feature_set_hash"],
        git_revision=facts["git_revision"],
        seed=facts["seed"],
        maturity_cut=datetime.fromisoformat(facts["maturity_cut"]),
        train_as_ofs=tuple(date.fromisoformat(w) for w in facts["train_as_ofs"]),
        params=facts["params"],
        selection=selection.get("reason", ""),
        overtaken_by=selection.get("overtaken_by"),
    )


def cleared(report: Mapping[str, Any], *, version: str) -> Clearance:
    """Leave to register a model, from the verdicts and the override that its report recorded.

    The report is the one place where both are written down together, so a release cannot be
    forced past the page that people read.

    Raises:
        Failure: The report is about another model.
        GateFailedError: A gate blocks and the report records no override.
    """
    judged = report["lineage"]["model_version"]
    if judged != version:
        raise dg.Failure(
            f"the ranking report judges model {judged}, the one trained last is {version}; "
            "materialise evaluation.ranking again"
        )
    override = report["override"]
    return require(
        [GateResult(**gate) for gate in report["gates"]],
        override=Override(**override) if override else None,
    )


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
    report = json.loads((settings.reports / "ranking" / "metrics.json").read_text("utf-8"))
    clearance = cleared(report, version=stored.version)
    run_id = model_registry.log_training(
        settings, stored=stored, params=stored.facts["params"], metrics={}
    )
    labels = {
        key: str(stored.facts[key]) for key in ("data_snapshot", "feature_set_hash", "git_revision")
    }
    forced = _override_tags(clearance)
    version = model_registry.register(
        settings, name=NAME, stored=stored, run_id=run_id, tags=labels | forced
    )
    registry = model_registry.client(settings)
    for key, value in forced.items():
        # Also where the version was registered before it had to be forced.
        registry.set_model_version_tag(NAME, version, key, value)
        registry.set_tag(run_id, key, value)
    return Artifact(
        versions={None: stored.version},
        metadata={"model_version": stored.version, "registry_version": version} | labels | forced,
    )


def _override_tags(clearance: Clearance) -> dict[str, str]:
    if clearance.override is None:
        return {}
    return {
        "liftgraph.gate_override": clearance.override.reason,
        "liftgraph.gate_override_by": clearance.override.actor,
        "liftgraph.gates_overridden": ", ".join(clearance.forced),
    }
