"""The guarded dbt beside other writers, and beside a parent that dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from datetime import date
from pathlib import Path

import dagster as dg
import pytest
from dagster_dbt.errors import DagsterDbtCliRuntimeError
from filelock import FileLock, Timeout
from tiny_lake import WEEKS, TinyLake, wait_for, week_vars

from assets.warehouse.dbt import DbtProcess
from checks.contracts.marts import FCT_STORE_PRODUCT_WEEK
from checks.contracts.raw import STORES
from resources import dbt_guard
from resources.dbt_process import PROJECT_DIR, dbt_environment, guarded_executable

ONE_VIEW = ("run", "--select", "stg_stores")


@pytest.mark.slow
def test_dbt_waits_for_a_writer_and_says_so(built: TinyLake) -> None:
    lock = FileLock(built.lake.lock_path)
    with lock:
        child = built.start(*ONE_VIEW)
        assert child.stdout
        first = child.stdout.readline()
        assert "waiting for the lake's write lock" in first
        assert str(built.lake.lock_path) in first
        time.sleep(1)
        assert child.poll() is None
    rest, _ = child.communicate(timeout=90)
    assert child.returncode == 0, rest
    assert "Completed successfully" in rest


@pytest.mark.slow
def test_giving_up_on_the_lock_is_an_error_that_dagster_shows(
    built: TinyLake, tmp_path: Path
) -> None:
    dbt = dagster_dbt(built, folder=tmp_path, lock_timeout_s="0.2")
    with FileLock(built.lake.lock_path):
        invocation = dbt.cli(list(ONE_VIEW), target_path=tmp_path / "target")
        with pytest.raises(DagsterDbtCliRuntimeError, match="held the lake's write lock"):
            invocation.wait()
        assert invocation.process.returncode == dbt_guard.EXIT_LOCKED


@pytest.mark.slow
def test_columns_and_their_lineage_reach_dagster(built: TinyLake, tmp_path: Path) -> None:
    dbt = dagster_dbt(built, folder=tmp_path)
    invocation = dbt.cli(
        ["run", "--select", "fct_store_product_week", *week_vars((WEEKS[1], WEEKS[1]))],
        target_path=tmp_path / "target",
        manifest=built.home / "target" / "manifest.json",
    )
    (event,) = [e for e in invocation.stream() if isinstance(e, dg.AssetMaterialization)]
    # Nothing of dbt in this process, and in its own the parse that this project has had.
    assert invocation.adapter is None
    log = (tmp_path / "target" / "dbt.log").read_text()
    assert "Unable to do partial parsing" not in log
    assert event.asset_key == dg.AssetKey(["marts", "fct_store_product_week"])
    columns = event.metadata["dagster/column_schema"].value.columns
    assert {c.name for c in columns} == set(FCT_STORE_PRODUCT_WEEK.names)
    lineage = event.metadata["dagster/column_lineage"].value.deps_by_column
    lines = dg.AssetKey(["marts", "fct_basket_line"])
    assert {(d.asset_key, d.column_name) for d in lineage["price"]} == {
        (lines, "sales_value"),
        (lines, "quantity"),
    }


def dagster_dbt(built: TinyLake, *, folder: Path, lock_timeout_s: str = "60") -> DbtProcess:
    """The resource as the graph has it: Dagster chooses where dbt writes its files."""
    environment = {
        name: value
        for name, value in built.environment.items()
        if name not in {"DBT_TARGET_PATH", "DBT_LOG_PATH"}
    }
    launcher = guarded_executable(folder, environment | {dbt_guard.LOCK_TIMEOUT: lock_timeout_s})
    return DbtProcess(project_dir=PROJECT_DIR, dbt_executable=str(launcher))


@pytest.mark.slow
def test_the_graph_loads_nothing_of_dbt() -> None:
    code = "import sys, definitions; print([m for m in sys.modules if m.split('.')[0] == 'dbt'])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT_DIR.parent,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.slow
def test_two_writers_at_once_both_succeed(built: TinyLake) -> None:
    commits, errors, stop = [], [], threading.Event()

    def write_on() -> None:
        rows = [{"week_start": WEEKS[0], "store_id": str(i), "channel": "retail"} for i in range(3)]
        while not stop.is_set():
            try:
                built.put(STORES, rows, weeks=[WEEKS[0]])
                commits.append(time.monotonic())
            except Exception as error:  # noqa: BLE001 - shown by the assertion below
                errors.append(error)
                return
            # Without a pause this thread would win the lock every time.
            time.sleep(0.1)

    writer = threading.Thread(target=write_on)
    writer.start()
    try:
        done = built.dbt("run", "--select", "marts", weeks=(WEEKS[3], WEEKS[4]))
        ended = time.monotonic()
        wait_for(
            lambda: bool(errors) or (bool(commits) and commits[-1] > ended),
            seconds=60,
            what="a commit after dbt's",
        )
    finally:
        stop.set()
        writer.join(timeout=60)
    assert not errors
    assert "Completed successfully" in done.output
    assert len(commits) >= 2


@pytest.mark.slow
def test_dbt_dies_with_a_killed_parent_and_the_lock_goes_free(
    built: TinyLake, tmp_path: Path
) -> None:
    pid_file = tmp_path / "pid"
    starter = (
        "import pathlib, subprocess, sys, time\n"
        "child = subprocess.Popen(sys.argv[2:], stdout=subprocess.DEVNULL)\n"
        "pathlib.Path(sys.argv[1]).write_text(f'{child.pid}\\n')\n"
        "time.sleep(600)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", starter, str(pid_file), str(built.executable), "run"]
    )
    lock = FileLock(built.lake.lock_path)
    try:
        wait_for(
            lambda: pid_file.exists() and pid_file.read_text().endswith("\n"),
            seconds=30,
            what="the process id of dbt",
        )
        child = int(pid_file.read_text())
        wait_for(lambda: not _free(lock), seconds=60, what="dbt to take the lock")
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait(timeout=10)
    wait_for(lambda: not _runs(child), seconds=10, what="dbt to die")
    assert _free(lock)


def _free(lock: FileLock) -> bool:
    try:
        with lock.acquire(timeout=0):
            return True
    except Timeout:
        return False


def _runs(pid: int) -> bool:
    """Whether the process lives; one that only waits to be reaped does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_a_parent_that_died_before_the_guard_started_is_noticed() -> None:
    done = subprocess.run(
        [sys.executable, "-P", dbt_guard.__file__, "--version"],
        env={**os.environ, "LIFTGRAPH_DBT_PARENT": "1"},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL


def test_the_version_is_told_without_dbt_or_network(tmp_path: Path) -> None:
    # A launcher in a folder whose name a shebang could not hold.
    folder = tmp_path / "a 'quoted' folder" / ("long" * 40)
    executable = guarded_executable(folder, {"LIFTGRAPH_DBT_CATALOG": "it's $HOME"})
    done = subprocess.run([executable, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("dbt-core 1.11.")
    assert oct(executable.stat().st_mode & 0o777) == "0o700"


def test_commands_that_only_read_take_no_lock(tmp_path: Path) -> None:
    assert dbt_guard.command_of(["--quiet", "build", "--select", "test"]) == "build"
    assert dbt_guard.command_of(["--version"]) is None
    from dbt.cli.main import cli

    assert set(cli.commands) >= dbt_guard.WRITING_COMMANDS
    assert not dbt_guard.WRITING_COMMANDS & {"parse", "docs", "test", "compile", "list", "show"}


def test_weeks_leave_the_vars(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in dbt_guard.WEEK_VARS.values():
        monkeypatch.setenv(variable, "unset")
    week = str(date(2017, 1, 2))
    left = dbt_guard.weeks_to_environment(
        ["build", "--vars", f'{{"min_week": "{week}", "max_week": "{week}"}}', "--select", "x"]
    )
    assert left == ["build", "--select", "x"]
    assert os.environ["LIFTGRAPH_DBT_MIN_WEEK"] == os.environ["LIFTGRAPH_DBT_MAX_WEEK"] == week
    kept = dbt_guard.weeks_to_environment(["run", "--vars", '{"min_week": "x", "other": 1}'])
    assert kept == ["run", "--vars", '{"other": 1}']


def test_postgres_holds_its_own_lock_and_other_catalogs_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("resources.dbt_process.extension_file", lambda name: tmp_path / name)
    environment = dbt_environment(
        catalog="postgres:dbname=lake host=db",
        data_path="s3://bucket/lake",
        lock_path=None,
        temp_directory=tmp_path,
    )
    assert environment["LIFTGRAPH_DBT_TARGET"] == "postgres"
    assert environment["LIFTGRAPH_DBT_SCANNER"].endswith("postgres_scanner")
    assert environment[dbt_guard.LOCK] == "postgres:dbname=lake host=db"
    with pytest.raises(ValueError, match="must start with 'sqlite:' or 'postgres:'"):
        dbt_environment(
            catalog="mysql:lake", data_path="x", lock_path=None, temp_directory=tmp_path
        )
