"""From a decision to the data behind it, and from the data to the decisions it touched.

Both are one query over the lake's ``serving.decisions``, the lineage that the ledger kept of each
model, and the lake's own snapshots. A decision that is not in the lake yet is read from the log.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from models.release.ledger import Event
from resources.lake import Lake
from resources.logged_decisions import logged_decisions

DECISIONS = "serving.decisions"
# What a trace reads of a decision.
_COLUMNS: Mapping[str, pl.DataType | type[pl.DataType]] = {
    "request_id": pl.String,
    "kind": pl.String,
    "decided_at": pl.Datetime("us"),
    "household_id": pl.String,
    "arm": pl.String,
    "release": pl.Int64,
    "model_version": pl.String,
    "model_tag": pl.String,
    "bento": pl.String,
    "snapshot_version": pl.String,
    "data_snapshot": pl.String,
    "feature_set_hash": pl.String,
}
_MODELS = {
    "model_version": pl.String,
    "trained_on": pl.Int64,
    "trained_features": pl.String,
    "git_revision": pl.String,
}

_TRACED = """
SELECT d.*, m.trained_on, m.trained_features, m.git_revision,
       trained.snapshot_time::TIMESTAMP AS trained_on_at,
       served.snapshot_time::TIMESTAMP AS served_from_at
FROM {decisions} d
LEFT JOIN models m USING (model_version)
LEFT JOIN ducklake_snapshots('lake') trained ON trained.snapshot_id = m.trained_on
LEFT JOIN ducklake_snapshots('lake') served
    ON served.snapshot_id = TRY_CAST(d.data_snapshot AS BIGINT)
"""
_RAW = """
SELECT asset AS "table", count(*) AS weeks, min(week) AS first, max(week) AS last,
       sum(rows)::BIGINT AS rows,
       substr(md5(string_agg(data_version, '|' ORDER BY week)), 1, 12) AS content
FROM (
    SELECT * FROM lake.quality.partition_log AT (VERSION => {snapshot})
    WHERE asset LIKE 'raw.%'
    QUALIFY row_number() OVER (PARTITION BY asset, week ORDER BY recorded_at DESC, run_id DESC) = 1
)
GROUP BY asset ORDER BY asset
"""
# Before any decision.
_EVER = datetime(2000, 1, 1)  # noqa: DTZ001 - times are naive UTC


class UntraceableError(LookupError):
    """There is no such decision or snapshot; the message says where was looked."""


@dataclass(frozen=True)
class Trace:
    """Where a decision came from.

    Attributes:
        rows: The decision, and its shadow's if there was one: with model, training snapshot
            (``trained_on``) and the snapshot that answered (``data_snapshot``), each with its time.
        events: How the model was released, as the ledger has it.
        raw: Raw tables at the training snapshot: weeks, rows, content version.
    """

    rows: list[dict[str, Any]]
    events: list[Event]
    raw: list[dict[str, Any]]


def trace(lake: Lake, events: list[Event], *, decision_id: str, logs: Path) -> Trace:
    """From a decision id to model, training snapshot and raw tables.

    Args:
        lake: With the decisions and the raw tables.
        events: Of the ledger.
        decision_id: ``request_id`` of an answer.
        logs: Folder of the decision log, for what is not ingested yet.

    Raises:
        UntraceableError: No such decision is in the lake or the log.
    """
    # The id comes from outside and is bound, never put into the text.
    wanted = {"id": decision_id}
    with lake.read() as connection:
        _register(connection, events)
        rows: list[dict[str, Any]] = []
        if _exists(connection):
            query = _TRACED.format(decisions=_in_lake()) + " WHERE d.request_id = $id"
            rows = connection.execute(query, wanted).pl().to_dicts()
        if not rows:
            logged = logged_decisions(logs, columns=_COLUMNS, since=_EVER).filter(
                pl.col("request_id") == decision_id
            )
            connection.register("logged", logged.select(*_COLUMNS))
            rows = connection.execute(_TRACED.format(decisions="logged")).pl().to_dicts()
        if not rows:
            raise UntraceableError(
                f"decision {decision_id} is neither in {DECISIONS} nor in {logs}; request ids are "
                "in every answer, and logs are kept until they are ingested"
            )
        # A snapshot that this lake never had, or has let go, has no time here.
        known = rows[0]["trained_on_at"] is not None
        raw = _raw_at(connection, rows[0]["trained_on"]) if known else []
    versions = {row["model_version"] for row in rows}
    return Trace(rows=rows, events=[e for e in events if e.model_version in versions], raw=raw)


def touched(
    lake: Lake, events: list[Event], *, snapshot: int, and_later: bool = False
) -> pl.DataFrame:
    """Every decision that a lake snapshot reached, and by which way.

    Args:
        lake: With the decisions.
        events: Of the ledger.
        snapshot: Id of the lake snapshot.
        and_later: Also those that rest on a later snapshot, which holds what this one wrote unless
            it was replaced: for a bad drop whose mending came late.

    Returns:
        A row per decision: its columns, ``by_model`` if the model was trained on the snapshot,
        ``by_features`` if the online snapshot was made from it.

    Raises:
        UntraceableError: There is no such snapshot, or no decision is in the lake.
    """
    compare = ">=" if and_later else "="
    with lake.read() as connection:
        if not _exists(connection):
            raise UntraceableError(
                f"{DECISIONS} is not in the lake yet; materialise it (`make run`)"
            )
        newest = connection.execute("SELECT id FROM lake.current_snapshot()").fetchone()
        if newest is None or not 0 <= snapshot <= newest[0]:
            raise UntraceableError(f"the lake has no snapshot {snapshot}; the newest is {newest}")
        _register(connection, events)
        query = f"""
            SELECT * EXCLUDE (by_model, by_features), coalesce(by_model, false) AS by_model,
                   coalesce(by_features, false) AS by_features
            FROM (SELECT *, trained_on {compare} $snapshot AS by_model,
                         TRY_CAST(data_snapshot AS BIGINT) {compare} $snapshot AS by_features
                  FROM ({_TRACED.format(decisions=_in_lake())}))
            WHERE by_model OR by_features ORDER BY decided_at, request_id
        """
        return connection.execute(query, {"snapshot": snapshot}).pl()


def model_lineage(events: Iterable[Event]) -> pl.DataFrame:
    """What the ledger kept of each model: version, training snapshot, features, code."""
    found: dict[str, dict[str, Any]] = {}
    for event in events:
        lineage = event.evidence.get("lineage")
        if lineage:
            found[event.model_version] = {
                "model_version": event.model_version,
                "trained_on": int(lineage["data_snapshot"]),
                "trained_features": lineage.get("feature_set_hash"),
                "git_revision": lineage.get("git_revision"),
            }
    return pl.DataFrame(list(found.values()), schema=_MODELS)


def _register(connection: duckdb.DuckDBPyConnection, events: Iterable[Event]) -> None:
    connection.register("models", model_lineage(events))


def _in_lake() -> str:
    return f"(SELECT {', '.join(_COLUMNS)} FROM lake.{DECISIONS})"


def _exists(connection: duckdb.DuckDBPyConnection) -> bool:
    schema, name = DECISIONS.split(".")
    return bool(
        connection.execute(
            "SELECT 1 FROM duckdb_tables() WHERE database_name = 'lake' AND schema_name = ? "
            "AND table_name = ?",
            [schema, name],
        ).fetchall()
    )


def _raw_at(connection: duckdb.DuckDBPyConnection, snapshot: int) -> list[dict[str, Any]]:
    return connection.execute(_RAW.format(snapshot=snapshot)).pl().to_dicts()
