"""Runs that died without saying so: found by the lock their process held, and failed.

A run killed with SIGKILL stays STARTED in Dagster and counts against the queue for ever. Each
process that works on a run therefore holds ``<home>/runs/<run id>.lock``; the system lets go of it
when the process dies, however it dies. The reaper fails every unfinished run whose lock is free.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO

import dagster as dg
from dagster._core.storage.dagster_run import IN_PROGRESS_RUN_STATUSES

from resources.settings import Settings

# A run that has not reached its first step holds no lock yet: starting one takes seconds.
GRACE = timedelta(seconds=120)
# Which process works on a run, where we started it ourselves.
PROCESS_TAG = "liftgraph/pid"
# Says that a run did not fail by itself: the same work may be tried again.
REAPED_TAG = "liftgraph/reaped"

_held: dict[str, IO[str]] = {}


def hold(settings: Settings, run_id: str) -> None:
    """Hold the run's lock until this process ends. Idempotent."""
    if run_id in _held:
        return
    path = _lock_path(settings, run_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    stream = path.open("w", encoding="utf-8")
    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    stream.write(str(os.getpid()))
    stream.flush()
    _held[run_id] = stream


def release(settings: Settings, run_id: str) -> None:
    """Let go of a finished run's lock."""
    stream = _held.pop(run_id, None)
    if stream is not None:
        stream.close()
        _lock_path(settings, run_id).unlink(missing_ok=True)


def reap(
    instance: dg.DagsterInstance, settings: Settings, *, grace: timedelta = GRACE
) -> list[dg.DagsterRun]:
    """Fail every unfinished run whose process is gone; clean up what it left staged.

    Args:
        instance: Whose runs to look at.
        settings: Where the locks are.
        grace: How long a run may be unfinished before it must hold its lock.

    Returns:
        The runs that were failed.
    """
    reaped = []
    oldest = datetime.now(UTC) - grace
    records = instance.get_run_records(dg.RunsFilter(statuses=list(IN_PROGRESS_RUN_STATUSES)))
    for record in records:
        run = record.dagster_run
        if run.run_id in _held:
            continue
        if run.status in {dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED}:
            continue
        path = _lock_path(settings, run.run_id)
        started_by = run.tags.get(PROCESS_TAG)
        if path.exists():
            dead = _is_free(path)
        elif started_by is not None:
            dead = not _is_alive(int(started_by))
        else:
            dead = record.update_timestamp.replace(tzinfo=UTC) < oldest
        now = instance.get_run_by_id(run.run_id)
        # It may have ended in good order while we looked.
        if not dead or now is None or now.is_finished:
            continue
        instance.add_run_tags(run.run_id, {REAPED_TAG: "true"})
        instance.report_run_failed(
            run,
            "The process that worked on this run is gone (killed, out of memory, or a reboot). "
            "Nothing it was writing has been published; run `make plan` to see what is missing "
            "and materialise it again.",
        )
        path.unlink(missing_ok=True)
        shutil.rmtree(settings.lake_dir / "staging" / run.run_id, ignore_errors=True)
        reaped.append(run)
    _sweep(instance, settings)
    return reaped


def _sweep(instance: dg.DagsterInstance, settings: Settings) -> None:
    """Remove what runs that nobody works on any more left: staged rows and locks."""
    staging = settings.lake_dir / "staging"
    locks = _lock_path(settings, "").parent
    left = {folder.name for folder in staging.iterdir()} if staging.is_dir() else set()
    left |= {path.stem for path in locks.glob("*.lock")}
    for run_id in left - _held.keys():
        path = _lock_path(settings, run_id)
        if path.exists() and not _is_free(path):
            continue
        run = instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            path.unlink(missing_ok=True)
            shutil.rmtree(staging / run_id, ignore_errors=True)


def _lock_path(settings: Settings, run_id: str) -> Path:
    return settings.home / "runs" / f"{run_id}.lock"


def _is_free(path: Path) -> bool:
    with path.open("r", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
