"""The actions report: the coming week's plan for people, and its figures for machines."""

import hashlib
import json

import dagster as dg
import polars as pl

from assets.actions.plan import PANEL_WEEKS, decided
from assets.artifact_asset import Artifact, ArtifactContext, artifact_asset
from assets.lake_asset import FixedWeeks, Input
from assets.training.weeks import COMING, PROTOCOL
from checks.contracts.actions import ACTION_PLAN, ACTIONS_TEAM
from models.calendar import ONE_WEEK
from models.evaluation.actions_report import document, render_html, summary
from resources.action_settings import action_settings
from resources.report_files import write_report
from resources.revision import git_revision

REPORT = "evaluation.actions"


@artifact_asset(
    REPORT,
    inputs={
        "lift": Input("demand.action_lift", weeks=COMING),
        "panel": Input(
            "demand.panel",
            weeks=FixedWeeks(PROTOCOL.coming + PANEL_WEEKS.start * ONE_WEEK, PROTOCOL.coming),
        ),
        "products": Input("marts.dim_product"),
        "plan": Input(ACTION_PLAN.table, weeks=COMING, load=False),
    },
    group="evaluation",
    kinds={"altair"},
    owner=ACTIONS_TEAM,
    description=(
        "Per store a plan with lift, cost, return, reasons and uncertainty, or the tests to run "
        "first: `reports/actions/` for people and machines."
    ),
)
def actions_report(
    context: ArtifactContext, lift: pl.LazyFrame, panel: pl.LazyFrame, products: pl.LazyFrame
) -> Artifact:
    settings = context.settings
    made = decided(settings, week=PROTOCOL.coming, lift=lift, panel=panel)
    found = document(
        made,
        settings=action_settings(settings),
        lineage={
            "data_snapshot": str(context.lake.snapshot_id()),
            "git_revision": git_revision(),
            "seed": action_settings(settings).exploration.seed,
        },
        names=_names(products),
    )
    page = write_report(
        settings.reports / "actions",
        page=render_html(found),
        figures=json.dumps(found, indent=1, allow_nan=False),
    )
    # Seconds differ from run to run, the decision does not.
    told = json.dumps([found["verdict"], found["stores"], found["tests"]], sort_keys=True)
    return Artifact(
        versions={None: hashlib.sha256(told.encode()).hexdigest()[:12]},
        sizes={None: made.plan.rows.height},
        metadata={
            "summary": dg.MetadataValue.md("\n\n".join(summary(found))),
            "report": dg.MetadataValue.path(str(page)),
            "decision": made.verdict.decision,
        },
    )


def _names(products: pl.LazyFrame) -> dict[str, str]:
    """What a product is, as far as the data says: type, size and whose brand."""
    latest = (
        products.sort("product_id", "week_start")
        .select(
            "product_id",
            pl.concat_str(
                pl.col("type").str.to_lowercase(),
                pl.col("size").str.to_lowercase(),
                pl.col("brand").str.to_lowercase() + " brand",
                separator=", ",
                ignore_nulls=True,
            ).alias("name"),
        )
        .unique("product_id", keep="last")
        .collect()
    )
    return dict(latest.rows())
