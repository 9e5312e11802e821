"""One DuckDB per process and lake: opened on first use, with the lake's extensions and catalog."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
from filelock import FileLock, Timeout

from resources import advisory_lock
from resources.advisory_lock import AdvisoryLock

if TYPE_CHECKING:
    from resources.lake import Lake

BUSY_TIMEOUT_MS = 60_000
# Small writes stay in the catalog only where nobody scans files: states and records.
_RECORD_ROWS_INLINED = 5000

_databases: dict[Lake, duckdb.DuckDBPyConnection] = {}
_databases_lock = threading.Lock()


def database(lake: Lake) -> duckdb.DuckDBPyConnection:
    with _databases_lock:
        if lake not in _databases:
            _databases[lake] = _open(lake)
        return _databases[lake]


def close(lake: Lake) -> None:
    """Close this process's DuckDB on ``lake``; the next use opens it again."""
    with _databases_lock:
        connection = _databases.pop(lake, None)
    if connection is not None:
        connection.close()


def _open(lake: Lake) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(
        config={
            "threads": lake.threads,
            "memory_limit": lake.memory_limit,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
    )
    load_extensions(connection, catalog=lake.catalog)
    connection.execute("SET TimeZone = 'UTC'")
    if lake.catalog.startswith("sqlite:"):
        Path(lake.catalog.removeprefix("sqlite:")).parent.mkdir(parents=True, exist_ok=True)
        Path(lake.data_path).mkdir(parents=True, exist_ok=True)
    if _has_catalog(lake):
        # Nothing to create: whoever only reads must not wait for a writer.
        connection.execute(lake.attach_sql)
        return connection
    # Creating the catalog is a write too: two first users must not race.
    with write_lock(lake):
        connection.execute(lake.attach_sql)
        _set_options(connection)
    return connection


def _set_options(connection: duckdb.DuckDBPyConnection) -> None:
    """Keep tables in files, where Polars reads them, and small records in the catalog."""
    known = connection.execute(
        "SELECT count(*) FROM ducklake_options('lake') "
        "WHERE option_name = 'data_inlining_row_limit'"
    ).fetchone()
    if known and known[0]:
        return
    connection.execute("CALL lake.set_option('data_inlining_row_limit', 0)")
    connection.execute("CREATE SCHEMA IF NOT EXISTS lake.quality")
    connection.execute(
        f"CALL lake.set_option('data_inlining_row_limit', {_RECORD_ROWS_INLINED}, "
        "schema => 'quality')"
    )


def _has_catalog(lake: Lake) -> bool:
    """Whether the catalog has been created, to the end, by somebody before."""
    if lake.catalog.startswith(advisory_lock.PREFIX):
        return advisory_lock.has_rows(
            lake.catalog.removeprefix(advisory_lock.PREFIX), "ducklake_snapshot"
        )
    path = Path(lake.catalog.removeprefix("sqlite:"))
    if not path.exists():
        return False
    with closing(sqlite3.connect(path, timeout=BUSY_TIMEOUT_MS / 1000)) as catalog:
        tables = "SELECT count(*) FROM sqlite_master WHERE name = 'ducklake_snapshot'"
        if not catalog.execute(tables).fetchone()[0]:
            return False
        return catalog.execute("SELECT count(*) FROM ducklake_snapshot").fetchone()[0] > 0


def load_extensions(connection: duckdb.DuckDBPyConnection, *, catalog: str) -> None:
    """Load DuckLake and the catalog's scanner from the installed packages, offline."""
    scanner = "sqlite_scanner" if catalog.startswith("sqlite:") else "postgres_scanner"
    for extension in ("ducklake", scanner):
        try:
            connection.execute(f"LOAD {extension}")
        except duckdb.IOException:
            from duckdb_extensions import import_extension

            import_extension(extension)
            connection.execute(f"LOAD {extension}")


@contextmanager
def write_lock(lake: Lake) -> Iterator[None]:
    """Hold the lake's write lock: one writer at a time, among all processes.

    Raises:
        TimeoutError: Another writer held it too long.
        ValueError: A SQLite lake was made without a lock's path.
    """
    if lake.catalog.startswith(advisory_lock.PREFIX):
        lock: FileLock | AdvisoryLock = AdvisoryLock(
            lake.catalog.removeprefix(advisory_lock.PREFIX)
        )
        who = "pg_locks and pg_stat_activity of the catalog"
    elif lake.lock_path is not None:
        lake.lock_path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(lake.lock_path)
        who = f"`fuser {lake.lock_path}`"
    else:
        raise ValueError(f"the lake {lake.catalog} has no write lock; give it a lock_path")
    try:
        lock.acquire(timeout=lake.lock_timeout_s)
    except Timeout as error:
        raise TimeoutError(
            f"another process has held the lake's write lock for {lake.lock_timeout_s:.0f} s; "
            f"see which one with {who}, let it finish or stop it, and run again"
        ) from error
    try:
        yield
    finally:
        lock.release()
