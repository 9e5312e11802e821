"""The decision log: one JSON line per request, on disk before the reply leaves."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from bentos.settings import ServingSettings
from resources.decision_files import LINES, OPEN, close_abandoned, remove_old, rename_closed

_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE
_MEGABYTE = 1 << 20
# What must fit before a full disk counts as mended: some hundred decisions.
_PROBE_BYTES = _MEGABYTE


class DecisionLogError(RuntimeError):
    """A decision could not be logged, so it must not be answered."""


@dataclass(frozen=True)
class LogLimits:
    """When a file is closed, and when it may go.

    Attributes:
        bytes: A file is closed when it has grown past this.
        seconds: Or when it is this old.
        keep_days: Closed files stay this long, and longer if they are not ingested.
    """

    bytes: int = 64 << 20
    seconds: float = 3_600.0
    keep_days: float = 90.0

    @classmethod
    def of(cls, settings: ServingSettings) -> LogLimits:
        return cls(
            bytes=int(settings.log_file_mb * _MEGABYTE),
            seconds=settings.log_file_seconds,
            keep_days=settings.log_keep_days,
        )


class DecisionLog:
    """Appends to files of its own, so that processes never share a line.

    A line is one ``write`` to the kernel: it survives the death of the process, though not of the
    machine.
    """

    def __init__(self, folder: Path, limits: LogLimits | None = None) -> None:
        self._folder = folder
        self._limits = limits or LogLimits()
        self._handle: int | None = None
        self._end = 0
        self._opened_at = 0.0
        # The shadow's thread writes here too.
        self._lock = threading.Lock()
        self.path: Path | None = None
        self.problem: str | None = None
        self.lines = 0
        self.bytes = 0

    def append(self, decision: dict[str, Any]) -> None:
        """Write one decision; numpy values are allowed.

        Raises:
            DecisionLogError: The line is not on disk; nothing of it is left behind.
        """
        line = orjson.dumps(decision, option=_OPTIONS)
        with self._lock:
            try:
                self._write(line)
            except OSError as error:
                self.problem = (
                    f"the decision log in {self._folder} cannot be written ({error}): free disk "
                    "space or restore the permissions; requests are refused until then"
                )
                raise DecisionLogError(self.problem) from error
            self.problem = None
            self.lines += 1
            self.bytes += len(line)

    def tend(self) -> None:
        """Off the request path, about every second: close what is due, try a full disk again.

        Files that killed processes left open are closed, and old ingested ones removed.
        """
        with self._lock:
            if self.problem is not None:
                self._try_again()
            if self._handle is not None and self._is_due():
                self._close()
        with contextlib.suppress(OSError):
            close_abandoned(self._folder)
            remove_old(self._folder, keep_days=self._limits.keep_days)

    def close(self) -> None:
        with self._lock:
            self._close()

    def _write(self, line: bytes) -> None:
        handle = self._open()
        try:
            written = os.write(handle, line)
            if written != len(line):
                raise OSError(f"only {written} of {len(line)} bytes fitted")
        except OSError:
            # Whatever was left there by this line or by one that could not be taken back before.
            os.ftruncate(handle, self._end)
            raise
        self._end += len(line)

    def _open(self) -> int:
        if self._handle is not None and self._end >= self._limits.bytes:
            self._close()
        if self._handle is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self.path, self._handle = self._new_file()
            self._end, self._opened_at = 0, time.monotonic()
        elif os.fstat(self._handle).st_size != self._end:
            os.ftruncate(self._handle, self._end)
        return self._handle

    def _new_file(self) -> tuple[Path, int]:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        while True:
            started = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
            name = f"decisions-{started}-{os.getpid()}-{secrets.token_hex(2)}{LINES}{OPEN}"
            handle = os.open(self._folder / name, flags, 0o640)
            # Says that the writer lives; the kernel lets go when it dies.
            fcntl.flock(handle, fcntl.LOCK_EX)
            if os.fstat(handle).st_nlink:
                return self._folder / name, handle
            # Another process took the file for abandoned before it was locked.
            os.close(handle)

    def _is_due(self) -> bool:
        if self._handle is None or os.fstat(self._handle).st_nlink == 0:
            # Somebody has removed the file; its lines are gone, the next must not be.
            return True
        return time.monotonic() - self._opened_at > self._limits.seconds

    def _close(self) -> None:
        if self._handle is None or self.path is None:
            return
        handle, self._handle = self._handle, None
        with contextlib.suppress(FileNotFoundError):
            rename_closed(self.path)
        os.close(handle)

    def _try_again(self) -> None:
        """Nobody asks a service that is not ready, so it looks for itself."""
        probe = self._folder / f".probe-{os.getpid()}"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with probe.open("wb", buffering=0) as file:
                if file.write(b"\0" * _PROBE_BYTES) == _PROBE_BYTES:
                    self.problem = None
        except OSError:
            return
        finally:
            with contextlib.suppress(OSError):
                probe.unlink(missing_ok=True)
