"""The plan of a week: actions that pay for sure under the limits, and tests of the rest."""

from datetime import date

import dagster as dg
import polars as pl

from assets.lake_asset import Input, TableContext, lake_asset
from assets.partitions import SAME_WEEK, WeekWindow
from assets.training.weeks import PROTOCOL
from checks.contracts.actions import ACTION_PLAN, PROPENSITIES
from models.actions.candidates import candidates
from models.actions.conflicts import ContradictionError
from models.actions.standing import standing_plan, weeks_since_promotion
from models.actions.weekly import WeekPlan, week_plan
from models.calendar import start_of_week
from models.lift.actions import ACTIONS
from resources.action_settings import action_settings, action_settings_text
from resources.settings import Settings, get_settings

# Rest between promotions and the plan that stands: longer than any rest that is asked for.
PANEL_WEEKS = WeekWindow(-26, 0)


def decided(settings: Settings, *, week: date, lift: pl.LazyFrame, panel: pl.LazyFrame) -> WeekPlan:
    """The decision of one week, from the lifts of its actions and the panel up to it.

    Raises:
        Failure: The limits contradict each other.
    """
    declared = action_settings(settings)
    lifts = lift.filter(pl.col("week_start") == week).collect()
    # Without a price or a category an action has no value and no limit.
    usable = lifts.drop_nulls(["base_price", "category"])
    past = panel.select(
        "store_id", "product_id", "week_start", "display", "mailer", "discount", "plan_known"
    ).collect()
    current = standing_plan(past, week=week, actions=ACTIONS)
    rows = candidates(
        usable,
        actions=ACTIONS,
        economics=declared.economics,
        promoted=weeks_since_promotion(past, week=week),
        current=current,
    )
    try:
        return week_plan(
            rows,
            declared,
            unknown=current.height - int(rows["current"].sum()),
            threads=settings.threads,
        )
    except ContradictionError as error:
        raise dg.Failure(
            f"week {week}: {error}. The limits are in actions.toml", allow_retries=False
        ) from error


@lake_asset(
    ACTION_PLAN,
    PROPENSITIES,
    inputs={
        "lift": Input("demand.action_lift", weeks=SAME_WEEK),
        "panel": Input("demand.panel", weeks=PANEL_WEEKS),
    },
    group="actions",
    kinds={"highs", "ducklake"},
    weeks_per_chunk=1,
    since=PROTOCOL.coming,
    depends_on=[action_settings_text(get_settings())],
)
def action_plan(
    context: TableContext, lift: pl.LazyFrame, panel: pl.LazyFrame
) -> dict[str, pl.DataFrame]:
    (week,) = context.weeks
    made = decided(context.settings, week=week, lift=lift, panel=panel)
    context.metadata["decision"] = made.verdict.decision
    context.metadata["reason"] = made.verdict.reason
    context.metadata["gap"] = made.plan.solver["gap"]
    known = pl.lit(start_of_week(week, time_zone=context.settings.time_zone)).cast(
        pl.Datetime("us")
    )
    return {
        ACTION_PLAN.table: made.table().with_columns(known.alias("known_at")),
        PROPENSITIES.table: made.drawn.log.with_columns(known.alias("known_at")),
    }
