"""The features a model was released on, kept beside it once, to tell later how far they moved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from models.release.drift import reference, stability_index
from resources.online_snapshot import SnapshotMissingError, open_snapshot

if TYPE_CHECKING:
    from models.serving.snapshot import Snapshot
    from resources.model_registry import StoredModel
    from resources.settings import Settings

FILE = "drift_reference.json"


def keep_reference(settings: Settings, stored: StoredModel) -> Path | None:
    """Keep the present snapshot's features as the model's reference; what is kept stays.

    Returns:
        The file; ``None`` while no snapshot is published.
    """
    path = stored.file(FILE)
    if path.exists():
        return path
    snapshot = _snapshot(settings)
    if snapshot is None:
        return None
    manifest = snapshot.manifest
    kept = {
        "snapshot": manifest.version,
        "as_of": str(manifest.as_of),
        "features": reference(snapshot.arrays.features, manifest.feature_names),
    }
    unfinished = path.with_name(f".{FILE}.part")
    unfinished.write_text(json.dumps(kept), encoding="utf-8")
    unfinished.replace(path)
    return path


def drift_since(settings: Settings, stored: StoredModel) -> dict[str, float]:
    """Feature to its stability index between the model's reference and the present snapshot.

    Returns:
        Nothing where there is no reference, no snapshot, or the same snapshot.
    """
    path = stored.file(FILE)
    snapshot = _snapshot(settings)
    if snapshot is None or not path.exists():
        return {}
    kept = json.loads(path.read_text(encoding="utf-8"))
    if kept["snapshot"] == snapshot.manifest.version:
        return {}
    return stability_index(
        kept["features"], snapshot.arrays.features, snapshot.manifest.feature_names
    )


def _snapshot(settings: Settings) -> Snapshot | None:
    try:
        return open_snapshot(settings.online_dir)
    except SnapshotMissingError:
        return None
