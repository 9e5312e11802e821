"""The event log: what households bought since the last drop, one JSON line per event, for good.

All processes share one log. Whoever appends holds its lock, reads what others appended before, and
so knows every ``event_id``: an event is written once, whichever process a caller's retry reaches,
also after a restart. Each line is synced to disk before ``append`` returns, so that an acknowledged
event survives the machine. Files are named as the decision log's (``resources.decision_files``).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from resources.decision_files import LINES, OPEN, log_files, name_of, rename_closed

FILE_BYTES = 64 << 20
# Twice the life of a weekly snapshot: what is older, no answer counts as fresh.
REMEMBER_DAYS = 14.0
_LOCK = ".lock"


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
    """

    def __init__(
        self,
        folder: Path,
        *,
        sync: bool = True,
        remember_days: float = REMEMBER_DAYS,
        file_bytes: int = FILE_BYTES,
    ) -> None:
        self._folder = folder
        self._sync = sync
        self._remembered = timedelta(days=remember_days)
        self._file_bytes = file_bytes
        self._lock = threading.Lock()
        # Records without their lines, as JSON: a million of them are 400 MB.
        self._known: dict[str, bytes] = {}
        self._unread: list[dict[str, Any]] = []
        # File to the end of what was read of it.
        self._read: dict[str, int] = {}
        self.events = 0

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
                with self._held():
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
        """
        with self._lock:
            with contextlib.suppress(FileNotFoundError):
                self._catch_up()
            news, self._unread = self._unread, []
        return news

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        self._folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(self._folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def _catch_up(self) -> None:
        """Read whole lines that are new; a torn one, whose writer was killed, is left alone."""
        for path in log_files(self._folder):
            name = name_of(path)
            done = self._read.get(name, 0)
            new = _rest(path, done)
            end = new.rfind(b"\n") + 1
            for line in new[:end].splitlines():
                record = orjson.loads(line)
                self._remember(record)
                self._unread.append(record)
            self._read[name] = done + end

    def _write(self, line: bytes) -> None:
        path = self._current()
        handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            # What was read ends with a whole line: anything after it was never acknowledged.
            end = self._read.get(name_of(path), 0)
            os.ftruncate(handle, end)
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
            if files[-1].stat().st_size < self._file_bytes:
                return files[-1]
            rename_closed(files[-1])
        number = int(name_of(files[-1]).removesuffix(LINES).rsplit("-", 1)[1]) + 1 if files else 1
        path = self._folder / f"events-{number:08d}{LINES}{OPEN}"
        path.touch(mode=0o640)
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return path

    def _remember(self, record: dict[str, Any]) -> None:
        self.events += 1
        # Lines are kept by who applies them; for an answer the rest will do.
        rest = {k: v for k, v in record.items() if k != "lines"}
        self._known[record["event_id"]] = orjson.dumps(rest)
        received_at = record.get("received_at", "")
        oldest = (
            received_at and (datetime.fromisoformat(received_at) - self._remembered).isoformat()
        )
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


def _rest(path: Path, done: int) -> bytes:
    """What follows the first ``done`` bytes; nothing of a file that is gone."""
    # It may have been closed since it was listed.
    for place in (path, path.with_name(name_of(path))):
        with contextlib.suppress(FileNotFoundError), place.open("rb") as file:
            file.seek(done)
            return file.read()
    return b""
