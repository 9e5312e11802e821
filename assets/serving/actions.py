"""Serving of actions: the coming week's plan and what answers questions about other plans."""

from datetime import datetime, timedelta

import dagster as dg
import polars as pl

from assets.actions.forecasts import dispersions
from assets.actions.plan import PANEL_WEEKS, decided
from assets.artifact_asset import Artifact, ArtifactContext, artifact_asset
from assets.lake_asset import FixedWeeks, Input
from assets.training.demand import NAME
from assets.training.weeks import COMING, PROTOCOL
from checks.contracts.actions import ACTION_PLAN, ACTIONS_TEAM
from models.calendar import ONE_WEEK, start_of_week
from models.demand.plan_basis import plan_basis
from models.serving.action_snapshot import (
    FORMAT,
    ActionFacts,
    snapshot_files,
    without_lineage,
    worth_keeping,
)
from resources import model_registry
from resources.action_settings import action_settings, action_settings_text
from resources.model_registry import StoredModel
from resources.settings import get_settings
from resources.versioned_files import write_version

YEAR = FixedWeeks(PROTOCOL.coming - timedelta(weeks=52), PROTOCOL.coming)
# Of a store's sales, shown beside its plan.
SHOWN_WEEKS = 13


@artifact_asset(
    "serving.action_snapshot",
    inputs={
        "plan": Input(ACTION_PLAN.table, weeks=COMING),
        "lift": Input("demand.action_lift", weeks=COMING),
        "forecasts": Input("demand.forecasts", weeks=COMING),
        "panel": Input("demand.panel", weeks=YEAR),
        "products": Input("marts.dim_product"),
        "model": Input(f"models.{NAME}", load=False),
    },
    group="serving",
    kinds={"numpy"},
    owner=ACTIONS_TEAM,
    description=(
        "The coming week's plan, its candidates, and the demand model with what turns a plan into "
        "features: for `/recommend_actions`, `/what_if` and the insight cards. The running service "
        "swaps to it by itself."
    ),
    depends_on=[action_settings_text(get_settings())],
)
def action_snapshot(
    context: ArtifactContext,
    plan: pl.LazyFrame,
    lift: pl.LazyFrame,
    forecasts: pl.LazyFrame,
    panel: pl.LazyFrame,
    products: pl.LazyFrame,
) -> Artifact:
    settings, week = context.settings, PROTOCOL.coming
    rows, foreseen = panel.collect(), forecasts.collect()
    # The decision is made anew only for its candidates; what stands is what the table holds.
    recent = pl.col("week_start") >= week + PANEL_WEEKS.start * ONE_WEEK
    made = decided(settings, week=week, lift=lift, panel=rows.lazy().filter(recent))
    stored = _model_of(foreseen, model_registry.latest_model(settings, NAME))
    basis = plan_basis(rows, week=week)
    standing = plan.collect()
    facts = ActionFacts(
        format=FORMAT,
        week=week,
        known_at=_newest(rows, before=start_of_week(week, time_zone=settings.time_zone)),
        data_snapshot=str(context.lake.snapshot_id()),
        model_version=stored.version,
        decision=made.verdict.decision,
        reason=made.verdict.reason,
        dispersion=dispersions(stored)[1].as_dict(),
        correction=foreseen.filter(pl.col("horizon") == 1)["correction"][0],
        display_codes=basis.history.series.display_codes,
        mailer_codes=basis.history.series.mailer_codes,
    )
    files = snapshot_files(
        facts=facts,
        plan=standing,
        candidates=worth_keeping(made.candidates, action_settings(settings)),
        products=_latest(products),
        weeks=_weeks(rows, foreseen),
        basis=basis,
        model=stored.read(),
        settings_text=action_settings_text(settings),
    )
    version = write_version(settings.action_snapshot_dir, files)
    return Artifact(
        versions={None: model_registry.content_version(without_lineage(files))},
        sizes={None: basis.rows.height},
        metadata={
            "version": version,
            "decision": facts.decision,
            "planned": standing.height,
            "bytes": sum(map(len, files.values())),
            "folder": dg.MetadataValue.path(str(settings.action_snapshot_dir)),
        },
    )


def _model_of(forecasts: pl.DataFrame, stored: StoredModel) -> StoredModel:
    """The model trained last, if the forecasts are its own."""
    made_by = forecasts["model_version"].unique().to_list()
    if made_by != [stored.version]:
        raise dg.Failure(
            f"demand.forecasts were made by {', '.join(made_by)}, the demand model is "
            f"{stored.version}; materialise demand.forecasts again",
            allow_retries=False,
        )
    return stored


def _newest(panel: pl.DataFrame, *, before: datetime) -> datetime:
    """When the newest sale behind the plan became known; of a first week, its start."""
    past = panel.filter(pl.col("units").is_not_null() & (pl.col("known_at") <= before))
    return before if past.is_empty() else past["known_at"].max()  # type: ignore[return-value]


def _latest(products: pl.LazyFrame) -> pl.DataFrame:
    return (
        products.sort("product_id", "week_start")
        .group_by("product_id", maintain_order=True)
        .agg(pl.col("category", "type").last())
        .collect()
    )


def _weeks(panel: pl.DataFrame, forecasts: pl.DataFrame) -> pl.DataFrame:
    """Units that each store sold in its last weeks, and those foreseen."""
    week = PROTOCOL.coming
    past = panel.filter(
        pl.col("week_start").is_between(week - SHOWN_WEEKS * ONE_WEEK, week - ONE_WEEK)
    )
    keys = ["store_id", "week_start"]
    sold = past.group_by(keys).agg(
        pl.col("units").cast(pl.Float64).sum(), pl.lit(None, dtype=pl.Float64).alias("forecast")
    )
    foreseen = forecasts.group_by(keys).agg(
        pl.lit(None, dtype=pl.Float64).alias("units"),
        # Sorted, because a sum of floats depends on the order of its terms.
        pl.col("mean").sort().sum().alias("forecast"),
    )
    return pl.concat([sold, foreseen]).sort(keys)
