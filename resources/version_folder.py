"""A folder of files that appears under its version whole or not at all, whoever is killed."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

WRITING = ".writing-"
# A writer takes seconds; a folder this old was left by one that was killed.
ABANDONED_SECONDS = 3600.0


@contextmanager
def unfinished_folder(root: Path) -> Iterator[Path]:
    """A folder to write in, which is gone afterwards unless it was settled.

    Args:
        root: Folder of all versions, made if absent; what killed writers left in it is removed.
    """
    root.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(root)
    unfinished = Path(tempfile.mkdtemp(prefix=WRITING, dir=root))
    try:
        yield unfinished
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def settle(unfinished: Path, target: Path, *, is_whole: Callable[[], bool]) -> None:
    """Give a finished folder its name, on disk before anybody can see it.

    Args:
        unfinished: Of ``unfinished_folder``.
        target: Beside it, named by its content; a whole one stays, a damaged one is replaced.
        is_whole: Whether what lies at ``target`` can be read.
    """
    for path in (*unfinished.iterdir(), unfinished):
        sync(path)
    unfinished.chmod(0o755)
    if target.exists() and not is_whole():
        shutil.rmtree(target)
    if not target.exists():
        try:
            unfinished.rename(target)
        except OSError:
            # Another writer of the same content was first: its folder is as good as ours.
            if not is_whole():
                raise
    sync(target.parent)


def sync(path: Path) -> None:
    """Wait until a file or a folder is on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove_abandoned(root: Path) -> None:
    oldest = time.time() - ABANDONED_SECONDS
    for entry in root.glob(f"{WRITING}*"):
        try:
            if entry.stat().st_mtime >= oldest:
                continue
        except FileNotFoundError:
            continue
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
