"""``quality.partition_status``: the health of every asset's every week, as data.

A Dagster check is one flag for an asset, so a bad May would block December. This table has one row
per asset and week: whether it passed, which content it holds, and which inputs and code made it.
Rows are only appended (``quality.partition_log``), so that writers never conflict; the view
``quality.partition_status`` is the newest row of each. Planning and automation read it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

import duckdb

from resources.lake import Lake

_DDL = """
CREATE SCHEMA IF NOT EXISTS lake.quality;
CREATE TABLE IF NOT EXISTS lake.quality.partition_log (
    asset VARCHAR, week DATE, status VARCHAR, rows BIGINT, data_version VARCHAR,
    contract_version INTEGER, code_version VARCHAR, inputs VARCHAR, run_id VARCHAR,
    seconds DOUBLE, reason VARCHAR, recorded_at TIMESTAMP
);
CREATE VIEW IF NOT EXISTS lake.quality.partition_status AS
SELECT * FROM lake.quality.partition_log
QUALIFY row_number() OVER (PARTITION BY asset, week ORDER BY recorded_at DESC, run_id DESC) = 1;
"""

_COLUMNS = (
    "asset, week, status, rows, data_version, contract_version, code_version, inputs, run_id, "
    "seconds, reason"
)


@dataclass(frozen=True)
class PartitionStatus:
    """The newest state of one asset's week (``week`` is ``None`` where there are no weeks).

    Attributes:
        inputs: Input asset to the version of all of its weeks that this one was made from.
        seconds: Its share of the run that made it.
    """

    asset: str
    week: date | None
    status: Literal["passed", "failed"]
    rows: int
    data_version: str
    contract_version: int
    code_version: str
    inputs: Mapping[str, str]
    run_id: str
    seconds: float
    reason: str = ""

    @property
    def passed(self) -> bool:
        return self.status == "passed"


def prepare(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute(_DDL)


def record(connection: duckdb.DuckDBPyConnection, statuses: Sequence[PartitionStatus]) -> None:
    """Append states inside the caller's transaction, so that data and state land together."""
    prepare(connection)
    marks = ", ".join("(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, now()::TIMESTAMP)" for _ in statuses)
    values: list[object] = []
    for s in statuses:
        values += [s.asset, s.week, s.status, s.rows, s.data_version, s.contract_version]
        values += [s.code_version, json.dumps(dict(s.inputs), sort_keys=True), s.run_id]
        values += [s.seconds, s.reason]
    if statuses:
        connection.execute(f"INSERT INTO lake.quality.partition_log VALUES {marks}", values)


def current(
    lake: Lake, assets: Sequence[str] | None = None
) -> dict[tuple[str, date | None], PartitionStatus]:
    """The newest state by (asset, week), of ``assets`` or of all."""
    if assets is not None and not assets:
        return {}
    where = ""
    if assets is not None:
        where = " WHERE asset IN (" + ", ".join(f"'{a}'" for a in assets) + ")"
    with lake.read() as connection:
        try:
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM lake.quality.partition_status{where}"
            ).fetchall()
        except duckdb.CatalogException:
            return {}
    names = _COLUMNS.split(", ")
    statuses = [
        PartitionStatus(**(dict(zip(names, row, strict=True)) | {"inputs": json.loads(row[7])}))
        for row in rows
    ]
    return {(s.asset, s.week): s for s in statuses}
