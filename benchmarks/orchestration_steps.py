"""The steps of ``benchmarks.orchestration``, each run in a process of its own.

Seconds count from the start of the process, so imports and the loading of the graph are included on
both sides.
"""

from __future__ import annotations

import hashlib
import json
import logging
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import Any

import psutil

from benchmarks.demo import peak_memory
from models.calendar import ONE_WEEK, weeks_between

log = logging.getLogger("liftgraph.bench")


def lay_drops() -> dict[str, Any]:
    from assets.partitions import calendar
    from resources import landing
    from resources.settings import get_settings
    from resources.sources import complete_journey

    settings = get_settings().prepare()
    for table in landing.TABLES:
        complete_journey.lay_down(
            settings.landing_dir, table=table, weeks=calendar(), time_zone=settings.time_zone
        )
    return {}


def run_graph() -> dict[str, Any]:
    from assets.governance.runner import bring_up_to_date
    from liftgraph import graph, show_progress

    show_progress()
    with graph() as (settings, lake, defs, instance):
        outcome = bring_up_to_date(defs, settings=settings, lake=lake, instance=instance)
    if not outcome.success:
        sys.exit("the graph did not come up to date")
    return {"stages": outcome.stages()}


def run_weekly(first: str, last: str) -> dict[str, Any]:
    from assets.governance.automation import scheduled_tags, weekly_job
    from liftgraph import graph

    with graph() as (_, _, defs, instance):
        done = defs.resolve_job_def(weekly_job.name).execute_in_process(
            instance=instance,
            tags=scheduled_tags(date.fromisoformat(first), date.fromisoformat(last)),
            run_config=_quiet(),
        )
    if not done.success:
        sys.exit("the weekly job failed")
    return {}


def run_weeks(asset: str, first: str, count: int, *, singly: bool) -> dict[str, Any]:
    import dagster as dg

    from checks.contracts.registry import contract_of
    from liftgraph import graph
    from resources.content_version import contents, versions

    start = date.fromisoformat(first)
    weeks = weeks_between(start, start + (count - 1) * ONE_WEEK)
    spans = [(w, w) for w in weeks] if singly else [(weeks[0], weeks[-1])]
    with graph() as (_, lake, defs, instance):
        job = defs.resolve_implicit_global_asset_job_def()
        for begin, end in spans:
            done = job.execute_in_process(
                instance=instance,
                asset_selection=[dg.AssetKey(asset.split("."))],
                tags=_range_tags(str(begin), str(end)),
                run_config=_quiet(),
            )
            if not done.success:
                sys.exit(f"{asset} {begin} failed")
        contract = contract_of(asset)
        rows = lake.scan(contract, first=weeks[0], last=weeks[-1]).collect()
        held = versions([contents(rows, contract)], weeks)
    text = "|".join(v.data_version for v in held)
    return {"hash": hashlib.sha256(text.encode()).hexdigest()}


def run_bare() -> dict[str, Any]:
    """The assets' own functions, the dbt build, validation and writes, in one plain script."""
    import assets.build  # noqa: F401 - defines every asset's body
    from assets.partitions import calendar
    from assets.table_body import BODIES, Body
    from resources.lake import Lake
    from resources.settings import get_settings

    settings = get_settings().prepare()
    lake = Lake.of(settings)
    stages: dict[str, float] = {}
    weeks = calendar()

    def timed(name: str, body: Body) -> None:
        begun = time.perf_counter()
        _bare_body(name, body, lake=lake, settings=settings, weeks=weeks)
        stage = name.split(".", maxsplit=1)[0]
        stages[stage] = round(stages.get(stage, 0.0) + time.perf_counter() - begun, 2)

    order = _order(BODIES)
    for name in [n for n in order if n.startswith(("landing.", "raw."))]:
        timed(name, BODIES[name])
    begun = time.perf_counter()
    _bare_dbt(settings, lake)
    stages["warehouse"] = round(time.perf_counter() - begun, 2)
    for name in [n for n in order if not n.startswith(("landing.", "raw."))]:
        timed(name, BODIES[name])
    return {"stages": stages}


def _order(bodies: dict[str, Any]) -> list[str]:
    """Bodies after their inputs."""
    made: list[str] = []
    waiting = dict(bodies)
    while waiting:
        ready = [
            name
            for name, body in waiting.items()
            if not any(i.asset in waiting and i.asset != name for i in body.inputs.values())
        ]
        if not ready:
            raise RuntimeError(f"circular inputs among {sorted(waiting)}")
        for name in ready:
            made.append(name)
            del waiting[name]
    return made


