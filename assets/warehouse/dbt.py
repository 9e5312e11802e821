"""The dbt project as assets: keys, groups, windows of weeks, and the build itself."""

import hashlib
import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from functools import lru_cache
from typing import Any

import dagster as dg

from assets.lake_asset import contract_metadata, graph_metadata
from assets.partitions import (
    PAST_AND_SAME_WEEK,
    SAME_WEEK,
    WEEKLY,
    WeekWindow,
    as_weeks,
)
from assets.table_inputs import input_versions
from assets.table_run import progress
from checks.contracts.marts import MARTS
from resources import dbt_process, partition_status, run_reaper
from resources.lake import Lake
from resources.partition_status import PartitionStatus
from resources.settings import Settings, get_settings

with dbt_process.not_in_this_process():
    from dagster_dbt import (
        DagsterDbtTranslator,
        DagsterDbtTranslatorSettings,
        DbtCliResource,
        dbt_assets,
    )

GROUP = "warehouse"
OWNER = "team:data"

_CONTRACTS = {c.table: c for c in MARTS}


def dbt_settings(settings: Settings) -> dict[str, str]:
    """The dbt child's environment for this installation."""
    return dbt_process.dbt_environment(
        catalog=settings.catalog_uri,
        data_path=settings.data_path,
        lock_path=settings.write_lock,
        temp_directory=settings.home / "tmp",
        threads=settings.threads,
        memory_limit=settings.memory_limit,
        time_zone=settings.time_zone,
    )


class DbtProcess(DbtCliResource):
    """dbt in a process of its own, and none of it in this one.

    Dagster would parse the macros here, too, to ask the warehouse for rows and columns after a
    build: three seconds a build, for what nobody asks (the build tells columns itself).
    """

    def _initialize_dbt_core_adapter(self, args: Sequence[str]) -> Any:  # noqa: ARG002
        return None


def dbt_resource(settings: Settings) -> DbtCliResource:
    """Dbt under its guards: dies with the run, holds the lake's lock while it writes."""
    launcher = dbt_process.guarded_executable(settings.home / "bin", dbt_settings(settings))
    return DbtProcess(
        project_dir=str(dbt_process.PROJECT_DIR),
        profiles_dir=str(dbt_process.PROJECT_DIR),
        dbt_executable=str(launcher),
    )


@lru_cache(maxsize=1)
def manifest() -> Mapping[str, Any]:
    """The parsed project; parsed anew only if a file of it changed."""
    path = dbt_process.manifest_path(environment=dbt_settings(get_settings()))
    return json.loads(path.read_text(encoding="utf-8"))


def asset_name(node: Mapping[str, Any]) -> str:
    """``schema.name`` of a dbt model or source."""
    return f"{node['schema']}.{node['name']}"


def _window(node: Mapping[str, Any], parent: Mapping[str, Any]) -> WeekWindow:
    """Weeks of a parent that a week of a model is made from."""
    onwards = node["config"].get("replaces") == "onwards"
    if node["config"]["materialized"] == "view" or not onwards:
        return SAME_WEEK
    # Versions compare with every earlier drop.
    return PAST_AND_SAME_WEEK if parent["name"] != node["name"] else SAME_WEEK


