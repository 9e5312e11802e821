"""The program that Dagster starts as ``dbt``: dbt itself, under two guards.

1. It dies with its parent. The kernel kills it when the thread that started it ends, so a killed
   run leaves no dbt behind that goes on writing.
2. A command that writes holds the lake's write lock for as long as its process lives: the same
   ``fcntl.flock`` on the same file that ``filelock.FileLock`` takes for every other writer, or the
   same advisory lock in a PostgreSQL catalog. It goes when the process goes, however it goes.

It runs as a script, imports nothing of this project by name, and hands over to dbt in its own
process, so the one that holds the lock is the one that writes. ``dbt_process.guarded_executable``
makes it startable by path.

Environment:
    LIFTGRAPH_LAKE_LOCK          path of the lock, or ``postgres:<dsn>``; unset = no lock
    LIFTGRAPH_LAKE_LOCK_TIMEOUT  seconds to wait for it; default 900
    LIFTGRAPH_DBT_PARENT         process id that must still be the parent; the launcher sets it
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

LOCK = "LIFTGRAPH_LAKE_LOCK"
LOCK_TIMEOUT = "LIFTGRAPH_LAKE_LOCK_TIMEOUT"
# Of the connection, what the project's templates may read at parse time.
CONNECTION_KEYS = ("database", "schema")
WEEK_VARS = {"min_week": "LIFTGRAPH_DBT_MIN_WEEK", "max_week": "LIFTGRAPH_DBT_MAX_WEEK"}

# Commands that may write to the lake. `test` and `show` only read, `parse`, `compile`, `list` and
# `docs` need no table at all: readers never wait.
WRITING_COMMANDS = frozenset(
    {"build", "clone", "retry", "run", "run-operation", "seed", "snapshot"}
)

DEFAULT_LOCK_TIMEOUT_S = 900.0
# Often enough that a person knows that it lives, seldom enough not to fill a log.
SAY_EVERY_S = 30.0
# EX_TEMPFAIL of sysexits.h: try again later.
EXIT_LOCKED = 75

_PR_SET_PDEATHSIG = 1

# Held until the interpreter is torn down: a lock that goes out of scope is released.
_held: list[Any] = []


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when ``parent`` dies.

    Args:
        parent: Process id of the parent as it was when this process started. If it is not the
            parent any more, it died before the kernel was asked, and this process ends at once.

    Raises:
        OSError: The kernel refused.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            code = ctypes.get_errno()
            raise OSError(code, f"prctl(PR_SET_PDEATHSIG): {os.strerror(code)}")
    else:
        # Only Linux has the call: elsewhere look, twice a second.
        threading.Thread(target=_watch_parent, args=(parent,), daemon=True).start()
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def _watch_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGKILL)


def command_of(arguments: Sequence[str]) -> str | None:
    """The dbt command among ``arguments``: ``build`` of ``--quiet build --select x``."""
    from dbt.cli.main import cli

    return next((a for a in arguments if a in cli.commands), None)


def lock_of(where: str) -> tuple[Any, str]:
    """The lock that ``LIFTGRAPH_LAKE_LOCK`` names, and how to see who holds it."""
    if not where.startswith("postgres:"):
        Path(where).parent.mkdir(parents=True, exist_ok=True)
        return FileLock(where), f"{where} (see who with `fuser {where}`)"
    # Beside this file, by its path: the project's root has a folder named dbt.
    path = Path(__file__).with_name("advisory_lock.py")
    spec = importlib.util.spec_from_file_location("advisory_lock", path)
    assert spec is not None  # noqa: S101 - the file lies beside this one
    assert spec.loader is not None  # noqa: S101
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.AdvisoryLock(where.removeprefix(module.PREFIX)), "in its catalog (see pg_locks)"


def hold_lock(where: str, *, timeout_s: float) -> None:
    """Take the lake's write lock for the life of this process, and say so while waiting.

    Raises:
        TimeoutError: Another process held it for ``timeout_s``.
    """
    lock, place = lock_of(where)
    started = time.monotonic()
    patience = 0.0
    while True:
        try:
            lock.acquire(timeout=patience)
        except Timeout:
            waited = time.monotonic() - started
            if waited >= timeout_s:
                raise TimeoutError(
                    f"another process has held the lake's write lock {place} for "
                    f"{timeout_s:.0f} s; let it finish or stop it, and run again "
                    f"({LOCK_TIMEOUT} sets how long to wait)"
                ) from None
            patience = min(SAY_EVERY_S, timeout_s - waited)
            say(
                f"waiting for the lake's write lock {place}: another process is writing "
                f"({waited:.0f} of at most {timeout_s:.0f} s)"
            )
        else:
            _held.append(lock)
            return


def say(message: str, *, level: str = "info") -> None:
    """Tell the person at the terminal, or Dagster, which reads dbt's log format."""
    if os.environ.get("DBT_LOG_FORMAT") == "json":
        info = {"name": "LakeLock", "code": "", "level": level, "msg": message, "ts": _now()}
        sys.stdout.write(json.dumps({"info": info | {"invocation_id": ""}, "data": {}}) + "\n")
        sys.stdout.flush()
    else:
        sys.stderr.write(f"liftgraph: {message}\n")
        sys.stderr.flush()


