"""The reaper: a killed run is failed and cleaned up, a live one is left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from resources import run_reaper

PROJECT = Path(__file__).parents[2]
NO_GRACE = timedelta(0)


def test_a_held_run_is_not_reaped_and_a_released_one_leaves_no_lock(home, instance) -> None:
    run = instance.create_run_for_job(_job(), status=dg.DagsterRunStatus.STARTED)
    run_reaper.hold(home.settings, run.run_id)
    run_reaper.hold(home.settings, run.run_id)
    lock = home.path / "runs" / f"{run.run_id}.lock"
    assert lock.read_text() == str(os.getpid())
    assert run_reaper.reap(instance, home.settings, grace=NO_GRACE) == []

    run_reaper.release(home.settings, run.run_id)
    assert not lock.exists()
    run_reaper.release(home.settings, run.run_id)


def _job() -> dg.JobDefinition:
    @dg.op
    def nothing() -> None: ...

    @dg.job
    def job() -> None:
        nothing()

    return job


@pytest.fixture
def unfinished(home, instance) -> Callable[..., dg.DagsterRun]:
    """Makes runs that no process works on."""

    def make(status: dg.DagsterRunStatus, **tags: str) -> dg.DagsterRun:
        return instance.create_run_for_job(_job(), status=status, tags=tags)

    return make


def status(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dg.DagsterRunStatus:
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    return found.status


def test_a_run_whose_lock_is_free_is_dead(home, instance, unfinished) -> None:
    run = unfinished(dg.DagsterRunStatus.STARTED)
    lock = home.path / "runs" / f"{run.run_id}.lock"
    lock.parent.mkdir()
    lock.write_text("1", encoding="utf-8")
    reaped = run_reaper.reap(instance, home.settings)
    assert [r.run_id for r in reaped] == [run.run_id]
    assert status(instance, run) == dg.DagsterRunStatus.FAILURE
    assert not lock.exists()


def test_a_run_that_has_not_taken_its_lock_yet_has_some_time(home, instance, unfinished) -> None:
    run = unfinished(dg.DagsterRunStatus.STARTING)
    assert run_reaper.reap(instance, home.settings) == []
    assert [r.run_id for r in run_reaper.reap(instance, home.settings, grace=NO_GRACE)] == [
        run.run_id
    ]


def test_a_run_of_our_own_is_dead_when_its_process_is(home, instance, unfinished) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    dead = unfinished(dg.DagsterRunStatus.STARTED, **{run_reaper.PROCESS_TAG: str(gone.pid)})
    live = unfinished(dg.DagsterRunStatus.STARTED, **{run_reaper.PROCESS_TAG: str(os.getpid())})
    reaped = run_reaper.reap(instance, home.settings)
    assert [r.run_id for r in reaped] == [dead.run_id]
    assert status(instance, live) == dg.DagsterRunStatus.STARTED


@pytest.mark.parametrize(
    "waiting",
    [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE],
)
def test_waiting_and_finished_runs_are_left_alone(home, instance, unfinished, waiting) -> None:
    run = unfinished(waiting)
    assert run_reaper.reap(instance, home.settings, grace=NO_GRACE) == []
    assert status(instance, run) == waiting


def test_what_is_left_of_runs_that_nobody_works_on_is_swept(home, instance, unfinished) -> None:
    finished = unfinished(dg.DagsterRunStatus.SUCCESS)
    live = unfinished(dg.DagsterRunStatus.STARTED)
    run_reaper.hold(home.settings, live.run_id)
    staging = home.settings.lake_dir / "staging"
    for run_id in (finished.run_id, live.run_id, "a-run-of-a-deleted-history"):
        (staging / run_id).mkdir(parents=True)
    leftover = home.path / "runs" / f"{finished.run_id}.lock"
    leftover.touch()
    run_reaper.reap(instance, home.settings)
    assert [p.name for p in staging.iterdir()] == [live.run_id]
    assert not leftover.exists()
    run_reaper.release(home.settings, live.run_id)


@pytest.mark.slow
def test_a_killed_run_is_failed_and_the_queue_is_free(home, instance, tmp_path: Path) -> None:
    started = tmp_path / "started"
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.resources.slow_run", str(started)],
        cwd=PROJECT,
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        stderr=subprocess.DEVNULL,
    )
    try:
        while not started.exists() or not started.read_text(encoding="utf-8"):
            assert child.poll() is None, "the child ended before its run began"
            time.sleep(0.05)
        run_id = started.read_text(encoding="utf-8")
        assert run_reaper.reap(instance, home.settings, grace=NO_GRACE) == [], "it is alive"
        staged = home.settings.lake_dir / "staging" / run_id
        assert staged.is_dir()
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()

    run = instance.get_run_by_id(run_id)
    assert run.status == dg.DagsterRunStatus.STARTED, "what the reaper is for"
    reaped = run_reaper.reap(instance, home.settings)

    assert [r.run_id for r in reaped] == [run_id]
    failed = instance.get_run_by_id(run_id)
    assert failed.status == dg.DagsterRunStatus.FAILURE
    assert failed.tags[run_reaper.REAPED_TAG] == "true"
    assert not staged.exists()
    said = [e.message for e in instance.all_logs(run_id) if "run `make plan`" in (e.message or "")]
    assert said
    under_way = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING])
    assert instance.get_runs_count(under_way) == 0
    assert run_reaper.reap(instance, home.settings, grace=NO_GRACE) == []
