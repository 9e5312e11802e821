"""The event log: what households bought since the last drop, one JSON line per event, for good.

All processes share one log. Whoever appends holds its lock, reads what others appended before, and
so knows every ``event_id``: an event is written once, whichever process a caller's retry reaches,
also after a restart. Each line is synced to disk before it is acknowledged or read, so that an
acknowledged event survives the machine, and one that is taken back was seen by nobody. Files are as
the decision log's (``resources.decision_files``); none is ever named as another was.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from resources.decision_files import (
    LINES,
    OPEN,
    cut,
    held,
    log_files,
    name_of,
    remove_old,
    rename_closed,
)

logger = logging.getLogger("liftgraph.serving")

FILE_BYTES = 64 << 20
# A file that is open is never removed.
FILE_DAYS = 1.0
# Twice the life of a weekly snapshot: what is older, no answer counts as fresh.
REMEMBER_DAYS = 14.0
_STARTED = "%Y%m%dT%H%M%S"


class EventLogError(RuntimeError):
    """An event is not on disk, so it must not be acknowledged."""


class EventConflictError(ValueError):
    """An ``event_id`` came again with another content."""


@dataclass(frozen=True)
class Appended:
    """What became of an event.

    Attributes:
        record: As it is in the log: of a repeated event, what was logged the first time.
        repeated: It was there already.
    """

    record: dict[str, Any]
    repeated: bool


class EventLog:
    """The log of one folder, for one process.

    Args:
        folder: Made on the first append.
        sync: Whether each event is synced to disk before it is acknowledged.
        remember_days: How long an ``event_id`` is known after its ``received_at`` (naive UTC, ISO);
            some 400 bytes of memory each.
        file_bytes: A file is closed when it has grown past this.
        file_days: Or when it is older than this.

    Attributes:
        events: How many are known.
        bad_lines: How many lines are no events; they are skipped.
        problem: The newest of those by file and place; None without one.
    """

    def __init__(
        self,
        folder: Path,
        *,
        sync: bool = True,
        remember_days: float = REMEMBER_DAYS,
        file_bytes: int = FILE_BYTES,
        file_days: float = FILE_DAYS,
    ) -> None:
        self._folder = folder
        self._sync = sync
        self._remembered = timedelta(days=remember_days)
        self._file_bytes = file_bytes
        self._file_age = timedelta(days=file_days)
        self._lock = threading.Lock()
        # Records without their lines, as JSON: a million of them are 400 MB.
        self._known: dict[str, bytes] = {}
        self._unread: list[dict[str, Any]] = []
        # File to the end of what was read of it.
        self._read: dict[str, int] = {}
        self.events = 0
        self.bad_lines = 0
        self.problem: str | None = None

    def append(self, record: dict[str, Any]) -> Appended:
        """Log an event unless it is there.

        Args:
            record: ``event_id`` and ``digest`` of the content, and anything else.

        Raises:
            EventConflictError: The ``event_id`` is there with another ``digest``.
            EventLogError: It could not be written; nothing of it is left behind.
        """
        line = orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
        with self._lock:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                with held(self._folder):
                    self._catch_up()
                    before = self._known.get(record["event_id"])
                    if before is not None:
                        return _repeated(orjson.loads(before), record)
                    self._write(line)
            except OSError as error:
                raise EventLogError(
                    f"the event log in {self._folder} cannot be written ({error}): free disk space "
                    "or restore the permissions; events are refused until then"
                ) from error
            self._remember(record)
        return Appended(record=record, repeated=False)

    def news(self) -> list[dict[str, Any]]:
        """Events that other processes appended, or that were there before, in the log's order.

        Each is returned once; those of this process's ``append`` never.

        Raises:
            EventLogError: The log cannot be read.
        """
        with self._lock:
            try:
                # Without the lock a line would be read that its writer takes back.
                if self._folder.is_dir():
                    with held(self._folder):
                        self._catch_up()
            except OSError as error:
                raise EventLogError(
                    f"the event log in {self._folder} cannot be read ({error}): restore the "
                    "folder's permissions or its disk"
                ) from error
            news, self._unread = self._unread, []
        return news

    def tend(self, *, keep_days: float) -> list[str]:
        """Close a file that is old enough, and remove those that are ingested and older.

        Returns:
            Names of the removed files.
        """
        if not self._folder.is_dir():
            return []
        with self._lock, held(self._folder):
            # No torn line may be in a file that is closed.
            self._catch_up()
            for path in log_files(self._folder):
                if path.name.endswith(OPEN) and self._is_old(path):
                    self._close(path)
            return remove_old(self._folder, keep_days=keep_days)

    def _catch_up(self) -> None:
        """Read whole lines that are new; a torn one, whose writer was killed, is left alone.

        The lock is held.
        """
        for path in log_files(self._folder):
            name = name_of(path)
            done = self._read.get(name, 0)
            new = _rest(path, done, sync=self._sync)
            end = new.rfind(b"\n") + 1
            for line in new[:end].split(b"\n")[:-1]:
                self._take(line, name)
                self._read[name] = self._read.get(name, 0) + len(line) + 1

    def _take(self, line: bytes, name: str) -> None:
        try:
            record = orjson.loads(line)
            self._remember(record)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            # What is no event was never acknowledged; one bad line must not stop the others.
            self.bad_lines += 1
            self.problem = (
                f"{self._folder / name} holds {self.bad_lines} line(s) that are no events, the "
                f"newest at byte {self._read.get(name, 0):,} ({type(error).__name__}): they are "
                "not counted; see what wrote there"
            )
            logger.error("%s", self.problem)  # noqa: TRY400 - the message is the whole story
        else:
            self._unread.append(record)

    def _write(self, line: bytes) -> None:
        path = self._current()
        handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            # What was read ends with a whole line: anything after it was never acknowledged.
            end = self._read.get(name_of(path), 0)
            cut(handle, path, end)
            try:
                written = os.write(handle, line)
                if written != len(line):
                    raise OSError(f"only {written} of {len(line)} bytes fitted")
                if self._sync:
                    os.fdatasync(handle)
            except OSError:
                os.ftruncate(handle, end)
                raise
        finally:
            os.close(handle)
        self._read[name_of(path)] = end + len(line)

    def _current(self) -> Path:
        """The file to append to; the lock is held."""
        files = log_files(self._folder)
        if files and files[-1].name.endswith(OPEN):
            if files[-1].stat().st_size < self._file_bytes and not self._is_old(files[-1]):
                return files[-1]
            self._close(files[-1])
        number = int(name_of(files[-1]).removesuffix(LINES).split("-")[1]) + 1 if files else 1
        # Whoever ingests knows a file by its name: that of another home, or of the one that was
        # here before, must not be taken for this one. The number keeps the order.
        started = datetime.now(UTC).strftime(_STARTED)
        name = f"events-{number:08d}-{started}-{secrets.token_hex(4)}"
        path = self._folder / f"{name}{LINES}{OPEN}"
        path.touch(mode=0o640)
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return path

    def _is_old(self, path: Path) -> bool:
        try:
            started = datetime.strptime(path.name.split("-")[2], _STARTED).replace(tzinfo=UTC)
        except (IndexError, ValueError):
            # Named before names were unique.
            return True
        return datetime.now(UTC) - started >= self._file_age

    def _close(self, path: Path) -> None:
        """Cut a torn line off and close a file; the lock is held and all of it is read."""
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            cut(handle, path, self._read.get(name_of(path), 0))
        finally:
            os.close(handle)
        rename_closed(path)

    def _remember(self, record: dict[str, Any]) -> None:
        # Lines are kept by who applies them; for an answer the rest will do.
        rest = {k: v for k, v in record.items() if k != "lines"}
        event_id, _ = str(record["event_id"]), record["digest"]
        received_at = record.get("received_at", "")
        oldest = (
            received_at and (datetime.fromisoformat(received_at) - self._remembered).isoformat()
        )
        self.events += 1
        self._known[event_id] = orjson.dumps(rest)
        while self._known:
            first = next(iter(self._known))
            if orjson.loads(self._known[first]).get("received_at", "") >= oldest:
                break
            del self._known[first]


def _repeated(before: dict[str, Any], record: dict[str, Any]) -> Appended:
    if before["digest"] != record["digest"]:
        raise EventConflictError(
            "an event with this event_id and another content was logged before; give each event an "
            "id of its own"
        )
    return Appended(record=before, repeated=True)


def _rest(path: Path, done: int, *, sync: bool) -> bytes:
    """What follows the first ``done`` bytes, on disk for good; nothing of a file that is gone."""
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        file.seek(done)
        found = file.read()
        if found and sync:
            # Whoever wrote it may have been killed before it was.
            os.fdatasync(file.fileno())
        return found
    return b""
