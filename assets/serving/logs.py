"""Serving: what the service logged, in the lake: its decisions, and the events it took.

Without weeks in the graph though their rows have one: decisions are made by the clock, which the
bundled calendar ended long before, and they are appended as they come, not replaced.
"""

from pathlib import Path

import dagster as dg

from assets.artifact_asset import Artifact, ArtifactContext, artifact_asset
from assets.lake_asset import contract_metadata
from assets.table_run import CONTRACT_CHECK
from checks.contracts.contract import Contract
from checks.contracts.decisions import DECISIONS, EVENTS
from models.serving.log_rows import decision_rows, event_rows
from resources.lake import Lake
from resources.log_ingest import RowsOf, ingest, waiting_bytes
from resources.settings import Settings

# Contract of the table to what makes rows of a line.
LOGS: dict[Contract, RowsOf] = {DECISIONS: decision_rows, EVENTS: event_rows}


def folder_of(settings: Settings, contract: Contract) -> Path:
    """Where the log of a table lies."""
    return settings.decisions_dir if contract is DECISIONS else settings.household_events_dir


def _log_asset(contract: Contract, rows_of: RowsOf) -> dg.AssetsDefinition:
    @artifact_asset(
        contract.table,
        group="serving",
        kinds={"ducklake"},
        owner=contract.owner,
        description=(
            f"{contract.description} Appended from the service's log files, each line exactly "
            "once: how far a file is read is stored with its rows. Lines that are no rows are in "
            "serving.rejected_lines."
        ),
        checks=[
            dg.AssetCheckSpec(
                name=CONTRACT_CHECK,
                asset=dg.AssetKey(contract.table.split(".")),
                blocking=True,
                description=f"Every row satisfies the contract of {contract.table}; lines that do "
                "not are set aside.",
            )
        ],
        extra_metadata=contract_metadata(contract),
        depends_on=[rows_of.__name__],
    )
    def log(context: ArtifactContext) -> Artifact:
        done = ingest(
            context.lake,
            folder_of(context.settings, contract),
            contract=contract,
            rows_of=rows_of,
            time_zone=context.settings.time_zone,
            run_id=context.run_id,
        )
        return Artifact(
            versions={None: str(done.end_bytes)},
            sizes={None: done.rows},
            metadata={"files": done.files, "lines": done.lines, "set_aside": done.rejected},
            checks=[
                dg.AssetCheckResult(
                    check_name=CONTRACT_CHECK,
                    # What is set aside is not in the table, so nothing downstream is blocked.
                    passed=True,
                    description=f"{done.rows:,} rows stored, {done.rejected:,} lines set aside",
                )
            ],
        )

    return log


SERVING_LOGS = [_log_asset(contract, rows_of) for contract, rows_of in LOGS.items()]


@dg.sensor(
    asset_selection=dg.AssetSelection.assets(*SERVING_LOGS),
    minimum_interval_seconds=60,
    required_resource_keys={"settings", "lake"},
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Stores what the service logged since the last run, while there is anything.",
)
def service_logs(context: dg.SensorEvaluationContext):
    settings: Settings = context.resources.settings
    lake: Lake = context.resources.lake
    waiting = {c.table: waiting_bytes(lake, folder_of(settings, c), c) for c in LOGS}
    tables = [table for table, size in waiting.items() if size]
    if not tables:
        return dg.SkipReason("everything that was logged is stored")
    under_way = dg.RunsFilter(
        tags={"liftgraph/service_logs": "true"},
        statuses=[
            dg.DagsterRunStatus.QUEUED,
            dg.DagsterRunStatus.STARTING,
            dg.DagsterRunStatus.STARTED,
        ],
    )
    if context.instance.get_runs_count(under_way):
        return dg.SkipReason("what was logged before is being stored")
    return dg.RunRequest(
        asset_selection=[dg.AssetKey(table.split(".")) for table in tables],
        tags={"liftgraph/service_logs": "true"},
    )
