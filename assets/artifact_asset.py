"""The factory behind assets that are not tables: drops, models, reports, packages.

Their state is recorded beside that of the tables, so that one plan covers the whole graph.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import dagster as dg

from assets.governance.code_version import code_version
from assets.lake_asset import Input, graph_metadata
from assets.partitions import WEEKLY, as_weeks
from assets.table_body import BODIES, Body
from assets.table_inputs import input_versions
from resources import partition_status, run_reaper
from resources.lake import Lake
from resources.partition_status import PartitionStatus
from resources.settings import Settings

progress = logging.getLogger("liftgraph.progress")


@dataclass(frozen=True)
class Artifact:
    """What an artifact asset made.

    Attributes:
        versions: Week (``None`` without weeks) to a version that changes with the content.
        sizes: Week to its size: files, rows, or whatever the asset counts.
        metadata: For the UI.
        checks: Results of the checks the asset declared.
    """

    versions: Mapping[date | None, str]
    sizes: Mapping[date | None, int] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    checks: Sequence[dg.AssetCheckResult] = ()


@dataclass(frozen=True)
class ArtifactContext:
    """What an artifact's function may use besides its frames."""

    settings: Settings
    lake: Lake
    log: logging.Logger
    run_id: str
    weeks: list[date]
    code_version: str


def artifact_asset(
    name: str,
    *,
    inputs: Mapping[str, Input] | None = None,
    group: str,
    kinds: set[str],
    owner: str,
    description: str,
    partitioned: bool = False,
    kind: str = "artifact",
    checks: Sequence[dg.AssetCheckSpec] = (),
    automation: dg.AutomationCondition | None = None,
    depends_on: Sequence[str] = (),
    extra_metadata: Mapping[str, Any] | None = None,
) -> Callable[[Callable[..., Artifact]], dg.AssetsDefinition]:
    """Make an artifact asset of a function.

    Args:
        name: ``schema.name`` of the asset.
        inputs: Argument name to input; those with ``load=False`` only order and version it.
        group: Group in the graph.
        kinds: Badges in the UI.
        owner: Shown in the UI.
        description: Shown in the UI.
        partitioned: Weekly, or one.
        kind: ``drop`` for files that change by themselves, else ``artifact``.
        checks: Specs of the checks its function reports; a blocking one that fails stops what is
            downstream, and the artifact counts as failed.
        automation: When Dagster may run it by itself.
        depends_on: Settings and digests of files it depends on beside its code and inputs.
        extra_metadata: Shown beside what the graph needs, e.g. the columns of a table.
    """
    inputs = dict(inputs or {})
    key = dg.AssetKey(name.split("."))

    def decorate(function: Callable[..., Artifact]) -> dg.AssetsDefinition:
        version = code_version(function, extra=depends_on)
        BODIES[name] = Body(function=function, inputs=inputs, partitioned=partitioned)
        described = {i.asset: i.described() for i in inputs.values()}

        @dg.asset(
            key=key,
            description=description,
            group_name=group,
            kinds=kinds,
            owners=[owner],
            code_version=version,
            metadata=graph_metadata(inputs=described, version=version, kind=kind)
            | dict(extra_metadata or {}),
            ins={
                n: dg.AssetIn(
                    key=i.key,
                    partition_mapping=i.weeks.mapping if i.weeks else None,
                    input_manager_key="lake_io",
                )
                for n, i in inputs.items()
                if i.load
            },
            deps=[
                dg.AssetDep(i.key, partition_mapping=i.weeks.mapping if i.weeks else None)
                for i in inputs.values()
                if not i.load
            ],
            check_specs=list(checks),
            partitions_def=WEEKLY if partitioned else None,
            backfill_policy=dg.BackfillPolicy.single_run() if partitioned else None,
            automation_condition=automation,
            required_resource_keys={"lake", "settings"},
        )
        def compute(context: dg.AssetExecutionContext, **frames: Any) -> Iterator[Any]:
            started = time.perf_counter()
            run_reaper.hold(context.resources.settings, context.run_id)
            lake: Lake = context.resources.lake
            weeks = as_weeks(context.partition_keys) if partitioned else []
            read = input_versions(
                described=described,
                weeks=list(weeks) if partitioned else [None],
                statuses=partition_status.current(lake, [i.asset for i in inputs.values()]),
            )
            made = function(
                ArtifactContext(
                    settings=context.resources.settings,
                    lake=lake,
                    log=context.log,
                    run_id=context.run_id,
                    weeks=weeks,
                    code_version=version,
                ),
                **frames,
            )
            seconds = time.perf_counter() - started
            blocking = {c.name for c in checks if c.blocking}
            failed = [c for c in made.checks if not c.passed and c.check_name in blocking]
            reason = "; ".join(f"{c.check_name}: {c.description}" for c in failed)
            with lake.write() as connection:
                partition_status.record(
                    connection,
                    [
                        PartitionStatus(
                            asset=name,
                            week=week,
                            status="failed" if failed else "passed",
                            rows=made.sizes.get(week, 0),
                            data_version=made.versions[week],
                            contract_version=1,
                            code_version=version,
                            inputs=read.get(week, {}),
                            run_id=context.run_id,
                            seconds=seconds / len(made.versions),
                            reason=reason[:4000],
                        )
                        for week in made.versions
                    ],
                )
            progress.info("%s: done in %.1f s", name, seconds)
            yield from made.checks
            yield dg.MaterializeResult(
                asset_key=key, metadata=dict(made.metadata) | {"seconds": round(seconds, 3)}
            )

        return compute

    return decorate
