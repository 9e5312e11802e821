"""Incident records: one JSON file each, written whole or not at all, never changed afterwards."""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

_KIND = re.compile(r"[a-z0-9][a-z0-9_-]{0,60}")


def open_incident(folder: Path, *, kind: str, title: str, evidence: Mapping[str, Any]) -> Path:
    """Write an incident.

    Args:
        folder: Of all incidents, made if missing.
        kind: What went wrong, in a word: ``guard-breach``.
        title: What went wrong, in a sentence.
        evidence: Figures and names, JSON values. Never a raw household id.

    Returns:
        Its file; the name begins with the time, so names sort by age.

    Raises:
        ValueError: ``kind`` is no such word, or the evidence is no JSON.
    """
    if not _KIND.fullmatch(kind):
        raise ValueError(
            f"open_incident(): kind {kind!r} names a file; use lower-case letters, digits, - and _"
        )
    now = datetime.now(UTC).replace(tzinfo=None)
    name = f"{now:%Y%m%dT%H%M%S%f}-{kind}-{secrets.token_hex(4)}"
    text = json.dumps(
        {
            "id": name,
            "opened_at": now.isoformat(timespec="microseconds"),
            "kind": kind,
            "title": title,
            "evidence": dict(evidence),
        },
        indent=1,
        sort_keys=True,
        allow_nan=False,
    )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    unfinished = folder / f".{name}.part"
    with unfinished.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
    return path


def list_incidents(folder: Path) -> list[dict[str, Any]]:
    """Every incident, the newest first; none if the folder does not exist."""
    files = sorted(folder.glob("[!.]*.json"), reverse=True)
    return [json.loads(file.read_text(encoding="utf-8")) for file in files]