def _bare_body(name: str, body: Any, *, lake: Any, settings: Any, weeks: list[date]) -> None:
    from assets.artifact_asset import ArtifactContext
    from assets.lake_asset import TableContext
    from resources.lake import stage

    own = [w for w in weeks if body.since is None or w >= body.since] if body.partitioned else []
    if not body.contracts:
        whole = ArtifactContext(
            settings=settings, lake=lake, log=log, run_id="bare", weeks=own, code_version="bare"
        )
        body.function(whole, **_frames(body, lake, own))
        return
    chunks = body.chunks(own)
    frames = body.held(_frames(body, lake, own))
    parts: dict[str, list[Any]] = {c.table: [] for c in body.contracts}
    folder = settings.lake_dir / "staging" / "bare"

    def make(number: int, chunk: list[date]) -> dict[str, Any]:
        context = TableContext(settings=settings, lake=lake, log=log, run_id="bare", weeks=chunk)
        made = body.function(context, **body.seen_by(chunk, frames))
        tables = made if isinstance(made, dict) else {name: made}
        kept: dict[str, Any] = {}
        for contract in body.contracts:
            frame = _validated(tables[contract.table], contract)
            kept[contract.table] = (
                stage(frame, contract, folder / f"{contract.table}.{number}")
                if len(chunks) > 1
                else frame
            )
        return kept

    with ThreadPoolExecutor(max_workers=body.parallel_chunks) as pool:
        for kept in pool.map(make, range(len(chunks)), chunks):
            for table, part in kept.items():
                parts[table].append(part)
    for contract in body.contracts:
        with lake.write() as connection:
            lake.replace(
                connection,
                contract,
                parts[contract.table],
                weeks=own if body.partitioned else None,
            )


def _validated(made: Any, contract: Any) -> Any:
    import polars as pl

    from checks.contracts.contract import validate

    frame = made.collect(engine="streaming") if isinstance(made, pl.LazyFrame) else made
    if contract.key and contract.partition_column is None:
        frame = frame.sort(contract.key)
    report = validate(frame, contract)
    if not report.passed:
        sys.exit(str(report))
    return frame


def _frames(body: Any, lake: Any, chunk: list[date]) -> dict[str, Any]:
    from assets.lake_asset import FixedWeeks
    from assets.partitions import WeekWindow
    from checks.contracts.registry import contract_of

    frames = {}
    for name, source in body.inputs.items():
        if not source.load:
            continue
        bounds: tuple[date | None, date | None] = (None, None)
        if isinstance(source.weeks, WeekWindow):
            bounds = source.weeks.bounds(chunk)
        elif isinstance(source.weeks, FixedWeeks):
            bounds = (source.weeks.first, source.weeks.last)
        frames[name] = lake.scan(contract_of(source.asset), first=bounds[0], last=bounds[1])
    return frames


def _bare_dbt(settings: Any, lake: Any) -> None:
    from assets.partitions import calendar
    from assets.warehouse.contracts import validate_mart
    from assets.warehouse.dbt import dbt_settings
    from checks.contracts.marts import MARTS
    from resources import dbt_process

    launcher = dbt_process.guarded_executable(settings.home / "bin", dbt_settings(settings))
    weeks = calendar()
    span = json.dumps({"min_week": str(weeks[0]), "max_week": str(weeks[-1])})
    subprocess.run(
        [str(launcher), "--quiet", *dbt_process.BUILD_ARGS, "--vars", span],
        cwd=dbt_process.PROJECT_DIR,
        check=True,
        stdout=sys.stderr,
    )
    for contract in MARTS:
        failed = [r for r, _ in validate_mart(lake, contract, weeks) if not r.passed]
        if failed:
            sys.exit(str(failed[0]))


def _range_tags(first: str, last: str) -> dict[str, str]:
    from assets.governance.runner import RANGE_END, RANGE_START

    return {RANGE_START: first, RANGE_END: last}


def _quiet() -> dict[str, Any]:
    return {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def main(arguments: list[str]) -> None:
    step, *rest = arguments
    with peak_memory() as memory:
        if step == "landing":
            figures = lay_drops()
        elif step == "graph":
            figures = run_graph()
        elif step == "bare":
            figures = run_bare()
        elif step == "increment":
            figures = run_weekly(*rest)
        elif step in {"singles", "range"}:
            figures = run_weeks(rest[0], rest[1], int(rest[2]), singly=step == "singles")
        else:
            sys.exit(f"no step {step!r}")
    figures["seconds"] = round(time.time() - psutil.Process().create_time(), 2)
    figures["peak_mb"] = round(memory["mb"], 1)
    print(json.dumps(figures))


if __name__ == "__main__":
    main(sys.argv[1:])
