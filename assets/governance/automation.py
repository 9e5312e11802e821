"""When the graph runs by itself: the weekly schedule, the late-data schedule, and two sensors."""

import hashlib
import time
from collections.abc import Mapping
from datetime import date

import dagster as dg

from assets.governance.graph import current_plan, nodes_of
from assets.governance.plan import Batch, Node, Plan, batches
from assets.governance.runner import keys_of, run_tags
from assets.partitions import calendar
from assets.table_run import ONLY_STALE_TAG
from models.calendar import ONE_WEEK
from resources import landing, run_reaper
from resources.lake import Lake
from resources.settings import Settings

# A file whose last byte is younger may still be growing.
SETTLE_SECONDS = 10
# Which batch of the plan a run was asked for.
BATCH_TAG = "liftgraph/batch"
# What is killed over and over takes too much memory; somebody has to look.
MOST_RETRIES_OF_A_KILLED_RUN = 3
# What runs weekly: everything with weeks, up to the scores.
WEEKLY_GROUPS = ("landing", "raw", "warehouse", "features", "labels", "ranking")

weekly_job = dg.define_asset_job(
    "weekly",
    selection=dg.AssetSelection.groups(*WEEKLY_GROUPS)
    | dg.AssetSelection.assets(["ranking", "ranked_offers"]),
    description="Everything with weeks, for the weeks it is asked for.",
)


def scheduled_tags(first: date, last: date) -> dict[str, str]:
    """Tags of a scheduled run: the weeks, of which those that are fresh are left alone."""
    return run_tags(Batch(assets=(), weeks=(first, last))) | {ONLY_STALE_TAG: "true"}


def _request(first: date, last: date, *, key: str) -> dg.RunRequest:
    return dg.RunRequest(run_key=key, tags=scheduled_tags(first, last))


@dg.schedule(
    job=weekly_job,
    cron_schedule="0 6 * * 1",
    execution_timezone="America/New_York",
    description="Mondays: raw data of the week that ended, features and scores of the one begun.",
)
def weekly_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    weeks = calendar()
    return _request(
        weeks[-2], weeks[-1], key=f"weekly {weeks[-1]} {context.scheduled_execution_time:%F}"
    )


@dg.schedule(
    job=weekly_job,
    cron_schedule="0 6 * * 3",
    execution_timezone="America/New_York",
    required_resource_keys={"settings"},
    description="Wednesdays: the trailing weeks again, for late and corrected data.",
)
def late_data_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    settings: Settings = context.resources.settings
    weeks = calendar()
    first = max(weeks[0], weeks[-1] - settings.late_weeks * ONE_WEEK)
    day = context.scheduled_execution_time.date()
    return _request(first, weeks[-1], key=f"late {weeks[-1]} {day}")


parity_job = dg.define_asset_job(
    "parity",
    selection=dg.AssetSelection.assets(["monitoring", "feature_parity"]),
    description="Whether what was served is what the lake gives.",
)


@dg.schedule(
    job=parity_job,
    cron_schedule="30 5 * * *",
    execution_timezone="America/New_York",
    description="Daily: features served since the last comparison, beside those recomputed.",
)
def parity_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    return dg.RunRequest(run_key=f"parity {context.scheduled_execution_time:%F}")


def unsettled_drops(settings: Settings, *, now: float) -> list[str]:
    """Files that may still be growing."""
    return [
        str(file.relative_to(settings.landing_dir))
        for table in landing.TABLES
        for week in landing.weeks_dropped(settings.landing_dir, table)
        for file in landing.drop(settings.landing_dir, table, week).files
        if now - file.stat().st_mtime < SETTLE_SECONDS
    ]


def first_wave(found: list[Batch], nodes: Mapping[str, Node]) -> list[Batch]:
    """Batches that are made from no other: what comes after one that fails must not run."""
    wave: list[Batch] = []
    for place, batch in enumerate(found):
        before = {asset for earlier in found[:place] for asset in earlier.assets}
        if not any(i in before for asset in batch.assets for i in nodes[asset].inputs):
            wave.append(batch)
    return wave


def run_requests(
    plan: Plan, found: list[Batch], *, instance: dg.DagsterInstance
) -> list[dg.RunRequest]:
    """One run per batch; the key names what is stale, so that a request is made once.

    A run whose process was killed did not fail by itself, so its work is asked for again.
    """
    requests = []
    for batch in found:
        stale = [
            f"{e.asset}@{e.week}:{e.fingerprint}"
            for e in plan.of("stale")
            if e.asset in batch.assets
        ]
        digest = hashlib.sha256("|".join([*stale, str(batch.weeks)]).encode()).hexdigest()[:16]
        killed = instance.get_runs_count(
            dg.RunsFilter(tags={BATCH_TAG: digest, run_reaper.REAPED_TAG: "true"})
        )
        requests.append(
            dg.RunRequest(
                run_key=f"{digest}-{min(killed, MOST_RETRIES_OF_A_KILLED_RUN)}",
                asset_selection=keys_of(batch),
                tags=run_tags(batch) | {BATCH_TAG: digest},
            )
        )
    return requests


def automation(definitions_of) -> list:
    """Schedules and sensors of the graph.

    Args:
        definitions_of: Returns the definitions; called when a sensor ticks, since they hold it.
    """

    @dg.sensor(
        asset_selection=dg.AssetSelection.all(),
        minimum_interval_seconds=60,
        required_resource_keys={"settings", "lake"},
        default_status=dg.DefaultSensorStatus.STOPPED,
        description=(
            "Finds new, late and corrected drops and everything stale by content or code, and "
            "runs it week by week. Weeks whose checks failed hold back only what needs them "
            "(quality.partition_status)."
        ),
    )
    def stale_partitions(context: dg.SensorEvaluationContext):
        settings: Settings = context.resources.settings
        lake: Lake = context.resources.lake
        growing = unsettled_drops(settings, now=time.time())
        if growing:
            return dg.SkipReason(f"still being written: {', '.join(growing[:5])}")
        strange = landing.misplaced(settings.landing_dir)
        for line in strange:
            context.log.warning("landing: %s", line)
        busy = context.instance.get_runs_count(
            dg.RunsFilter(
                statuses=[
                    dg.DagsterRunStatus.QUEUED,
                    dg.DagsterRunStatus.STARTING,
                    dg.DagsterRunStatus.STARTED,
                ]
            )
        )
        if busy:
            return dg.SkipReason(f"{busy} run(s) under way; what they leave stale comes next")
        definitions = definitions_of()
        plan = current_plan(definitions, settings=settings, lake=lake)
        nodes = nodes_of(definitions)
        todo = batches(plan, nodes)
        if not todo:
            blocked = plan.of("blocked")
            if blocked:
                return dg.SkipReason(
                    f"{len(blocked)} partition(s) blocked, e.g. {blocked[0].asset} "
                    f"{blocked[0].week}: {blocked[0].why}"
                )
            return dg.SkipReason("nothing is stale")
        return run_requests(plan, first_wave(todo, nodes), instance=context.instance)

    @dg.sensor(
        minimum_interval_seconds=60,
        required_resource_keys={"settings"},
        default_status=dg.DefaultSensorStatus.RUNNING,
        job=weekly_job,
        description="Fails runs whose process is gone, so that they cannot hold the queue.",
    )
    def reaper(context: dg.SensorEvaluationContext):
        reaped = run_reaper.reap(context.instance, context.resources.settings)
        if not reaped:
            return dg.SkipReason("no dead run")
        return dg.SkipReason("failed dead run(s) " + ", ".join(r.run_id for r in reaped))

    return [stale_partitions, reaper]
