"""One writer at a time on a PostgreSQL catalog, from whatever machine: a session's advisory lock.

DuckLake's commits conflict where one transaction deletes weeks of a table and another has inserted
some meanwhile, and the one that comes second has worked for nothing. PostgreSQL frees the lock when
the session ends, however it ends.
"""

from __future__ import annotations

import time
from typing import Any

from filelock import Timeout

PREFIX = "postgres:"

# Of this database; the text is hashed by PostgreSQL itself.
_TRY = "SELECT pg_try_advisory_lock(hashtext('liftgraph lake'))"
_POLL_S = 0.1


class AdvisoryLock:
    """The lake's write lock in its catalog; acquired and released like a ``FileLock``.

    Args:
        dsn: libpq connection string of the catalog.
    """

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self._session: Any = None

    def acquire(self, timeout: float) -> None:
        """Take the lock.

        Args:
            timeout: Seconds to wait for another writer; 0 tries once.

        Raises:
            Timeout: Another writer held it all the time.
            ImportError: The `postgres` extra is not installed.
        """
        started = time.monotonic()
        session = connect(self.dsn)
        with session.cursor() as cursor:
            while True:
                cursor.execute(_TRY)
                if cursor.fetchone()[0]:
                    self._session = session
                    return
                if time.monotonic() - started >= timeout:
                    break
                time.sleep(_POLL_S)
        session.close()
        raise Timeout("the advisory lock 'liftgraph lake'")

    def release(self) -> None:
        """Let the next writer in."""
        if self._session is not None:
            self._session.close()
            self._session = None


def has_rows(dsn: str, table: str) -> bool:
    """Whether a table of the database exists and holds a row.

    Args:
        dsn: libpq connection string.
        table: Its name, in the search path.
    """
    session = connect(dsn)
    try:
        with session.cursor() as cursor:
            cursor.execute("SELECT to_regclass(%s) IS NOT NULL", (table,))
            if not cursor.fetchone()[0]:
                return False
            cursor.execute(f"SELECT EXISTS (SELECT 1 FROM {table})")
            return bool(cursor.fetchone()[0])
    finally:
        session.close()


def connect(dsn: str) -> Any:
    """A session of its own, each statement by itself.

    Raises:
        ImportError: The `postgres` extra is not installed.
    """
    try:
        import psycopg2
    except ImportError as error:
        raise ImportError(
            "a lake on a PostgreSQL catalog needs psycopg2: install the extras (`make extras`)"
        ) from error
    session = psycopg2.connect(dsn)
    # A transaction left open would keep the catalog's rows from being tidied.
    session.autocommit = True
    return session
