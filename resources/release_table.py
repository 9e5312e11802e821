"""The release ledger's table: its database refuses changes, and admits one writer at a time."""

from __future__ import annotations

import math
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa

# A writer takes milliseconds; past this something is stuck.
BUSY_SECONDS = 30
# One number for all ledgers of a database: "liftgra" in ASCII.
_ADVISORY_LOCK = 0x6C696674677261
_WRITES = "liftgraph_writes"

_TABLES = sa.MetaData()
EVENTS = sa.Table(
    "release_events",
    _TABLES,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("at", sa.String(26), nullable=False),
    sa.Column("name", sa.String(100), nullable=False, index=True),
    sa.Column("model_version", sa.String(64), nullable=False, index=True),
    sa.Column("model_tag", sa.String(200), nullable=False),
    sa.Column("state", sa.String(20), nullable=False),
    sa.Column("percent", sa.Float, nullable=True),
    sa.Column("actor", sa.String(200), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("evidence", sa.Text, nullable=False),
    sa.Column("forced", sa.Boolean, nullable=False),
    sa.Column("previous", sa.String(20), nullable=True),
    sa.Column("digest", sa.String(64), nullable=False),
)

_APPEND_ONLY = {
    "sqlite": tuple(
        f"CREATE TRIGGER IF NOT EXISTS release_events_no_{action.lower().split()[0]} "
        f"BEFORE {action} ON release_events {when} "
        "BEGIN SELECT RAISE(ABORT, 'the release ledger is append-only'); END"
        for action, when in (
            ("UPDATE", ""),
            ("DELETE", ""),
            # What INSERT OR REPLACE would overwrite.
            ("INSERT", "WHEN EXISTS (SELECT 1 FROM release_events WHERE id = NEW.id)"),
        )
    ),
    "postgresql": (
        """CREATE OR REPLACE FUNCTION release_events_append_only() RETURNS trigger AS $$
        BEGIN RAISE EXCEPTION 'the release ledger is append-only'; END $$ LANGUAGE plpgsql""",
        """CREATE OR REPLACE TRIGGER release_events_no_change BEFORE UPDATE OR DELETE
        ON release_events FOR EACH ROW EXECUTE FUNCTION release_events_append_only()""",
        """CREATE OR REPLACE TRIGGER release_events_no_truncate BEFORE TRUNCATE
        ON release_events FOR EACH STATEMENT EXECUTE FUNCTION release_events_append_only()""",
    ),
}


def engine(url: str, *, busy_seconds: float = BUSY_SECONDS, make: bool = True) -> sa.Engine:
    """Connections to the ledger at ``url``.

    Args:
        url: SQLAlchemy address.
        busy_seconds: How long to wait for another writer.
        make: Make the table where it is missing; a ledger that has it is opened without a lock.

    Raises:
        FileNotFoundError: There is no ledger and none is to be made.
    """
    address = sa.make_url(url)
    if address.get_backend_name() == "sqlite":
        if address.database and not Path(address.database).exists():
            if not make:
                raise _missing(address)
            Path(address.database).parent.mkdir(parents=True, exist_ok=True)
        made = sa.create_engine(address, connect_args={"timeout": busy_seconds})
        sa.event.listen(made, "connect", partial(_sqlite_connected, busy_seconds=busy_seconds))
        sa.event.listen(made, "begin", _sqlite_begun)
    else:
        if address.drivername == "postgresql":
            # The driver that the `postgres` extra installs.
            address = address.set(drivername="postgresql+psycopg2")
        made = sa.create_engine(
            address,
            pool_pre_ping=True,
            connect_args={
                "connect_timeout": max(2, math.ceil(busy_seconds)),
                "options": f"-c lock_timeout={round(busy_seconds * 1e3)}",
            },
        )
    if not sa.inspect(made).has_table(EVENTS.name):
        if not make:
            made.dispose()
            raise _missing(address)
        with alone(made) as connection:
            _TABLES.create_all(connection)
            for statement in _APPEND_ONLY[made.dialect.name]:
                connection.exec_driver_sql(statement)
    return made


def identity(url: str) -> tuple[int, int] | None:
    """Of a SQLite ledger's file, which another file in its place does not have; else ``None``.

    Raises:
        FileNotFoundError: The file is gone.
    """
    address = sa.make_url(url)
    if address.get_backend_name() != "sqlite" or not address.database:
        return None
    try:
        stat = Path(address.database).stat()
    except FileNotFoundError:
        raise _missing(address) from None
    return stat.st_dev, stat.st_ino


def _missing(address: sa.URL) -> FileNotFoundError:
    return FileNotFoundError(
        f"there is no release ledger at {address.render_as_string(hide_password=True)}: restore it "
        "from its backup"
    )


@contextmanager
def alone(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A write transaction that no other writer shares, from its first read on."""
    with engine.connect().execution_options(**{_WRITES: True}) as connection, connection.begin():
        if engine.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
        yield connection


def _sqlite_connected(connection: Any, _record: Any, *, busy_seconds: float) -> None:
    # The driver's own BEGIN comes too late: after the first read.
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout = {round(busy_seconds * 1e3)}")
    connection.execute("PRAGMA synchronous = FULL")
    deadline = time.monotonic() + busy_seconds
    while connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            # The change of mode does not wait for other connections by itself.
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _sqlite_begun(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
