"""Online snapshots on disk: written atomically, memory-mapped for reading, chosen by a pointer.

A root folder holds one folder per version, named by content hash, and ``CURRENT``, a small file
with the version to serve. Arrays are ``.npy``, the rest is JSON: reading one never runs code.
Versions are kept, because a logged decision names the one it saw.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from datetime import date, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np

from models.serving.snapshot import (
    ARRAY_NAMES,
    FORMAT,
    VERSION_LENGTH,
    Snapshot,
    SnapshotArrays,
    SnapshotManifest,
    SnapshotNames,
    digests,
    names_from_json,
    names_to_json,
    snapshot_manifest,
)
from resources.version_folder import WRITING, settle, sync, unfinished_folder

CURRENT = "CURRENT"
MANIFEST = "manifest.json"
NAMES = "names.json"


class PointerStamp(NamedTuple):
    """Identity of one publication."""

    inode: int
    modified_ns: int


class SnapshotError(RuntimeError):
    """A snapshot cannot be served; the message names the file and the remedy."""


class SnapshotMissingError(SnapshotError):
    """There is no snapshot, or not the one asked for."""


class SnapshotDamagedError(SnapshotError):
    """A file of the snapshot is missing, truncated, changed or of another format."""


def write_snapshot(
    root: Path,
    arrays: SnapshotArrays,
    names: SnapshotNames,
    *,
    as_of: date,
    known_at: datetime,
    data_snapshot: str,
    feature_set_hash: str,
    history: str = "",
    publish: bool = True,
) -> SnapshotManifest:
    """Write a snapshot whole or not at all, and by default make it the current one.

    Equal content has an equal version and is written once, so a retry is harmless.

    Args:
        root: Folder of all snapshots, made if absent.
        arrays: From ``models.serving.snapshot.snapshot_arrays``.
        names: Likewise.
        as_of: Monday at whose start the features stand.
        known_at: When the newest row behind the features became known, naive UTC.
        data_snapshot: Version of the lake the rows were read from.
        feature_set_hash: The hash the model was trained with.
        history: Version of the online history that events are counted with; "" if there is none.
        publish: Point ``CURRENT`` at it.

    Returns:
        The manifest; ``manifest.version`` names the folder.
    """
    manifest = snapshot_manifest(
        arrays,
        names,
        as_of=as_of,
        known_at=known_at,
        data_snapshot=data_snapshot,
        feature_set_hash=feature_set_hash,
        history=history,
    )
    target = root / manifest.version
    if not _is_whole(root, manifest.version):
        _write_folder(target, arrays, names, manifest)
    if publish:
        publish_snapshot(root, manifest.version)
    return manifest


def content_version(manifest: SnapshotManifest) -> str:
    """What a snapshot says, as a short hash: equal for equal rows of another lake version."""
    said = json.dumps(
        [
            sorted(manifest.digests.items()),
            str(manifest.as_of),
            str(manifest.known_at),
            manifest.feature_set_hash,
            manifest.history,
        ]
    )
    return hashlib.sha256(said.encode()).hexdigest()[:VERSION_LENGTH]


def publish_snapshot(root: Path, version: str) -> None:
    """Point ``CURRENT`` at a version that is on disk; running services follow within a second."""
    if not (root / version / MANIFEST).exists():
        raise SnapshotMissingError(f"snapshot {version} is not in {root}: write it first")
    handle, temporary = tempfile.mkstemp(prefix=WRITING, dir=root)
    with os.fdopen(handle, "w") as file:
        file.write(version + "\n")
        file.flush()
        os.fsync(file.fileno())
    Path(temporary).chmod(0o644)
    Path(temporary).replace(root / CURRENT)
    sync(root)


def current_version(root: Path) -> str:
    """The version to serve.

    Raises:
        SnapshotMissingError: Nothing has been published.
    """
    pointer = root / CURRENT
    try:
        version = pointer.read_text().strip()
    except FileNotFoundError:
        raise SnapshotMissingError(
            f"no online snapshot: {pointer} does not exist; run `make demo`, or materialise the "
            "serving assets"
        ) from None
    if not version or "/" in version or version.startswith("."):
        raise SnapshotDamagedError(
            f"{pointer} does not hold a version but {version!r}; materialise the serving assets"
        )
    return version


def current_manifest(root: Path) -> SnapshotManifest:
    """What the snapshot to serve is, without reading its arrays.

    Raises:
        SnapshotMissingError: Nothing has been published.
        SnapshotDamagedError: Its manifest is missing or of another format.
    """
    return _read_manifest(root / current_version(root))


def pointer_stamp(root: Path) -> PointerStamp | None:
    """Changes whenever a snapshot is published, and costs one ``stat``; None without a pointer."""
    try:
        found = (root / CURRENT).stat()
    except FileNotFoundError:
        return None
    return PointerStamp(inode=found.st_ino, modified_ns=found.st_mtime_ns)


def open_snapshot(root: Path, version: str | None = None) -> Snapshot:
    """Memory-map a snapshot after proving every part of it whole.

    Args:
        root: Folder of all snapshots.
        version: Which one; by default the current one.

    Raises:
        SnapshotMissingError: It is not there.
        SnapshotDamagedError: A file is missing, truncated, changed or of another format.
    """
    chosen = version or current_version(root)
    folder = root / chosen
    if not folder.is_dir():
        raise SnapshotMissingError(
            f"snapshot {chosen} is not in {root}; materialise the serving assets to write it again"
        )
    manifest = _read_manifest(folder)
    names = _read_names(folder)
    arrays = SnapshotArrays(**{name: _map_array(folder, name) for name in ARRAY_NAMES})
    found = digests(arrays, names)
    changed = [name for name, digest in manifest.digests.items() if found.get(name) != digest]
    if changed:
        raise _damaged(folder, f"{', '.join(changed)} does not match its digest in {MANIFEST}")
    if names.features != manifest.feature_names or manifest.version != chosen:
        raise _damaged(folder, f"{MANIFEST} describes another snapshot ({manifest.version})")
    return Snapshot(manifest=manifest, arrays=arrays, names=names)


def _write_folder(
    target: Path, arrays: SnapshotArrays, names: SnapshotNames, manifest: SnapshotManifest
) -> None:
    root = target.parent
    with unfinished_folder(root) as unfinished:
        for name, array in arrays.items().items():
            np.save(unfinished / f"{name}.npy", array, allow_pickle=False)
        (unfinished / NAMES).write_text(names_to_json(names), encoding="utf-8")
        (unfinished / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
        settle(unfinished, target, is_whole=lambda: _is_whole(root, manifest.version))


def _is_whole(root: Path, version: str) -> bool:
    try:
        open_snapshot(root, version)
    except SnapshotError:
        return False
    return True


def _read_manifest(folder: Path) -> SnapshotManifest:
    try:
        manifest = SnapshotManifest.from_json((folder / MANIFEST).read_text())
    except FileNotFoundError:
        raise _damaged(folder, f"{MANIFEST} is missing") from None
    except (ValueError, TypeError) as error:
        raise _damaged(folder, f"{MANIFEST} cannot be read: {error}") from error
    if manifest.format != FORMAT:
        raise _damaged(folder, f"{MANIFEST} has format {manifest.format}, this code reads {FORMAT}")
    return manifest


def _read_names(folder: Path) -> SnapshotNames:
    try:
        return names_from_json((folder / NAMES).read_text())
    except FileNotFoundError:
        raise _damaged(folder, f"{NAMES} is missing") from None
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(folder, f"{NAMES} cannot be read: {error}") from error


def _map_array(folder: Path, name: str) -> np.ndarray:
    path = folder / f"{name}.npy"
    try:
        # A plain view: indexing a numpy.memmap builds a subclass each time, three times slower.
        return np.load(path, mmap_mode="r", allow_pickle=False).view(np.ndarray)
    except FileNotFoundError:
        raise _damaged(folder, f"{path.name} is missing") from None
    except (ValueError, OSError, EOFError) as error:
        size = path.stat().st_size
        raise _damaged(folder, f"{path.name} is truncated or no array ({size:,} bytes)") from error


def _damaged(folder: Path, what: str) -> SnapshotDamagedError:
    return SnapshotDamagedError(
        f"snapshot {folder.name} in {folder.parent} is damaged: {what}; remove the folder and "
        "materialise the serving assets"
    )
