"""The factory behind every Python table asset: compute, validate, report, then write.

An asset function gets a ``TableContext`` and lazy frames, and returns a frame (or one per table).
The factory runs it chunk by chunk of weeks, validates each chunk on its values, stages what
passed, reports the blocking contract check, and only then hands the rows to the I/O manager. A
failure writes nothing but the failed weeks' health.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from typing import Any

import dagster as dg
import polars as pl

from assets.governance.code_version import code_version
from assets.partitions import WEEKLY
from assets.table_body import BODIES, Body, Frames, TableContext, TableFunction
from assets.table_inputs import FixedWeeks, Input
from assets.table_run import CONTRACT_CHECK, TableRun, output_name
from checks.contracts.contract import Contract

# With these an asset is written.
__all__ = ["FixedWeeks", "Input", "TableContext", "lake_asset"]

# Metadata keys that the plan reads from the graph.
INPUTS_KEY = "liftgraph/inputs"
CODE_KEY = "liftgraph/code_version"
KIND_KEY = "liftgraph/kind"
SINCE_KEY = "liftgraph/since"


def lake_asset(
    *contracts: Contract,
    inputs: Mapping[str, Input] | None = None,
    group: str,
    kinds: set[str],
    weeks_per_chunk: int | None = None,
    parallel_chunks: int = 1,
    hold: Callable[[Frames], Frames] | None = None,
    partitioned: bool = True,
    automation: dg.AutomationCondition | None = None,
    since: date | None = None,
    reports: Sequence[dg.AssetCheckSpec] = (),
    depends_on: Sequence[str] = (),
) -> Callable[[TableFunction], dg.AssetsDefinition]:
    """Make a table asset of a function, with its contract as a blocking check.

    Args:
        *contracts: Of the tables it makes; with several, the function returns a mapping by table.
        inputs: Argument name to input.
        group: Group in the graph.
        kinds: Badges in the UI.
        weeks_per_chunk: Weeks computed and validated at a time; bounds memory over a range.
        parallel_chunks: Chunks made at the same time; more memory, both cores busy. Only for
            functions that write nothing into their context.
        hold: From all inputs to what every chunk reads of them, computed once and kept in memory:
            for inputs that each week's query would otherwise read again. Keeps the columns that
            tell weeks apart.
        partitioned: Weekly, or replaced whole.
        automation: When Dagster may run it by itself.
        since: First week that is kept, where not the calendar's first.
        reports: Further checks, whose results the function appends to ``context.check_results``.
        depends_on: Settings the rows depend on: another value makes every week stale.
    """
    inputs = dict(inputs or {})

    def decorate(function: TableFunction) -> dg.AssetsDefinition:
        holding = [code_version(hold)] if hold else []
        version = code_version(
            function, extra=[*map(_fingerprint, contracts), *depends_on, *holding]
        )
        described = {i.asset: i.described() for i in inputs.values()}
        body = BODIES[contracts[0].table] = Body(
            function=function,
            inputs=inputs,
            partitioned=partitioned,
            contracts=contracts,
            weeks_per_chunk=weeks_per_chunk,
            parallel_chunks=parallel_chunks,
            since=since,
            hold=hold,
        )

        @dg.multi_asset(
            name="__".join(contracts[0].table.split(".")),
            outs={
                output_name(c): dg.AssetOut(
                    key=dg.AssetKey(c.table.split(".")),
                    description=c.description,
                    group_name=group,
                    kinds=kinds,
                    owners=[c.owner],
                    code_version=version,
                    io_manager_key="lake_io",
                    automation_condition=automation,
                    metadata=contract_metadata(c)
                    | graph_metadata(inputs=described, version=version, kind="table", since=since),
                )
                for c in contracts
            },
            ins={
                name: dg.AssetIn(
                    key=i.key,
                    partition_mapping=i.weeks.mapping if i.weeks else None,
                    input_manager_key="lake_io",
                )
                for name, i in inputs.items()
                if i.load
            },
            deps=[_dep(i) for i in inputs.values() if not i.load],
            check_specs=[
                dg.AssetCheckSpec(
                    name=CONTRACT_CHECK,
                    asset=dg.AssetKey(c.table.split(".")),
                    blocking=True,
                    description=f"Every row satisfies the contract of {c.table}, version "
                    f"{c.version}.",
                )
                for c in contracts
            ]
            + list(reports),
            partitions_def=WEEKLY if partitioned else None,
            backfill_policy=dg.BackfillPolicy.single_run() if partitioned else None,
            required_resource_keys={"lake", "settings"},
            op_tags={"liftgraph/group": group},
        )
        def compute(context: dg.AssetExecutionContext, **frames: pl.LazyFrame) -> Iterator[Any]:
            yield from TableRun(
                context=context, body=body, frames=frames, version=version
            ).results()

        return compute

    return decorate


def graph_metadata(
    *, inputs: Mapping[str, Any], version: str, kind: str, since: date | None = None
) -> dict[str, Any]:
    """What the plan reads of an asset (``assets.governance.graph``)."""
    metadata = {INPUTS_KEY: dict(inputs), CODE_KEY: version, KIND_KEY: kind}
    return metadata | ({SINCE_KEY: since.isoformat()} if since else {})


def _dep(i: Input) -> dg.AssetDep:
    return dg.AssetDep(i.key, partition_mapping=i.weeks.mapping if i.weeks else None)


def _fingerprint(contract: Contract) -> str:
    text = repr([(c.name, str(c.dtype), c.nullable, c.constraints) for c in contract.columns])
    text += repr([(c.name, c.error) for c in contract.schema.checks])
    return hashlib.sha256(f"{text}{contract.key}{contract.version}".encode()).hexdigest()


def contract_metadata(contract: Contract) -> dict[str, Any]:
    """Column schema and table facts of a contract, as the UI shows them."""
    columns = [
        dg.TableColumn(
            name=c.name,
            type=str(c.dtype),
            description=c.description + (f" [{c.unit}]" if c.unit else ""),
            constraints=dg.TableColumnConstraints(
                nullable=c.nullable,
                unique=contract.key == (c.name,),
                other=[*c.constraints, f"privacy: {c.privacy}"],
            ),
        )
        for c in contract.columns
    ]
    metadata: dict[str, Any] = {
        "dagster/column_schema": dg.TableSchema(columns=columns),
        "dagster/table_name": f"lake.{contract.table}",
        "contract_version": contract.version,
    }
    if contract.partition_column:
        metadata["partition_expr"] = contract.partition_column
    if contract.freshness_days:
        metadata["freshness_days"] = contract.freshness_days
    return metadata
