"""Logged decisions wherever they are: in the log's files while they last, and in the lake."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import polars as pl

from checks.contracts.decisions import DECISIONS
from models.serving.log_rows import decision_rows
from resources.decision_files import log_files, whole_bytes
from resources.lake import Lake
from resources.settings import Settings

_KEY = ["request_id", "kind", "model_tag"]
_SCHEMA = {c.name: c.dtype for c in DECISIONS.columns}


def decision(settings: Settings, lake: Lake, request_id: str) -> pl.DataFrame:
    """The rows of one request as in ``serving.decisions``: its decision and its shadow's."""
    needle = request_id.encode()
    logged = [line for line in _lines(settings) if needle in line]
    stored = lake.scan(DECISIONS).filter(pl.col("request_id") == request_id)
    rows = _united(_rows(logged, settings), stored.collect())
    return rows.filter(pl.col("request_id") == request_id)


def decisions_of(settings: Settings, lake: Lake, day: date) -> pl.DataFrame:
    """The rows of a day of the business, oldest first."""
    zone = ZoneInfo(settings.time_zone)
    first, end = (
        datetime.combine(d, time.min, tzinfo=zone).astimezone(ZoneInfo("UTC")).replace(tzinfo=None)
        for d in (day, day + timedelta(days=1))
    )
    inside = pl.col("decided_at").is_between(first, end, closed="left")
    # Rows are stored by their week.
    monday = day - timedelta(days=day.weekday())
    stored = lake.scan(DECISIONS, first=monday, last=monday).filter(inside).collect()
    logged = _rows(list(_lines(settings, since=first)), settings).filter(inside)
    return _united(logged, stored).sort("decided_at", "request_id", "kind")


def _lines(settings: Settings, *, since: datetime | None = None) -> Iterator[bytes]:
    for path in log_files(settings.decisions_dir):
        # A file's last line is younger than all others.
        if (
            since is not None
            and datetime.fromtimestamp(path.stat().st_mtime, UTC).replace(tzinfo=None) < since
        ):
            continue
        with path.open("rb") as file:
            yield from file.read(whole_bytes(path)).splitlines()


def _rows(lines: list[bytes], settings: Settings) -> pl.DataFrame:
    frame, _ = decision_rows(lines, schema=_SCHEMA, time_zone=settings.time_zone)
    return frame.drop("place")


def _united(logged: pl.DataFrame, stored: pl.DataFrame) -> pl.DataFrame:
    return pl.concat([logged, stored.select(logged.columns)]).unique(
        subset=_KEY, keep="first", maintain_order=True
    )