def _parents(node: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    nodes, sources = manifest()["nodes"], manifest()["sources"]
    return [nodes.get(unique_id) or sources[unique_id] for unique_id in node["depends_on"]["nodes"]]


def inputs_of(node: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    windows = {asset_name(p): _window(node, p) for p in _parents(node)}
    return {name: {"start": w.start, "end": w.end} for name, w in windows.items()}


def _code_version(model: Mapping[str, Any]) -> str:
    """Of a model's SQL and of every macro of this project that it reaches."""
    macros = manifest()["macros"]
    waiting, reached = list(model["depends_on"]["macros"]), set()
    while waiting:
        macro = waiting.pop()
        if macro in reached or not macro.startswith("macro.liftgraph."):
            continue
        reached.add(macro)
        waiting += macros[macro]["depends_on"]["macros"]
    digest = hashlib.sha256(model["checksum"]["checksum"].encode())
    for macro in sorted(reached):
        digest.update(macros[macro]["macro_sql"].encode())
    return digest.hexdigest()[:12]


class Translator(DagsterDbtTranslator):
    """dbt nodes as assets of this graph."""

    def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> dg.AssetKey:
        return dg.AssetKey(asset_name(dbt_resource_props).split("."))

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str:  # noqa: ARG002
        return GROUP

    def get_owners(self, dbt_resource_props: Mapping[str, Any]) -> list[str]:  # noqa: ARG002
        return [OWNER]

    def get_code_version(self, dbt_resource_props: Mapping[str, Any]) -> str | None:
        if dbt_resource_props["resource_type"] != "model":
            return None
        return _code_version(dbt_resource_props)

    def get_metadata(self, dbt_resource_props: Mapping[str, Any]) -> Mapping[str, Any]:
        metadata = dict(super().get_metadata(dbt_resource_props))
        if dbt_resource_props["resource_type"] != "model":
            return metadata
        contract = _CONTRACTS.get(asset_name(dbt_resource_props))
        view = dbt_resource_props["config"]["materialized"] == "view"
        return (
            metadata
            | (contract_metadata(contract) if contract else {})
            | graph_metadata(
                inputs=inputs_of(dbt_resource_props),
                version=_code_version(dbt_resource_props),
                kind="view" if view else "table",
            )
        )


TRANSLATOR = Translator(settings=DagsterDbtTranslatorSettings(enable_code_references=False))


@dbt_assets(
    manifest=manifest(),
    dagster_dbt_translator=TRANSLATOR,
    partitions_def=WEEKLY,
    backfill_policy=dg.BackfillPolicy.single_run(),
    required_resource_keys={"dbt", "lake", "settings"},
    name="warehouse",
)
def warehouse(context: dg.AssetExecutionContext) -> Iterator[Any]:
    """Build the selected models for the run's weeks, and test them."""
    settings: Settings = context.resources.settings
    lake: Lake = context.resources.lake
    run_reaper.hold(settings, context.run_id)
    started = time.perf_counter()
    weeks = as_weeks(context.partition_keys)
    progress.info("dbt: building %d model(s)", len(context.selected_asset_keys))
    span = json.dumps({"min_week": str(min(weeks)), "max_week": str(max(weeks))})
    build = context.resources.dbt.cli([*dbt_process.BUILD_ARGS, "--vars", span], context=context)
    # Columns and their lineage come with the build: dbt/macros/column_metadata.sql.
    yield from build.stream()
    # One folder per build; dbt's own log of a failed one stays where its message points.
    shutil.rmtree(build.target_path, ignore_errors=True)
    # Views of marts are recorded again once the marts' contracts have been checked.
    made = [v for v in views() if TRANSLATOR.get_asset_key(v) in context.selected_asset_keys]
    record_views(lake, made, weeks=weeks, run_id=context.run_id)
    progress.info("dbt: done in %.1f s", time.perf_counter() - started)


def views() -> list[Mapping[str, Any]]:
    """The models that are views."""
    return [
        node
        for node in manifest()["nodes"].values()
        if node["resource_type"] == "model" and node["config"]["materialized"] == "view"
    ]


def record_views(
    lake: Lake, made: Sequence[Mapping[str, Any]], *, weeks: Sequence[date], run_id: str
) -> None:
    """Record views that were built; what a view holds is what its inputs hold."""
    waiting = {asset_name(v): v for v in made}
    while waiting:
        # A view of a view after it, so that it sees the version just recorded.
        ready = [v for v in waiting.values() if not waiting.keys() & inputs_of(v).keys()]
        _record_layer(lake, ready, weeks=weeks, run_id=run_id)
        for view in ready:
            del waiting[asset_name(view)]


def _record_layer(
    lake: Lake, made: Sequence[Mapping[str, Any]], *, weeks: Sequence[date], run_id: str
) -> None:
    inputs = {asset_name(v): inputs_of(v) for v in made}
    statuses = partition_status.current(lake, sorted({i for v in inputs.values() for i in v}))
    records = []
    for view in made:
        name = asset_name(view)
        made_from = input_versions(described=inputs[name], weeks=list(weeks), statuses=statuses)
        records += [
            PartitionStatus(
                asset=name,
                week=week,
                status="passed",
                rows=0,
                data_version=":".join(made_from[week].values()),
                contract_version=1,
                code_version=_code_version(view),
                inputs=made_from[week],
                run_id=run_id,
                seconds=0.0,
            )
            for week in weeks
        ]
    if records:
        with lake.write() as connection:
            partition_status.record(connection, records)
