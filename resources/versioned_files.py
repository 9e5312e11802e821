"""Folders of files by version: written whole, chosen by a pointer, proved whole when read.

As online snapshots lie on disk (``resources.online_snapshot``), for files that are read as a whole.
A version is the hash of names and contents; reading a file never runs code.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from resources.online_snapshot import (
    MANIFEST,
    SnapshotDamagedError,
    SnapshotMissingError,
    current_version,
    publish_snapshot,
)
from resources.version_folder import settle, unfinished_folder

VERSION_LENGTH = 16


def write_version(root: Path, files: Mapping[str, bytes], *, publish: bool = True) -> str:
    """Write files as one version, whole or not at all, and by default make it the current one.

    Args:
        root: Folder of all versions, made if absent.
        files: Plain name to content.
        publish: Point ``CURRENT`` at it.

    Returns:
        The version; the same for the same files, which are then written once.

    Raises:
        ValueError: A name is a path, hidden, or the manifest's.
    """
    refused = [n for n in files if Path(n).name != n or n.startswith(".") or n == MANIFEST]
    if refused:
        raise ValueError(f"{', '.join(refused)} cannot be files of a version; give plain names")
    digests = {name: hashlib.sha256(files[name]).hexdigest() for name in sorted(files)}
    version = hashlib.sha256(json.dumps(digests).encode()).hexdigest()[:VERSION_LENGTH]
    if not _is_whole(root, version):
        manifest = json.dumps({"version": version, "digests": digests}, indent=1).encode()
        with unfinished_folder(root) as unfinished:
            for name, content in {**files, MANIFEST: manifest}.items():
                (unfinished / name).write_bytes(content)
            settle(unfinished, root / version, is_whole=lambda: _is_whole(root, version))
    if publish:
        publish_snapshot(root, version)
    return version


def read_version(root: Path, version: str | None = None) -> tuple[str, dict[str, bytes]]:
    """The files of a version, each proved by its digest.

    Args:
        root: Folder of all versions.
        version: Which one; by default the current one.

    Raises:
        SnapshotMissingError: It is not there, or nothing was published.
        SnapshotDamagedError: A file is missing or changed.
    """
    chosen = version or current_version(root)
    folder = root / chosen
    if not folder.is_dir():
        raise SnapshotMissingError(
            f"version {chosen} is not in {root}; materialise its asset to write it again"
        )
    try:
        digests = json.loads((folder / MANIFEST).read_bytes())["digests"]
        files = {name: (folder / name).read_bytes() for name in digests}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(folder, f"it cannot be read ({error})") from error
    changed = [n for n, d in digests.items() if hashlib.sha256(files[n]).hexdigest() != d]
    if changed:
        raise _damaged(folder, f"{', '.join(changed)} does not match its digest in {MANIFEST}")
    return chosen, files


def _is_whole(root: Path, version: str) -> bool:
    try:
        read_version(root, version)
    except (SnapshotMissingError, SnapshotDamagedError):
        return False
    return True


def _damaged(folder: Path, what: str) -> SnapshotDamagedError:
    return SnapshotDamagedError(
        f"version {folder.name} in {folder.parent} is damaged: {what}; remove the folder and "
        "materialise its asset"
    )
