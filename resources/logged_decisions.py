"""Decisions as they lie in the log, for whoever cannot wait until they are in the lake."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from resources.decision_files import log_files, whole_bytes

# The timestamps are text in the log.
_AT = "decided_at"


def logged_decisions(
    folder: Path,
    *,
    columns: Mapping[str, pl.DataType | type[pl.DataType]],
    since: datetime,
) -> pl.DataFrame:
    """Read some columns of every line written since a moment.

    Args:
        folder: Of the decision log; one that does not exist holds nothing.
        columns: Name to type; one that a line does not have is null. ``decided_at`` is required.
        since: Naive UTC; earlier decisions are left out.

    Returns:
        ``columns`` and ``kind``, oldest first.
    """
    schema: dict[str, pl.DataType | type[pl.DataType]] = {
        **columns,
        "kind": pl.String,
        _AT: pl.String,
    }
    frames = [
        # Up to the last whole line: the rest is being written.
        pl.read_ndjson(path.open("rb").read(end), schema=schema)
        for path in log_files(folder)
        if _changed_at(path) >= since and (end := whole_bytes(path))
    ]
    whole = pl.concat(frames) if frames else pl.DataFrame(schema=schema)
    return (
        whole.with_columns(pl.col(_AT).str.to_datetime(strict=True).cast(pl.Datetime("us")))
        .filter(pl.col(_AT) >= since)
        .sort(_AT)
    )


def _changed_at(path: Path) -> datetime:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC).replace(tzinfo=None)
