"""What events are answered from, on disk: a week's facts and every household's year of lines.

Lies beside the online snapshots and like them: a folder per version named by content hash,
written whole or not at all, ``CURRENT``, tables as Arrow IPC and arrays as memory-mapped ``.npy``,
each proved by its digest. Reading one never runs code. Unlike snapshots, old versions go: a
decision logs the rows it saw, so that no replay needs them.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import date, datetime
from pathlib import Path

import numpy as np
import polars as pl

from models.ranking.week_facts import ARRAYS, TABLES, WeekFacts
from resources.online_snapshot import (
    MANIFEST,
    SnapshotDamagedError,
    SnapshotMissingError,
    current_version,
    publish_snapshot,
)
from resources.version_folder import settle, unfinished_folder

# Raised when the layout changes: a service then refuses a history it cannot read.
FORMAT = 1
VERSION_LENGTH = 16
# The one in use, the one before it, and one that is being written.
KEPT = 3
_READ_BYTES = 1 << 20


@dataclass(frozen=True)
class HistoryManifest:
    """What a history is, and the digests that prove its files whole.

    Attributes:
        version: Hash of everything else here but ``data_snapshot``: of what it says.
        as_of: Monday whose candidates these facts make.
        instant: Its start, naive UTC.
        known_at: When the newest line became known, naive UTC: what was sold later is an event.
        feature_set_hash: Definition of the features that the code makes of them.
        digests: SHA-256 per file.
    """

    format: int
    version: str
    as_of: date
    instant: datetime
    time_zone: str
    known_at: datetime
    data_snapshot: str
    feature_set_hash: str
    households: int
    lines: int
    digests: Mapping[str, str]

    def to_json(self) -> str:
        return json.dumps(asdict(self), default=lambda v: v.isoformat(), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> HistoryManifest:
        """Read what ``to_json`` wrote; ``ValueError`` names fields missing or unknown."""
        values = json.loads(text)
        differs = set(values) ^ {f.name for f in fields(cls)}
        if differs:
            raise ValueError(f"manifest fields missing or unknown: {', '.join(sorted(differs))}")
        values["as_of"] = date.fromisoformat(values["as_of"])
        values["instant"] = datetime.fromisoformat(values["instant"])
        values["known_at"] = datetime.fromisoformat(values["known_at"])
        return cls(**values)


@dataclass(frozen=True)
class OnlineHistory:
    """A history ready for use; its arrays are memory-mapped."""

    manifest: HistoryManifest
    facts: WeekFacts


def write_history(
    root: Path,
    facts: WeekFacts,
    *,
    known_at: datetime,
    data_snapshot: str,
    feature_set_hash: str,
    named: Iterable[str] = (),
) -> HistoryManifest:
    """Write a history whole or not at all, make it the current one, and remove the oldest.

    Equal content has an equal version and is written once, so a retry is harmless.

    Args:
        root: Folder of all histories, made if absent.
        facts: From ``models.ranking.week_facts.week_facts``.
        known_at: As of the snapshot that it is made with.
        data_snapshot: Version of the lake the rows were read from; of equal rows, the first one's.
        feature_set_hash: As of the snapshot.
        named: Versions that snapshots in use name: however old, they stay.
    """
    with unfinished_folder(root) as unfinished:
        digests = _write_files(unfinished, facts)
        described = {
            "format": FORMAT,
            "version": "",
            "as_of": facts.as_of,
            "instant": facts.instant,
            "time_zone": facts.time_zone,
            "known_at": known_at,
            "data_snapshot": data_snapshot,
            "feature_set_hash": feature_set_hash,
            "households": len(facts.lines.households),
            "lines": facts.lines.count,
            "digests": digests,
        }
        said = {k: v for k, v in described.items() if k != "data_snapshot"}
        text = json.dumps(said, default=str, sort_keys=True)
        version = hashlib.sha256(text.encode()).hexdigest()[:VERSION_LENGTH]
        manifest = HistoryManifest(**described | {"version": version})  # type: ignore[arg-type]
        (unfinished / MANIFEST).write_text(manifest.to_json())
        settle(unfinished, root / version, is_whole=lambda: _is_whole(root, version))
    # One that is taken up again is as new as one that was written.
    os.utime(root / version / MANIFEST)
    publish_snapshot(root, version)
    _remove_oldest(root, keep={version, *named})
    return manifest


def open_history(root: Path, version: str | None = None) -> OnlineHistory:
    """Memory-map a history after proving every file of it whole.

    Args:
        root: Folder of all histories.
        version: Which one; by default the current one.

    Raises:
        SnapshotMissingError: It is not there, or nothing was published.
        SnapshotDamagedError: A file is missing, changed or of another format.
    """
    chosen = version or current_version(root)
    folder = root / chosen
    if not folder.is_dir():
        raise SnapshotMissingError(
            f"history {chosen} is not in {root}; materialise serving.online_history and "
            "serving.online_snapshot"
        )
    try:
        manifest = HistoryManifest.from_json((folder / MANIFEST).read_text())
    except (OSError, ValueError, TypeError) as error:
        raise _damaged(folder, f"{MANIFEST} cannot be read ({error})") from error
    if manifest.format != FORMAT:
        raise _damaged(folder, f"{MANIFEST} has format {manifest.format}, this code reads {FORMAT}")
    try:
        changed = [n for n, d in manifest.digests.items() if _digest(folder / n) != d]
    except OSError as error:
        raise _damaged(folder, str(error)) from error
    if changed:
        raise _damaged(folder, f"{', '.join(changed)} does not match its digest in {MANIFEST}")
    facts = WeekFacts(
        as_of=manifest.as_of,
        instant=manifest.instant,
        time_zone=manifest.time_zone,
        tables={t: pl.read_ipc(folder / f"{t}.arrow") for t in TABLES},
        arrays={
            a: np.load(folder / f"{a}.npy", mmap_mode="r", allow_pickle=False).view(np.ndarray)
            for a in ARRAYS
        },
    )
    return OnlineHistory(manifest=manifest, facts=facts)


def _write_files(folder: Path, facts: WeekFacts) -> dict[str, str]:
    for name, table in facts.tables.items():
        table.write_ipc(folder / f"{name}.arrow", compression="uncompressed")
    for name, array in facts.arrays.items():
        np.save(folder / f"{name}.npy", array, allow_pickle=False)
    files = sorted(path.name for path in folder.iterdir())
    return {file: _digest(folder / file) for file in files}


def _digest(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_READ_BYTES):
            found.update(block)
    return found.hexdigest()


def _is_whole(root: Path, version: str) -> bool:
    try:
        open_history(root, version)
    except (SnapshotMissingError, SnapshotDamagedError):
        return False
    return True


def _remove_oldest(root: Path, *, keep: Collection[str]) -> None:
    versions = [p for p in root.iterdir() if (p / MANIFEST).exists() and p.name not in keep]
    versions.sort(key=lambda p: (p / MANIFEST).stat().st_mtime, reverse=True)
    for old in versions[KEPT - 1 :]:
        # A service that has it mapped keeps it until it lets go.
        shutil.rmtree(old, ignore_errors=True)


def _damaged(folder: Path, what: str) -> SnapshotDamagedError:
    return SnapshotDamagedError(
        f"history {folder.name} in {folder.parent} is damaged: {what}; remove the folder and "
        "materialise serving.online_history"
    )
