"""Lines of the service's logs as rows of tables. Pure: bytes in, frames out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import numpy as np
import orjson
import polars as pl

from models.calendar import business_week

# What a column is called in the log, where not the same.
_IN_LOG = {"features_known_at": "known_at"}
_MADE_HERE = ("week_start", "known_at", "rest")


@dataclass(frozen=True)
class Rejected:
    """A line that is no row: its place among the lines, and why."""

    place: int
    reason: str


Rows = tuple[pl.DataFrame, list[Rejected]]


def decision_rows(
    lines: Sequence[bytes], *, schema: Mapping[str, pl.DataType], time_zone: str
) -> Rows:
    """Lines of the decision log as rows of ``serving.decisions``.

    Args:
        lines: Whole lines.
        schema: Columns of the table; what a line has besides goes to ``rest``, as JSON.
        time_zone: Of the business, for ``week_start``.

    Returns:
        Rows in the order of the lines with ``place`` (of its line) as the last column, and the
        lines that are none.
    """
    named = {_IN_LOG.get(name, name): name for name in schema if name not in _MADE_HERE}

    def one(line: dict[str, Any]) -> list[dict[str, Any]]:
        row = {column: _read(line.get(key), schema[column]) for key, column in named.items()}
        row["kind"] = line.get("kind", "decision")
        row["fresh"] = bool(line.get("fresh", False))
        if not row["fresh"]:
            row["features_known_at"] = None
        rest = {key: value for key, value in line.items() if key not in named}
        row["rest"] = orjson.dumps(rest).decode() if rest else None
        return [row]

    return _rows(lines, one, schema=schema, stamp="decided_at", time_zone=time_zone)


def event_rows(
    lines: Sequence[bytes], *, schema: Mapping[str, pl.DataType], time_zone: str
) -> Rows:
    """Lines of the event log as rows of ``serving.events``; arguments as ``decision_rows``."""

    def one(event: dict[str, Any]) -> list[dict[str, Any]]:
        shared = {
            "event_id": event["event_id"],
            "household_id": event["household_id"],
            "received_at": datetime.fromisoformat(event["received_at"]),
        }
        return [
            shared | line | {"line": n, "sold_at": datetime.fromisoformat(line["sold_at"])}
            for n, line in enumerate(event["lines"], start=1)
        ]

    return _rows(lines, one, schema=schema, stamp="received_at", time_zone=time_zone)


def feature_rows(features: bytes, *, columns: int) -> np.ndarray:
    """The matrix of a fresh decision, (candidates, columns) float32."""
    return np.frombuffer(features, dtype="<f4").reshape(-1, columns)


def _rows(
    lines: Sequence[bytes],
    one: Callable[[dict[str, Any]], list[dict[str, Any]]],
    *,
    schema: Mapping[str, pl.DataType],
    stamp: str,
    time_zone: str,
) -> Rows:
    rows: list[dict[str, Any]] = []
    rejected: list[Rejected] = []
    made = {name: kind for name, kind in schema.items() if name not in {"week_start", "known_at"}}
    for place, line in enumerate(lines):
        try:
            found = one(orjson.loads(line))
            # Types are settled line by line, so that one bad line does not spoil the others.
            pl.DataFrame(found, schema=made, strict=True)
        except (
            ValueError,
            TypeError,
            KeyError,
            AttributeError,
            pl.exceptions.PolarsError,
        ) as error:
            # What was wrong, not the value: that may be somebody's.
            rejected.append(Rejected(place, f"{type(error).__name__}: {_wordless(error)}"))
        else:
            rows += [row | {"place": place} for row in found]
    frame = pl.DataFrame(rows, schema=made | {"place": pl.Int64}, strict=True).with_columns(
        business_week(pl.col(stamp), time_zone=time_zone).alias("week_start"),
        pl.col(stamp).alias("known_at"),
    )
    return frame.select(*schema, "place"), rejected


def _wordless(error: Exception) -> str:
    named = str(error.args[0]) if isinstance(error, KeyError) else ""
    return named if named.isidentifier() else "a value that is missing or of another type"


def _read(value: Any, dtype: pl.DataType) -> Any:
    if value is None:
        return None
    if dtype == pl.Datetime:
        return datetime.fromisoformat(value)
    if dtype == pl.Date:
        return date.fromisoformat(value)
    if dtype == pl.Binary:
        # A null was NaN.
        return np.array(value, dtype="<f4").tobytes()
    if dtype in {pl.Float64, pl.Float32}:
        return float(value)
    return value
