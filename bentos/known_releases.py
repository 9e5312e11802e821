"""The releases that were served last, in a small file.

A service starts from it while the ledger cannot be read, or is not the one it was.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from models.release.ledger import Release, Releases

_PLACES = ("live", "canary", "shadow", "previous_live")


@dataclass(frozen=True)
class Known:
    """What the ledger said.

    Attributes:
        releases: Who is in which place.
        head: Id of the ledger's last event.
    """

    releases: Releases
    head: int


def read_known(path: Path) -> Known | None:
    """What was kept; None if nothing was.

    Raises:
        OSError: It is there and cannot be read.
        ValueError: It is not what ``keep_known`` wrote.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    try:
        places: dict[str, Any] = {place: _release(content[place]) for place in _PLACES}
        head = int(content["head"])
        return Known(Releases(**places, head=int(content["name_head"])), head)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} does not hold releases ({error!r}); remove it") from error


def keep_known(path: Path, known: Known) -> None:
    """Write it, whole or not at all.

    Raises:
        OSError: It cannot be written.
    """
    releases = known.releases
    content = {place: _content(getattr(releases, place)) for place in _PLACES}
    text = json.dumps({"head": known.head, "name_head": releases.head, **content}, indent=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with unfinished.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise


def _content(release: Release | None) -> dict[str, Any] | None:
    if release is None:
        return None
    return asdict(release) | {"since": release.since.isoformat()}


def _release(content: Mapping[str, Any] | None) -> Release | None:
    if content is None:
        return None
    return Release(**{**content, "since": datetime.fromisoformat(content["since"])})
