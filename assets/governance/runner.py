"""Materialising what is stale: plan, run a wave, plan again, until nothing is left to do.

Between waves the plan sees what the last one really changed, so a recomputed partition whose
content is the same stops there.
"""

from __future__ import annotations

import difflib
import logging
import os
import time
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import date

import dagster as dg

from assets.governance.graph import current_plan, nodes_of
from assets.governance.plan import Batch, Node, Partition, Plan, batches
from assets.monitoring.health import write_health
from models.calendar import weeks_between
from resources import partition_status, run_reaper
from resources.lake import Lake
from resources.settings import Settings

progress = logging.getLogger("liftgraph.progress")

RANGE_START = "dagster/asset_partition_range_start"
RANGE_END = "dagster/asset_partition_range_end"


class UnknownAssetError(ValueError):
    """An asset was named that the graph does not have."""


@dataclass(frozen=True)
class Ran:
    """One finished run."""

    run_id: str
    batch: Batch
    success: bool
    seconds: float
    steps: Mapping[str, float] = field(default_factory=dict)
    errors: tuple[str, ...] = ()


@dataclass
class Outcome:
    """What bringing the graph up to date came to."""

    ran: list[Ran] = field(default_factory=list)
    plan: Plan | None = None

    @property
    def success(self) -> bool:
        return self.plan is not None and not self.plan.entries and all(r.success for r in self.ran)

    def stages(self) -> dict[str, float]:
        """Seconds by stage: the schema or step that a step's name begins with."""
        totals: dict[str, float] = {}
        for ran in self.ran:
            for step, seconds in ran.steps.items():
                stage = step.split("__")[0]
                totals[stage] = round(totals.get(stage, 0.0) + seconds, 2)
        return totals


def run_tags(batch: Batch) -> dict[str, str]:
    """Tags that make a run cover the batch's weeks."""
    if batch.weeks is None:
        return {}
    first, last = batch.weeks
    return {RANGE_START: first.isoformat(), RANGE_END: last.isoformat()}


def keys_of(batch: Batch) -> list[dg.AssetKey]:
    return [dg.AssetKey(a.split(".")) for a in batch.assets]


def bring_up_to_date(
    definitions: dg.Definitions,
    *,
    settings: Settings,
    lake: Lake,
    instance: dg.DagsterInstance,
    only: Collection[str] | None = None,
) -> Outcome:
    """Materialise every stale partition, in as few runs as the weeks allow.

    Args:
        definitions: The graph.
        settings: Of this installation.
        lake: The lake.
        instance: Records the runs.
        only: Assets to restrict to, with all that they are made from; all by default.

    Returns:
        The runs, and what is still stale or blocked.

    Raises:
        UnknownAssetError: ``only`` names an asset that is not in the graph.
    """
    for run in run_reaper.reap(instance, settings):
        progress.info("reaped run %s: its process is gone", run.run_id)
    nodes = nodes_of(definitions)
    if only is not None:
        only = with_inputs(only, nodes)
    outcome = Outcome()
    tried: set[Partition] = set()
    while True:
        outcome.plan = current_plan(definitions, settings=settings, lake=lake)
        todo = [
            Batch(assets, b.weeks)
            for b in batches(outcome.plan, nodes, excluding=frozenset(tried))
            if (assets := tuple(a for a in b.assets if only is None or a in only))
        ]
        if not todo:
            write_health(settings, lake)
            return outcome
        for batch in todo:
            ran = run_batch(definitions, batch, settings=settings, instance=instance)
            outcome.ran.append(ran)
            if ran.success or not _names_failed_weeks(ran, lake):
                tried |= partitions_of(batch)
            if not ran.success:
                # What follows in this wave may need what failed: plan again.
                break


def with_inputs(assets: Collection[str], nodes: Mapping[str, Node]) -> set[str]:
    """Assets and all that they are made from, near and far: made from stale rows they would lie.

    Raises:
        UnknownAssetError: An asset is not in the graph.
    """
    unknown = sorted(set(assets) - nodes.keys())
    if unknown:
        close = [n for a in unknown for n in difflib.get_close_matches(a, nodes, n=1)]
        hint = f"; did you mean {', '.join(close)}?" if close else "; name them schema.name"
        raise UnknownAssetError(f"the graph has no asset {', '.join(unknown)}{hint}")
    found: set[str] = set()
    waiting = list(assets)
    while waiting:
        asset = waiting.pop()
        if asset in nodes and asset not in found:
            found.add(asset)
            # A step that makes several tables makes them all.
            waiting += [*nodes[asset].inputs, *nodes[asset].together]
    return found


def _names_failed_weeks(ran: Ran, lake: Lake) -> bool:
    """Whether the run recorded which weeks failed: they are blocked now, the others can run."""
    statuses = partition_status.current(lake, ran.batch.assets)
    return any(s.run_id == ran.run_id and not s.passed for s in statuses.values())


def partitions_of(batch: Batch) -> set[Partition]:
    weeks: list[date | None] = [*weeks_between(*batch.weeks)] if batch.weeks else [None]
    return {(a, w) for a in batch.assets for w in weeks}


def run_batch(
    definitions: dg.Definitions,
    batch: Batch,
    *,
    settings: Settings,
    instance: dg.DagsterInstance,
) -> Ran:
    """Run one batch in this process."""
    started = time.perf_counter()
    weeks = f"{batch.weeks[0]} .. {batch.weeks[1]}" if batch.weeks else "no weeks"
    progress.info("run: %d asset(s), %s", len(batch.assets), weeks)
    job = definitions.resolve_implicit_global_asset_job_def()
    run_id = str(uuid.uuid4())
    run_reaper.hold(settings, run_id)
    try:
        result = job.execute_in_process(
            instance=instance,
            run_id=run_id,
            asset_selection=keys_of(batch),
            tags=run_tags(batch) | {run_reaper.PROCESS_TAG: str(os.getpid())},
            # Progress lines say what happens; the event log keeps the rest.
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            raise_on_error=False,
        )
    finally:
        run_reaper.release(settings, run_id)
    errors = tuple(
        _message(event) for event in result.all_events if event.event_type_value == "STEP_FAILURE"
    )
    for error in errors:
        progress.error("failed: %s", error)
    return Ran(
        run_id=result.run_id,
        batch=batch,
        success=result.success,
        seconds=time.perf_counter() - started,
        steps={
            str(e.step_key): e.step_success_data.duration_ms / 1000
            for e in result.all_events
            if e.event_type_value == "STEP_SUCCESS"
        },
        errors=errors,
    )


def _message(event: dg.DagsterEvent) -> str:
    data = event.step_failure_data
    if data.user_failure_data and data.user_failure_data.description:
        return f"{event.step_key}: {data.user_failure_data.description}"
    error = data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return f"{event.step_key}: {error.message.strip() if error else event.message}"
