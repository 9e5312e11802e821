"""Upkeep of the lake as an asset, so that what it did, and when, stands in the graph."""

import dagster as dg

from resources.lake import Lake
from resources.lake_maintenance import maintain, named_snapshots
from resources.settings import Settings


@dg.asset(
    key=["governance", "lake_maintenance"],
    group_name="governance",
    kinds={"ducklake"},
    owners=["team:data"],
    description=(
        "Merges small files, expires snapshots older than 30 days except those a model names, and "
        "removes files that nothing refers to."
    ),
    required_resource_keys={"lake", "settings"},
)
def lake_maintenance(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    lake: Lake = context.resources.lake
    settings: Settings = context.resources.settings
    done = maintain(lake, keep=named_snapshots(settings))
    return dg.MaterializeResult(
        metadata={
            "files_merged": done.files_merged,
            "snapshots_expired": done.snapshots_expired,
            "snapshots_kept_because_named": done.snapshots_kept_by_name,
            "files_removed": done.files_removed,
        }
    )


maintenance_job = dg.define_asset_job(
    "maintenance", selection=dg.AssetSelection.assets(lake_maintenance)
)
maintenance_schedule = dg.ScheduleDefinition(
    name="maintenance_schedule",
    job=maintenance_job,
    cron_schedule="0 3 * * 0",
    execution_timezone="America/New_York",
    description="Sundays: merge small files, expire old snapshots.",
)
