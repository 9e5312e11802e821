"""Files of the decision log: their names, which are whole, and when one may be removed.

``<name>.jsonl.open`` is being written by the process that holds its lock; ``<name>.jsonl`` is
closed and never changes again. A reader knows a file by ``<name>.jsonl`` in both states. The reader
that stores lines elsewhere says how far it is with ``mark_ingested``; what is not ingested is never
removed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

OPEN = ".open"
LINES = ".jsonl"
INGESTED = ".ingested"
# Of a log that several processes append to; the decision log has a file per process instead.
LOCK = ".lock"
_DAY_SECONDS = 86_400.0


def log_files(folder: Path) -> list[Path]:
    """All files of the log, closed and open, oldest first."""
    # Open ones first: a file that is closed in between is found twice, and not missed.
    found = {name_of(path): path for path in folder.glob(f"*{LINES}{OPEN}")}
    found |= {path.name: path for path in folder.glob(f"*{LINES}")}
    return [found[name] for name in sorted(found)]


def name_of(path: Path) -> str:
    """What a file is known by, open or closed."""
    return path.name.removesuffix(OPEN)


def whole_bytes(path: Path) -> int:
    """Bytes up to the end of the last whole line."""
    size = path.stat().st_size
    with path.open("rb") as file:
        while size > 0:
            start = max(size - 65_536, 0)
            file.seek(start)
            at = file.read(size - start).rfind(b"\n")
            if at >= 0:
                return start + at + 1
            size = start
    return 0


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold the lock of a log that several processes append to: nothing in it moves meanwhile."""
    handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def close_abandoned(folder: Path) -> list[Path]:
    """Close open files whose writer is gone: killed, or the machine went down.

    A torn last line, which no caller was answered for, is cut off.

    Returns:
        The closed files.
    """
    closed = []
    for path in sorted(folder.glob(f"*{LINES}{OPEN}")):
        with _locked(path) as handle:
            if handle is None:
                continue
            os.ftruncate(handle, whole_bytes(path))
            closed.append(rename_closed(path))
    return closed


def cut(handle: int, path: Path, end: int) -> None:
    """Cut off what follows ``end``; a file is never made longer, for that writes zeros."""
    size = os.fstat(handle).st_size
    if size < end:
        raise OSError(
            f"{path} has {size:,} bytes, {end:,} were read before: somebody cut it; put it back, "
            "or restart the service to go on without what is gone"
        )
    os.ftruncate(handle, end)


def rename_closed(path: Path) -> Path:
    """Give a file that is written no more its closed name; an empty one is removed."""
    target = path.with_name(name_of(path))
    if path.stat().st_size == 0:
        path.unlink()
    else:
        path.rename(target)
    return target


def mark_ingested(folder: Path, name: str, up_to: int) -> None:
    """Say that the first ``up_to`` bytes of a file are stored elsewhere for good."""
    marker = folder / f"{name}{INGESTED}"
    unfinished = folder / f".{marker.name}.{os.getpid()}"
    unfinished.write_text(str(up_to), encoding="ascii")
    unfinished.replace(marker)


def ingested_bytes(folder: Path, name: str) -> int:
    """How far a file is ingested; 0 where nobody has said."""
    marker = folder / f"{name}{INGESTED}"
    return int(marker.read_text(encoding="ascii")) if marker.exists() else 0


def remove_old(folder: Path, *, keep_days: float, now: float | None = None) -> list[str]:
    """Remove closed files that are older than allowed and wholly ingested.

    Args:
        folder: Of the log.
        keep_days: Age since the last line at which a file may go.
        now: Seconds since the epoch; default the clock.

    Returns:
        Names of the removed files.
    """
    oldest = (time.time() if now is None else now) - keep_days * _DAY_SECONDS
    removed = []
    for path in sorted(folder.glob(f"*{LINES}")):
        # Another process may be removing the same file.
        with contextlib.suppress(FileNotFoundError):
            stat = path.stat()
            if stat.st_mtime < oldest and ingested_bytes(folder, path.name) >= stat.st_size:
                path.unlink()
                (folder / f"{path.name}{INGESTED}").unlink(missing_ok=True)
                removed.append(path.name)
    return removed


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[int | None]:
    """The file, if nobody writes it."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        yield None
        return
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        # Whoever held the lock may have closed and renamed the file in between.
        yield handle if path.exists() else None
    finally:
        os.close(handle)
