"""The audit log: every release action and every refusal, one JSON line each, never a secret.

Refusals repeat: the first of a kind is written at once, the rest of that second as one line with
their number, so that nobody fills the disk by asking in vain.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from bentos.clock import utc_now

_WINDOW_SECONDS = 1.0


class AuditError(RuntimeError):
    """An action could not be written down, so it must not be done."""


@dataclass
class _Window:
    """Refusals of one kind since the last line."""

    until: float
    line: dict[str, Any]
    unsaid: int = 0


class Audit:
    """Appends to ``audit-<day>-<process>.jsonl``.

    Args:
        folder: Of the audit log; made with the first line.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._windows: dict[tuple, _Window] = {}
        self.problem: str | None = None

    def action(self, **line: Any) -> None:
        """Write an action down before it is done, or what became of it.

        Raises:
            AuditError: It could not be written.
        """
        with self._lock:
            self._write(line)

    def refusal(self, *, key: str | None, why: str, route: str, status: int, remote: str) -> None:
        """Write a refusal down; a failure is kept as ``problem``: it was refused all the same."""
        kind = (key, why, route, status, remote)
        line = {"action": "refused", "actor": key, "why": why, "route": route, "status": status}
        line["remote"] = remote
        with self._lock, self._noting():
            window = self._windows.get(kind)
            if window is not None and time.monotonic() < window.until:
                window.unsaid += 1
                return
            if window is not None:
                self._say(window)
            self._windows[kind] = _Window(time.monotonic() + _WINDOW_SECONDS, line)
            self._write(line)

    def tend(self) -> None:
        """About every second: write what was counted and not said."""
        with self._lock, self._noting():
            now = time.monotonic()
            for kind, window in [*self._windows.items()]:
                if now >= window.until:
                    del self._windows[kind]
                    self._say(window)

    def close(self) -> None:
        with self._lock, self._noting():
            for window in self._windows.values():
                self._say(window)
            self._windows.clear()

    def _say(self, window: _Window) -> None:
        if window.unsaid:
            self._write({**window.line, "count": window.unsaid})

    def _write(self, line: dict[str, Any]) -> None:
        now = utc_now()
        path = self._folder / f"audit-{now:%Y%m%d}-{os.getpid()}.jsonl"
        text = orjson.dumps({"at": now, **line}, option=orjson.OPT_APPEND_NEWLINE)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with path.open("ab", buffering=0) as file:
                written = file.write(text)
                if written != len(text):
                    file.truncate(file.tell() - written)
                    raise OSError(f"only {written} of {len(text)} bytes fitted")
        except OSError as error:
            self.problem = (
                f"the audit log in {self._folder} cannot be written ({error}): free disk space or "
                "restore the permissions; release actions are refused until then"
            )
            raise AuditError(self.problem) from error
        self.problem = None

    @contextlib.contextmanager
    def _noting(self) -> Any:
        with contextlib.suppress(AuditError):
            yield
