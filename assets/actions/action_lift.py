"""What each action would add in a coming week, in every store and for every drink on its shelf."""

import dagster as dg
import polars as pl

from assets.features.demand_panel import YEAR_AND_WEEK
from assets.lake_asset import Input, TableContext, lake_asset
from assets.training.weeks import PROTOCOL
from checks.contracts.demand import DEMAND_PANEL
from checks.contracts.lift import ACTION_LIFT
from models.calendar import start_of_week
from models.lift.action_lift import action_lift
from models.lift.effects import estimate_effects, summary


@lake_asset(
    ACTION_LIFT,
    inputs={"panel": Input(DEMAND_PANEL.table, weeks=YEAR_AND_WEEK)},
    group="demand",
    kinds={"polars", "ducklake"},
    # Every week has effects of its own, from the weeks before it.
    weeks_per_chunk=1,
    # Earlier weeks are there as soon as somebody backfills them.
    since=PROTOCOL.coming,
)
def lift_of_actions(context: TableContext, panel: pl.LazyFrame) -> pl.DataFrame:
    (week,) = context.weeks
    rows = panel.filter(pl.col("active")).collect()
    effects = estimate_effects(rows.filter(pl.col("week_start") < week, pl.col("plan_known")))
    context.metadata[f"effects {week}"] = dg.MetadataValue.json(summary(effects))
    made = action_lift(effects, rows.filter(pl.col("week_start") == week))
    known = start_of_week(week, time_zone=context.settings.time_zone)
    return made.with_columns(pl.lit(known).cast(pl.Datetime("us")).alias("known_at"))
