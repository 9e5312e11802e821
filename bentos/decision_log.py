"""The decision log: one JSON line per answered request, on disk before the reply leaves."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson


class DecisionLogError(RuntimeError):
    """A decision could not be logged, so it must not be answered."""


class DecisionLog:
    """Appends to a file of its own, so that processes never share a line.

    A line is one ``write`` to the kernel: it survives the death of the process, though not of the
    machine.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._handle: int | None = None
        self.path: Path | None = None

    def append(self, decision: dict[str, Any]) -> None:
        """Write one decision; numpy values are allowed.

        Raises:
            DecisionLogError: The line is not on disk; nothing of it is left behind.
        """
        line = orjson.dumps(decision, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE)
        try:
            handle = self._open()
            written = os.write(handle, line)
            if written != len(line):
                os.ftruncate(handle, os.fstat(handle).st_size - written)
                raise OSError(f"only {written} of {len(line)} bytes fitted")
        except OSError as error:
            raise DecisionLogError(
                f"the decision log in {self._folder} cannot be written ({error}): free disk space "
                "or restore the permissions; requests are refused until then"
            ) from error

    def close(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def _open(self) -> int:
        if self._handle is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            started = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
            self.path = self._folder / f"decisions-{started}-{os.getpid()}.jsonl"
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            self._handle = os.open(self.path, flags, 0o640)
        return self._handle
