"""Landing: weekly drops as files, one folder per table and week, from whoever sends them.

``<landing>/<table>/<Monday>/<any name>.parquet|csv``. Files still being written are left alone:
give them a leading dot or the ending ``.part`` until they are whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl

from checks.contracts.raw import RAW
from checks.drops import DropError, DropFile
from models.calendar import monday_of

TABLES = tuple(c.table.removeprefix("raw.") for c in RAW)
SUFFIXES = (".parquet", ".csv")
_UNFINISHED = (".part", ".tmp", ".crdownload")
_HASH_CHUNK = 1 << 20


@dataclass(frozen=True)
class Drop:
    """The files of one table and week."""

    table: str
    week: date
    files: tuple[Path, ...]

    @property
    def version(self) -> str:
        """Changes when a file is added, removed or rewritten with other content."""
        if not self.files:
            return "empty"
        digest = hashlib.sha256()
        for file in self.files:
            digest.update(file.name.encode())
            digest.update(_content_hash(file, file.stat().st_size, file.stat().st_mtime_ns))
        return digest.hexdigest()[:16]

    @property
    def size(self) -> int:
        return sum(f.stat().st_size for f in self.files)


_hashes: dict[tuple[Path, int, int], bytes] = {}


def _content_hash(path: Path, size: int, modified_ns: int) -> bytes:
    known = _hashes.get((path, size, modified_ns))
    if known is None:
        digest = hashlib.sha256()
        with path.open("rb") as stream:
            while block := stream.read(_HASH_CHUNK):
                digest.update(block)
        known = _hashes[path, size, modified_ns] = digest.digest()
    return known


def folder(landing: Path, table: str, week: date) -> Path:
    return landing / table / week.isoformat()


def drop(landing: Path, table: str, week: date) -> Drop:
    """What has been dropped for a table and week, in the order of the files' names."""
    place = folder(landing, table, week)
    files = sorted(p for p in place.iterdir() if _is_finished(p)) if place.is_dir() else []
    return Drop(table=table, week=week, files=tuple(files))


def weeks_dropped(landing: Path, table: str) -> list[date]:
    """Weeks that have a folder with at least one file."""
    place = landing / table
    found = []
    for entry in sorted(place.iterdir()) if place.is_dir() else []:
        week = _week_of(entry)
        if week and drop(landing, table, week).files:
            found.append(week)
    return found


def misplaced(landing: Path) -> list[str]:
    """What lies in the landing folder and belongs to no table and week, with the remedy."""
    found = []
    for entry in sorted(landing.iterdir()) if landing.is_dir() else []:
        if entry.name.startswith("."):
            continue
        if entry.name not in TABLES:
            found.append(f"{entry.name}: no such table; the tables are {', '.join(TABLES)}")
            continue
        for place in sorted(entry.iterdir()) if entry.is_dir() else []:
            name = f"{entry.name}/{place.name}"
            week = _week_of(place)
            if place.is_file():
                found.append(f"{name}: not in a week's folder, e.g. {entry.name}/2017-01-02/")
            elif week is None:
                found.append(f"{name}: not a date; folders are Mondays, e.g. 2017-01-02")
            elif week.weekday() != 0:
                found.append(f"{name}: a {week:%A}; its week's folder is {monday_of(week)}")
    return found


def read_weeks(
    landing: Path, table: str, weeks: Sequence[date]
) -> tuple[list[DropFile], list[DropError]]:
    """The files of some weeks' drops, and why others could not be read."""
    files, unreadable = [], []
    for week in weeks:
        for file in drop(landing, table, week).files:
            try:
                files.append(read(file, landing=landing, week=week))
            except DropError as error:
                unreadable.append(error)
    return files, unreadable


def read(file: Path, *, landing: Path, week: date) -> DropFile:
    """A drop file's rows, and whether its values are text to be parsed.

    Raises:
        DropError: It cannot be read as what its name says.
    """
    name = str(file.relative_to(landing))
    if file.stat().st_size == 0:
        raise DropError(
            file=name,
            cause="the file is empty (0 bytes)",
            remedy="Send it again, or remove it if there is nothing to send",
            weeks=[week],
        )
    try:
        if file.suffix == ".csv":
            frame = pl.read_csv(file, infer_schema=False, null_values=["", "NA", "NULL"])
            return DropFile(name=name, week=week, rows=frame, textual=True)
        frame = pl.read_parquet(file, hive_partitioning=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        kind = "CSV" if file.suffix == ".csv" else "Parquet"
        cause = str(error).splitlines()[0]
        raise DropError(
            file=name,
            cause=f"not a readable {kind} file ({cause})",
            remedy="It may have been cut off on the way: send it again, whole, under the same name",
            weeks=[week],
        ) from error
    return DropFile(name=name, week=week, rows=frame, textual=False)


def _is_finished(path: Path) -> bool:
    return (
        path.is_file()
        and not path.name.startswith(".")
        and path.suffix in SUFFIXES
        and not path.name.endswith(_UNFINISHED)
    )


def _week_of(path: Path) -> date | None:
    try:
        return date.fromisoformat(path.name)
    except ValueError:
        return None
