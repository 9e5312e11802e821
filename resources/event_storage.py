"""Dagster's event log on SQLite, with a range's events written in one transaction.

A run over 54 weeks reports one event per asset and week: thousands, of which Dagster's own SQLite
storages commit each by itself, twice, on a new connection (about 20 ms). Here the events that
Dagster hands over as a batch share one connection and one commit.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from dagster._core.storage.event_log import ConsolidatedSqliteEventLogStorage
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from filelock import FileLock

if TYPE_CHECKING:
    from dagster import EventLogEntry


def _subject(event: EventLogEntry) -> tuple[object, ...]:
    """Asset and kind of an event: of two such in a row, the second says all that the first did."""
    # What is no event is refused when it is stored.
    told = getattr(event, "dagster_event", None)
    return (told.asset_key, told.event_type_value) if told and told.asset_key else (id(event),)


class BatchedSqliteEventLogStorage(ConsolidatedSqliteEventLogStorage):
    """One SQLite file in WAL mode; a connection per thread, a commit per batch."""

    def __init__(self, base_dir: str, inst_data: Any = None) -> None:
        self._threads = threading.local()
        self._tables: set[str] = set()
        Path(base_dir).mkdir(parents=True, exist_ok=True)
        # Two first processes must not make the tables at once.
        with FileLock(Path(base_dir) / ".create.lock"):
            super().__init__(base_dir, inst_data)

    def _engine(self) -> sa.Engine:
        engine = getattr(self, "_pooled", None)
        if engine is None:
            engine = sa.create_engine(
                self._conn_string,
                poolclass=sa.pool.QueuePool,
                connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS, "check_same_thread": False},
            )
            # A crash of the machine may lose the last events, never damage the file (WAL).
            sa.event.listen(engine, "connect", lambda c, _: c.execute("PRAGMA synchronous=NORMAL"))
            self._pooled = engine
        return engine

    @contextmanager
    def _connect(self) -> Iterator[sa.Connection]:
        current = getattr(self._threads, "batch", None)
        if current is not None:
            yield current
            return
        with self._engine().begin() as connection:
            yield connection

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Store events in one transaction: all of them, or none."""
        latest = {_subject(event): id(event) for event in events}
        with self._engine().begin() as connection:
            self._threads.batch = connection
            self._threads.latest = frozenset(latest.values())
            try:
                for event in events:
                    self.store_event(event)
            finally:
                self._threads.batch = self._threads.latest = None

    def _store_asset_event(self, conn: sa.Connection, event: EventLogEntry, event_id: int) -> None:
        """Say what is the last event of an asset; within a batch, once for each kind of event."""
        latest = getattr(self._threads, "latest", None)
        if latest is None or id(event) in latest:
            super()._store_asset_event(conn, event, event_id)

    def has_table(self, table_name: str) -> bool:
        """Whether the file has a table: asked per event, so what is there is remembered."""
        if table_name not in self._tables:
            with self._connect() as connection:
                if not sa.inspect(connection).has_table(table_name):
                    return False
            self._tables.add(table_name)
        return True

    def dispose(self) -> None:
        if getattr(self, "_pooled", None) is not None:
            self._pooled.dispose()
        super().dispose()