def _now() -> str:
    return datetime.now(tz=UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def weeks_to_environment(arguments: Sequence[str]) -> list[str]:
    """Take ``min_week`` and ``max_week`` out of ``--vars`` and into the environment.

    dbt parses the whole project again whenever its vars differ from those of the last parse. The
    project's macros read the weeks from either place, and only when a model runs.

    Returns:
        The arguments without those vars.
    """
    kept = list(arguments)
    if "--vars" not in kept or kept.index("--vars") + 1 == len(kept):
        return kept
    at = kept.index("--vars")
    try:
        given = json.loads(kept[at + 1])
    except json.JSONDecodeError:
        return kept  # YAML is dbt's to read, and works, slower
    for name, variable in WEEK_VARS.items():
        if isinstance(given, dict) and given.get(name):
            os.environ[variable] = str(given.pop(name))
    kept[at : at + 2] = ["--vars", json.dumps(given)] if given else []
    return kept


def parse_once_for_every_home() -> None:
    """Have dbt take its last parse for this one whatever folder the lake lies in.

    dbt parses the project again (five seconds) when anything of the connection differs, as
    templates may read it. Those of this project read the schema and nothing else.
    """
    from dbt.adapters.duckdb.credentials import DuckDBCredentials

    def connection_keys(_: DuckDBCredentials) -> tuple[str, ...]:
        return CONNECTION_KEYS

    DuckDBCredentials._connection_keys = connection_keys  # type: ignore[method-assign]  # noqa: SLF001


def main(arguments: Sequence[str]) -> None:
    """Run dbt with ``arguments``; does not return."""
    die_with_parent(int(os.environ.get("LIFTGRAPH_DBT_PARENT") or os.getppid()))
    if list(arguments) == ["--version"]:
        # dbt's own asks the package index for the newest version, and Dagster asks at every start.
        sys.stdout.write(f"dbt-core {importlib.metadata.version('dbt-core')}\n")
        return
    if (where := os.environ.get(LOCK)) and command_of(arguments) in WRITING_COMMANDS:
        try:
            hold_lock(
                where,
                timeout_s=float(os.environ.get(LOCK_TIMEOUT) or DEFAULT_LOCK_TIMEOUT_S),
            )
        except TimeoutError as error:
            say(str(error), level="error")
            sys.exit(EXIT_LOCKED)
    from dbt.cli.main import cli

    parse_once_for_every_home()
    sys.argv = ["dbt", *weeks_to_environment(arguments)]
    cli()


if __name__ == "__main__":
    main(sys.argv[1:])
