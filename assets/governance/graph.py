"""From Dagster's definitions, and the drops as they lie, to what the plan reasons about."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg

from assets.governance.plan import Node, Partition, Plan, make_plan
from assets.lake_asset import CODE_KEY, INPUTS_KEY, KIND_KEY, SINCE_KEY
from assets.partitions import calendar
from resources import landing, partition_status
from resources.lake import Lake
from resources.lake_io import table_of
from resources.live_model import live_version
from resources.release_steps import RANKER
from resources.settings import Settings


def nodes_of(definitions: dg.Definitions) -> dict[str, Node]:
    """Assets that record their state, in the order of the data flow."""
    graph = definitions.resolve_asset_graph()
    nodes = {}
    for key in graph.toposorted_asset_keys:
        asset = graph.get(key)
        metadata = asset.metadata
        if INPUTS_KEY not in metadata:
            continue
        since = metadata.get(SINCE_KEY)
        nodes[table_of(key)] = Node(
            asset=table_of(key),
            inputs=metadata[INPUTS_KEY],
            code_version=metadata[CODE_KEY],
            partitioned=asset.is_partitioned,
            kind=metadata[KIND_KEY],
            group=asset.group_name or "",
            since=date.fromisoformat(since) if since else None,
            together=tuple(sorted(table_of(k) for k in asset.execution_set_asset_keys - {key})),
        )
    return nodes


def observed_drops(settings: Settings) -> Mapping[Partition, str]:
    """Content versions of what changes outside of the graph: every drop, and the live model."""
    live = live_version(settings, RANKER)
    released = {("release.live", None): live} if live else {}
    return released | {
        (f"landing.{table}", week): landing.drop(settings.landing_dir, table, week).version
        for table in landing.TABLES
        for week in calendar()
    }


def artifact_files(settings: Settings) -> dict[str, Path]:
    """What an artifact leaves on disk: without it, it has to be made again."""
    ledger = {} if settings.release_url else {"release.candidate": settings.home / "releases.db"}
    return ledger | {
        "models.offer_ranker": settings.home / "models" / "offer_ranker" / "LATEST",
        "models.response": settings.home / "models" / "response" / "evaluation.json",
        "models.champion": settings.home / "models" / "offer_ranker" / "CHAMPION",
        "evaluation.ranking": settings.reports / "ranking" / "index.html",
        "evaluation.response": settings.reports / "response" / "index.html",
        "serving.online_history": settings.online_history_dir / "CURRENT",
        "serving.online_snapshot": settings.online_dir / "CURRENT",
        "serving.bento": settings.bentoml_home / "bentos" / "liftgraph" / "latest",
    }


def current_plan(definitions: dg.Definitions, *, settings: Settings, lake: Lake) -> Plan:
    """What would run now, and why."""
    return make_plan(
        nodes=nodes_of(definitions),
        statuses=partition_status.current(lake),
        calendar=calendar(),
        observed=observed_drops(settings),
        gone=[a for a, path in artifact_files(settings).items() if not path.exists()],
    )


def graph_snapshot(definitions: dg.Definitions) -> dict[str, Any]:
    """What a reviewer should see change: keys, inputs, partitions, checks, owners, schedules."""
    graph = definitions.resolve_asset_graph()
    nodes = {}
    for key in graph.toposorted_asset_keys:
        asset = graph.get(key)
        nodes[table_of(key)] = {
            "group": asset.group_name,
            "owners": sorted(asset.owners),
            "kinds": sorted(asset.kinds),
            "weekly": asset.is_partitioned,
            "deps": sorted(table_of(k) for k in asset.parent_keys),
            "windows": asset.metadata.get(INPUTS_KEY, {}),
            "checks": sorted(
                f"{c.name}{' (blocking)' if graph.get(c).blocking else ''}"
                for c in asset.check_keys
            ),
            "described": bool(asset.description),
            "columns": "dagster/column_schema" in asset.metadata,
        }
    repository = definitions.get_repository_def()
    return {
        "assets": nodes,
        "schedules": {s.name: s.cron_schedule for s in repository.schedule_defs},
        "sensors": sorted(s.name for s in repository.sensor_defs),
        "jobs": sorted(j.name for j in repository.get_all_jobs() if not j.name.startswith("__")),
    }
