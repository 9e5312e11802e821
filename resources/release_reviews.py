"""What outlives the decision log: completed health reviews, and how each model met the gates.

One JSON file each, written once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


def keep_review(folder: Path, review: Mapping[str, Any]) -> None:
    """Keep a completed review; the first one written stays."""
    at = datetime.fromisoformat(review["released_at"])
    span = review["review"].replace(" ", "-")
    _write_once(folder / f"{at:%Y%m%dT%H%M%S%f}-{review['model_version']}-{span}.json", review)


def kept_reviews(folder: Path) -> list[dict[str, Any]]:
    """Completed reviews, the oldest release first."""
    return _all(folder)


def keep_gates(
    folder: Path,
    *,
    model_version: str,
    gates: Sequence[Mapping[str, Any]],
    override: Mapping[str, str] | None,
) -> Path:
    """Keep how a model met the gates, passed or not; the same verdicts of a model once."""
    said = {"model_version": model_version, "gates": list(gates), "override": override}
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:12]
    path = folder / f"{model_version}-{digest}.json"
    now = datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
    _write_once(path, said | {"at": now})
    return path


def kept_gates(folder: Path) -> list[dict[str, Any]]:
    """Every meeting of a model with the gates, oldest first."""
    return sorted(_all(folder), key=lambda kept: kept["at"])


def _write_once(path: Path, content: Mapping[str, Any]) -> None:
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.part")
    unfinished.write_text(json.dumps(content, indent=1, sort_keys=True), encoding="utf-8")
    unfinished.replace(path)


def _all(folder: Path) -> list[dict[str, Any]]:
    files = sorted(folder.glob("[!.]*.json"))
    return [json.loads(file.read_text(encoding="utf-8")) for file in files]
