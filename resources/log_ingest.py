"""From the service's log files into the lake, each line exactly once.

How far each file is read stands in ``serving.ingested``, written in the transaction that writes the
rows: whoever is killed leaves both or neither. Lines that are no rows are named, with the reason,
in ``serving.rejected_lines``; the lines themselves stay in the files.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import polars as pl

from checks.contracts.contract import Contract, validate
from models.serving.log_rows import Rejected, Rows
from resources.decision_files import LOCK, held, log_files, mark_ingested, name_of, whole_bytes
from resources.lake import Lake

# Bounds memory: fresh decisions hold their features, some 100 kB each.
CHUNK_BYTES = 32 << 20
_DDL = """
CREATE SCHEMA IF NOT EXISTS lake.serving;
CREATE TABLE IF NOT EXISTS lake.serving.ingested (
    target VARCHAR, file VARCHAR, first_byte BIGINT, end_byte BIGINT, rows BIGINT,
    rejected BIGINT, run_id VARCHAR, ingested_at TIMESTAMP
);
CREATE TABLE IF NOT EXISTS lake.serving.rejected_lines (
    target VARCHAR, file VARCHAR, first_byte BIGINT, reason VARCHAR, ingested_at TIMESTAMP
);
"""

RowsOf = Callable[..., Rows]


class LogFileError(RuntimeError):
    """A file is not the one of which lines are stored; the message says which, and what to do."""


@dataclass(frozen=True)
class Ingested:
    """What one call stored."""

    files: int = 0
    lines: int = 0
    rows: int = 0
    rejected: int = 0
    end_bytes: int = 0


@dataclass(frozen=True)
class _Chunk:
    name: str
    first: int
    end: int
    lines: Sequence[bytes]


def ingest(
    lake: Lake,
    folder: Path,
    *,
    contract: Contract,
    rows_of: RowsOf,
    time_zone: str,
    run_id: str = "",
    chunk_bytes: int = CHUNK_BYTES,
) -> Ingested:
    """Store every whole line that is not stored yet.

    Args:
        lake: Where.
        folder: Of the log.
        contract: Of the table.
        rows_of: ``models.serving.log_rows.decision_rows`` or ``event_rows``.
        time_zone: Of the business.
        run_id: Kept beside the rows.
        chunk_bytes: Read and written at a time.

    Returns:
        What was stored.

    Raises:
        LogFileError: A file is shorter than what is stored of it.
    """
    done = Ingested()
    files: set[str] = set()
    while (chunk := _store_next(lake, folder, contract, rows_of, time_zone, run_id, chunk_bytes))[
        0
    ] is not None:
        found, rows, rejected = chunk
        files.add(found.name)
        done = Ingested(
            files=len(files),
            lines=done.lines + len(found.lines),
            rows=done.rows + rows,
            rejected=done.rejected + rejected,
        )
    ends = _offsets(lake, contract)
    for path in log_files(folder):
        # Also for who was killed between storing and saying so.
        if name_of(path) in ends:
            mark_ingested(folder, name_of(path), ends[name_of(path)])
    return Ingested(
        files=done.files,
        lines=done.lines,
        rows=done.rows,
        rejected=done.rejected,
        end_bytes=sum(ends.values()),
    )


def waiting_bytes(lake: Lake, folder: Path, contract: Contract) -> int:
    """Bytes of whole lines that are not stored yet.

    Raises:
        LogFileError: A file is shorter than what is stored of it.
    """
    ends = _offsets(lake, contract)
    return sum(
        _whole(p, ends.get(name_of(p), 0)) - ends.get(name_of(p), 0) for p in _present(folder)
    )


def _store_next(
    lake: Lake,
    folder: Path,
    contract: Contract,
    rows_of: RowsOf,
    time_zone: str,
    run_id: str,
    chunk_bytes: int,
) -> tuple[_Chunk, int, int] | tuple[None, int, int]:
    # Two runs at once would read the same lines: offsets are read under the writers' lock.
    with lake.write() as connection:
        connection.execute(_DDL)
        # A log with a lock has lines that their writer may still take back while it holds it.
        locked = held(folder) if (folder / LOCK).exists() else contextlib.nullcontext()
        with locked:
            chunk = _next_chunk(folder, _read_offsets(connection, contract), chunk_bytes)
        if chunk is None:
            return None, 0, 0
        schema = {c.name: c.dtype for c in contract.columns}
        frame, rejected = rows_of(chunk.lines, schema=schema, time_zone=time_zone)
        frame, refused = _valid(frame, contract)
        rejected += refused
        lake.append(connection, contract, frame.drop("place"))
        _record(connection, contract, chunk, frame.height, rejected, run_id)
    return chunk, frame.height, len(rejected)


def _next_chunk(folder: Path, ends: Mapping[str, int], most: int) -> _Chunk | None:
    for path in _present(folder):
        name, first = name_of(path), ends.get(name_of(path), 0)
        end = _whole(path, first)
        if end == first:
            continue
        with path.open("rb") as file:
            file.seek(first)
            content = file.read(min(end - first, most))
            while (cut := content.rfind(b"\n") + 1) == 0:
                # One line longer than a chunk.
                content += file.read(most)
            # What is stored must not be gone from the file after the machine went down.
            os.fdatasync(file.fileno())
        lines = content[:cut].split(b"\n")[:-1]
        return _Chunk(name=name, first=first, end=first + cut, lines=lines)
    return None


def _whole(path: Path, first: int) -> int:
    """Bytes of whole lines, of which ``first`` are stored."""
    end = whole_bytes(path)
    if end < first:
        raise LogFileError(
            f"{path} holds {end:,} bytes of whole lines, but {first:,} are stored: it was cut, or "
            "it is another file of that name (a cleared or restored folder); put the file back, or "
            "if it is another one, put `-restored` before `.jsonl` in its name: its lines are "
            "then stored"
        )
    return end


def _valid(frame: pl.DataFrame, contract: Contract) -> tuple[pl.DataFrame, list[Rejected]]:
    """Rows that satisfy the contract, and the lines of those that do not."""
    if frame.is_empty():
        return frame, []
    report = validate(frame.drop("place"), contract)
    if report.passed:
        return frame, []
    if frame["place"].n_unique() == 1:
        # Which rule, not which value: that may be somebody's.
        broken = "; ".join(f"{f.column}: {f.check}" for f in report.failures)
        return frame.clear(), [Rejected(frame["place"][0], broken[:500])]
    middle = frame["place"].unique().sort()[frame["place"].n_unique() // 2]
    before, bad_before = _valid(frame.filter(pl.col("place") < middle), contract)
    after, bad_after = _valid(frame.filter(pl.col("place") >= middle), contract)
    whole, bad = pl.concat([before, after]), [*bad_before, *bad_after]
    if whole.is_empty() or validate(whole.drop("place"), contract).passed:
        return whole, bad
    # Each half is good: a key of the second repeats one of the first.
    kept = whole.unique(subset=list(contract.key), keep="first", maintain_order=True)
    places = set(whole["place"].to_list()) - set(kept["place"].to_list())
    repeated = [Rejected(place, "repeats the key of an earlier line") for place in sorted(places)]
    return kept, bad + repeated


def _record(
    connection: duckdb.DuckDBPyConnection,
    contract: Contract,
    chunk: _Chunk,
    rows: int,
    rejected: Sequence[Rejected],
    run_id: str,
) -> None:
    connection.execute(
        "INSERT INTO lake.serving.ingested VALUES (?, ?, ?, ?, ?, ?, ?, now()::TIMESTAMP)",
        [contract.table, chunk.name, chunk.first, chunk.end, rows, len(rejected), run_id],
    )
    starts = [chunk.first]
    for line in chunk.lines:
        starts.append(starts[-1] + len(line) + 1)
    for bad in rejected:
        connection.execute(
            "INSERT INTO lake.serving.rejected_lines VALUES (?, ?, ?, ?, now()::TIMESTAMP)",
            [contract.table, chunk.name, starts[bad.place], bad.reason],
        )


def _offsets(lake: Lake, contract: Contract) -> dict[str, int]:
    with lake.read() as connection:
        return _read_offsets(connection, contract)


def _read_offsets(connection: duckdb.DuckDBPyConnection, contract: Contract) -> dict[str, int]:
    try:
        found = connection.execute(
            "SELECT file, max(end_byte) FROM lake.serving.ingested WHERE target = ? GROUP BY file",
            [contract.table],
        ).fetchall()
    except duckdb.CatalogException:
        return {}
    return dict(found)


def _present(folder: Path) -> list[Path]:
    """The log's files; a file that is closed between listing and reading has its closed name."""
    return [p if p.exists() else p.with_name(name_of(p)) for p in log_files(folder)]
