"""One check per table with a freshness limit: the age of its newest event."""

from datetime import UTC, datetime

import dagster as dg
import polars as pl

from assets.partitions import last_data_week
from checks.contracts.contract import Contract
from checks.contracts.registry import CONTRACTS
from checks.freshness import evaluate_freshness
from models.calendar import end_of_week
from resources.lake import Lake
from resources.settings import Settings

# What says when a row happened, best first.
_EVENT_TIMES = ("sold_at", "known_at")


def _present(settings: Settings) -> datetime:
    """Now, or the end of a calendar that has one."""
    now = datetime.now(UTC).replace(tzinfo=None)
    if settings.last_week is None:
        return now
    return min(now, end_of_week(last_data_week(), time_zone=settings.time_zone))


def _freshness_check(contract: Contract) -> dg.AssetChecksDefinition:
    event = next(c for c in _EVENT_TIMES if c in contract.names)

    @dg.asset_check(
        asset=dg.AssetKey(contract.table.split(".")),
        name="freshness",
        description=f"The newest `{event}` is at most {contract.freshness_days} days old.",
        required_resource_keys={"lake", "settings"},
    )
    def freshness(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        lake: Lake = context.resources.lake
        newest = lake.scan(contract).select(pl.col(event).max()).collect().item()
        found = evaluate_freshness(
            newest=newest,
            now=_present(context.resources.settings),
            allowed_days=contract.freshness_days or 0,
            table=contract.table,
        )
        return dg.AssetCheckResult(
            passed=found.passed,
            severity=dg.AssetCheckSeverity.WARN,
            description=found.reason,
            metadata={"newest_event": str(newest), "age_days": found.age_days},
        )

    return freshness


FRESHNESS = [_freshness_check(c) for c in CONTRACTS.values() if c.freshness_days]
