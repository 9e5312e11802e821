"""The demand model beside its baselines on the held-out weeks, for people and machines."""

import hashlib
import json
from typing import Any

import dagster as dg
import polars as pl

from assets.actions.forecasts import boosters, dispersions
from assets.artifact_asset import Artifact, ArtifactContext, artifact_asset, progress
from assets.lake_asset import Input
from assets.training.demand import NAME
from assets.training.weeks import PROTOCOL, UP_TO_HELD_OUT
from checks.contracts.demand import DEMAND_PANEL, DEMAND_TEAM
from models import xgboost_booster
from models.demand.drivers import of_promoted
from models.demand.panel_elasticity import effects_by_category
from models.demand.prices import coverage
from models.demand.protocol import HORIZONS, demand_weeks
from models.demand.training import ROUNDS
from models.evaluation.demand_held_out import GBMS, QUICK, HeldOut, evaluate
from models.evaluation.demand_report import document, render_html, summary
from models.evaluation.driver_sections import (
    driver_sections,
    elasticity_figures,
    elasticity_section,
)
from resources import model_registry
from resources.report_files import write_report

REPORT = "evaluation.demand"
# Products whose drivers are worked out for the charts.
CHARTED = 8
# Four weeks ahead the GBMs would cost as much again.
BASELINES = {1: (*QUICK, *GBMS), 4: QUICK}


@artifact_asset(
    REPORT,
    inputs={
        "panel": Input(DEMAND_PANEL.table, weeks=UP_TO_HELD_OUT),
        "products": Input("marts.dim_product", weeks=UP_TO_HELD_OUT),
        "model": Input(f"models.{NAME}", load=False),
    },
    group="demand",
    kinds={"xgboost", "altair"},
    owner=DEMAND_TEAM,
    description=(
        "The demand model beside its baselines on the held-out weeks, one and four weeks ahead, "
        "at three levels, with the coverage of its intervals: `reports/demand/`."
    ),
)
def demand_report(
    context: ArtifactContext, panel: pl.LazyFrame, products: pl.LazyFrame
) -> Artifact:
    settings = context.settings
    stored = model_registry.latest_model(settings, NAME)
    known = panel.collect()

    def judged(horizon: int) -> HeldOut:
        return evaluate(
            known,
            model=boosters(stored)[horizon],
            dispersion=dispersions(stored)[horizon],
            train_weeks=_train_weeks(known, horizon),
            held_out=PROTOCOL.held_out,
            horizon=horizon,
            seed=settings.seed,
            rounds=ROUNDS,
            threads=settings.threads,
            names=BASELINES[horizon],
            params=stored.facts["params"],
            on_step=progress.info,
        )

    found = {horizon: judged(horizon) for horizon in HORIZONS}
    figures = document(
        found,
        importance=xgboost_booster.importance(stored.read()),
        prices=coverage(known.filter(pl.col("week_start").is_in(PROTOCOL.held_out))),
        lineage={k: v for k, v in stored.facts.items() if k != "validation_deviance"},
    )
    # Orthogonal estimates take minutes more; benchmarks/elasticity.py makes them.
    effects = effects_by_category(
        known.filter(pl.col("week_start") < PROTOCOL.held_out[0]), with_orthogonal=False
    )
    figures["elasticities"] = elasticity_figures(effects)
    drivers = of_promoted(stored.read(), found[1].rows, products=CHARTED)
    names = dict(products.select("product_id", "type").unique("product_id").collect().rows())
    sections = [elasticity_section(effects), *driver_sections(drivers, names=names)]
    page = write_report(
        settings.reports / "demand",
        page=render_html(figures, sections=sections),
        figures=json.dumps(figures, indent=1, allow_nan=False),
    )
    return Artifact(
        versions={None: _version(figures)},
        sizes={None: found[1].rows.height},
        metadata={
            "summary": dg.MetadataValue.md("\n\n".join(summary(figures))),
            "report": dg.MetadataValue.path(str(page)),
            "metrics": dg.MetadataValue.json(figures["models"]),
            "model_version": stored.version,
        },
    )


def _train_weeks(panel: pl.DataFrame, horizon: int) -> tuple[Any, ...]:
    first = panel["week_start"].min()
    return demand_weeks(PROTOCOL.train[-1], first=first, horizon=horizon).train  # type: ignore[arg-type]


def _version(figures: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(figures, sort_keys=True).encode()).hexdigest()[:12]
