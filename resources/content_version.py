"""The version of what a partition holds: equal rows, equal version, in whatever order.

Rows are hashed where they lie in memory, before they are written: to read ten million rows back
and decompress them takes longer than all the rest of a write. A version is stable for one release
of Polars; the next may hash otherwise, which makes every partition look changed once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl

from checks.contracts.contract import Contract

EMPTY = "empty"


@dataclass(frozen=True)
class PartitionVersion:
    """What one partition of a table holds: rows and a version that changes with its content."""

    week: date | None
    rows: int
    data_version: str


@dataclass(frozen=True)
class Content:
    """Rows of a partition or of a part of one; parts add up, in any order.

    Attributes:
        rows: How many.
        total: Sum of their hashes, modulo 2**64.
        mixed: Exclusive or of their hashes.
    """

    rows: int = 0
    total: int = 0
    mixed: int = 0

    def __add__(self, other: Content) -> Content:
        return Content(
            rows=self.rows + other.rows,
            total=(self.total + other.total) % 2**64,
            mixed=self.mixed ^ other.mixed,
        )

    @property
    def version(self) -> str:
        text = f"{self.rows}|{self.mixed}|{self.total}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]


Contents = Mapping[date | None, Content]


def contents(frame: pl.DataFrame, contract: Contract) -> Contents:
    """What a frame holds of each partition, by its week; under ``None`` for a table without."""
    if frame.is_empty():
        return {}
    column = contract.partition_column
    schema = {c.name: c.dtype for c in contract.columns}
    # By name, as a column added later stands elsewhere in an older table.
    rows = frame.select(pl.col(n).cast(schema[n]) for n in sorted(schema))
    hashed = pl.DataFrame({"week": rows[column] if column else None, "hash": rows.hash_rows(0)})
    found = hashed.group_by("week").agg(
        pl.len(), pl.col("hash").sum().alias("total"), pl.col("hash").bitwise_xor().alias("mixed")
    )
    return {week: Content(rows=n, total=t, mixed=m) for week, n, t, m in found.iter_rows()}


def versions(parts: Iterable[Contents], weeks: Sequence[date] | None) -> list[PartitionVersion]:
    """Rows and version of each partition that some parts together are the content of.

    Args:
        parts: Of ``contents``.
        weeks: All partitions, those left empty included; ``None`` for a table without.

    Raises:
        ValueError: A part holds rows of another partition.
    """
    together: dict[date | None, Content] = {}
    for part in parts:
        for week, content in part.items():
            together[week] = together.get(week, Content()) + content
    foreign = together.keys() - set([None] if weeks is None else weeks)
    if foreign:
        raise ValueError(
            f"rows of {', '.join(sorted(map(str, foreign)))[:200]} among those of "
            f"{'the whole table' if weeks is None else 'the weeks asked for'}"
        )
    if weeks is None:
        whole = together.get(None, Content())
        return [PartitionVersion(None, whole.rows, whole.version)]
    return [
        PartitionVersion(w, together[w].rows, together[w].version)
        if w in together
        else PartitionVersion(w, 0, EMPTY)
        for w in weeks
    ]


def table_version(rows: pl.DataFrame, contract: Contract) -> str:
    """The version of a table without partitions that holds these rows."""
    (whole,) = versions([contents(rows, contract)], None)
    return whole.data_version
