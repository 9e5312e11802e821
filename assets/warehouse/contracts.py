"""The marts' contract checks: what dbt has built, validated on its values after the build.

Each records the health and content version of its weeks; a failed one stops what is downstream.
"""

import time
from collections.abc import Iterator
from datetime import date

import dagster as dg

from assets.governance.runner import RANGE_END, RANGE_START
from assets.lake_asset import CODE_KEY, INPUTS_KEY
from assets.partitions import calendar
from assets.table_inputs import input_versions
from assets.table_run import CONTRACT_CHECK, progress
from assets.warehouse.dbt import (
    TRANSLATOR,
    asset_name,
    manifest,
    record_views,
    views,
)
from checks.contracts.contract import Contract, ContractReport, validate
from checks.contracts.marts import MARTS
from models.calendar import weeks_between
from resources import partition_status
from resources.content_version import Contents, PartitionVersion, contents, versions
from resources.lake import Lake
from resources.partition_status import PartitionStatus

# Weeks of a mart validated at a time: 400,000 promotion rows each.
WEEKS_AT_ONCE = 6


def _weeks(run: dg.DagsterRun) -> list[date]:
    """Weeks of the run; all of them for a check that is run by itself."""
    tags = run.tags
    if RANGE_START in tags:
        return weeks_between(
            date.fromisoformat(tags[RANGE_START]), date.fromisoformat(tags[RANGE_END])
        )
    if "dagster/partition" in tags:
        return [date.fromisoformat(tags["dagster/partition"])]
    return calendar()


def _node(contract: Contract) -> dict:
    return next(
        n
        for n in manifest()["nodes"].values()
        if n["resource_type"] == "model" and asset_name(n) == contract.table
    )


@dg.multi_asset_check(
    name="mart_contracts",
    specs=[
        dg.AssetCheckSpec(
            CONTRACT_CHECK,
            asset=dg.AssetKey(c.table.split(".")),
            blocking=True,
            description=f"Every row satisfies the contract of {c.table}, version {c.version}.",
        )
        for c in MARTS
    ],
    can_subset=True,
    required_resource_keys={"lake"},
)
def mart_contracts(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
    """Validate the run's weeks of each mart."""
    lake: Lake = context.resources.lake
    weeks = _weeks(context.run)
    selected = {key.asset_key for key in context.selected_asset_check_keys}
    for contract in MARTS:
        key = dg.AssetKey(contract.table.split("."))
        if key not in selected:
            continue
        # Versions are compared with all earlier drops, so later weeks were replaced as well.
        onwards = _node(contract)["config"].get("replaces") == "onwards"
        mine = [w for w in calendar() if w >= min(weeks)] if onwards else weeks
        started = time.perf_counter()
        snapshot = lake.snapshot_id()
        checked = validate_mart(lake, contract, mine)
        reports = [report for report, _ in checked]
        _record(
            lake,
            contract,
            weeks=mine,
            reports=reports,
            held=versions([found for _, found in checked], mine),
            snapshot=snapshot,
            run_id=context.run.run_id,
            seconds=time.perf_counter() - started,
        )
        rows = sum(r.rows for r in reports)
        progress.info("%s: %s rows checked", contract.table, f"{rows:,}")
        yield dg.AssetCheckResult(
            asset_key=key,
            check_name=CONTRACT_CHECK,
            passed=all(r.passed for r in reports),
            severity=dg.AssetCheckSeverity.ERROR,
            description="; ".join(str(r) for r in reports if not r.passed)[:2000] or None,
            metadata={
                "rows": rows,
                "first_week": str(mine[0]),
                "last_week": str(mine[-1]),
                "bad_weeks": sorted({w for r in reports for w in r.bad_partitions}),
            },
        )
    _record_views_of_marts(context.run, lake, weeks=weeks)


def _record_views_of_marts(run: dg.DagsterRun, lake: Lake, *, weeks: list[date]) -> None:
    """Views of marts hold what the marts hold, so they are recorded once those are."""
    built = run.asset_selection
    made = [
        view
        for view in views()
        if view["schema"] != "staging"
        and (built is None or dg.AssetKey(asset_name(view).split(".")) in built)
    ]
    record_views(lake, made, weeks=weeks, run_id=run.run_id)


def validate_mart(
    lake: Lake, contract: Contract, weeks: list[date]
) -> list[tuple[ContractReport, Contents]]:
    """Hold what a mart holds for ``weeks`` against its contract, some weeks at a time.

    Returns:
        By some weeks, the report and what they hold.
    """
    checked = []
    for i in range(0, len(weeks), WEEKS_AT_ONCE):
        some = weeks[i : i + WEEKS_AT_ONCE]
        rows = lake.scan(contract, first=some[0], last=some[-1]).collect()
        checked.append((validate(rows, contract), contents(rows, contract)))
    return checked


def _record(
    lake: Lake,
    contract: Contract,
    *,
    weeks: list[date],
    reports: list[ContractReport],
    held: list[PartitionVersion],
    snapshot: int,
    run_id: str,
    seconds: float,
) -> None:
    """Record what was checked, if the lake still holds it.

    Raises:
        Failure: Another run wrote the mart in the meantime.
    """
    node = _node(contract)
    metadata = TRANSLATOR.get_metadata(node)
    described = metadata[INPUTS_KEY]
    made_from = input_versions(
        described=described,
        weeks=weeks,
        statuses=partition_status.current(lake, sorted(described)),
    )
    bad = {w for r in reports for w in r.bad_partitions}
    reason = "; ".join(str(r) for r in reports if not r.passed)
    with lake.write() as connection:
        if lake.written_since(connection, contract.table, snapshot):
            raise dg.Failure(
                description=f"{contract.table}: another run wrote it while its contract was "
                "checked; nothing was recorded. Run it again",
                allow_retries=False,
            )
        partition_status.record(
            connection,
            [
                PartitionStatus(
                    asset=contract.table,
                    week=version.week,
                    status="failed" if str(version.week) in bad else "passed",
                    rows=version.rows,
                    data_version=version.data_version,
                    contract_version=contract.version,
                    code_version=metadata[CODE_KEY],
                    inputs=made_from.get(version.week, {}),
                    run_id=run_id,
                    seconds=seconds / len(weeks),
                    reason=reason[:4000] if str(version.week) in bad else "",
                )
                for version in held
            ],
        )
