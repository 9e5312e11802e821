"""Contracts of ``quarantine.*``: what was not let into the raw table of the same name, and why."""

from __future__ import annotations

import pandera.polars as pa
import polars as pl

from checks.contracts.contract import Contract, column
from checks.contracts.raw import DATA_TEAM, RAW
from checks.drops import DUPLICATE, REJECTED, SUPERSEDED


class Quarantined(pa.DataFrameModel):
    """A row of a drop that was set aside: rejected, an exact duplicate, or superseded."""

    week_start: pl.Date = column("Week of the drop", privacy="public")
    file: str = column("File, relative to the landing folder", privacy="internal")
    row: pl.Int64 = column("Row in the file, from 0", ge=0)
    kind: str = column("Why in one word", isin=[REJECTED, DUPLICATE, SUPERSEDED])
    column_name: str = column("Column at fault", nullable=True)
    reason: str = column("What is wrong, and the remedy", str_length={"min_value": 1})
    payload: str = column(
        "The row as it was sent: JSON, encrypted (Fernet); empty for exact duplicates",
        privacy="sensitive",
        nullable=True,
    )
    known_at: pl.Datetime("us") = column("End of the week of the drop", unit="UTC")


QUARANTINE = {
    c.table: Contract(c.table.replace("raw.", "quarantine."), Quarantined, DATA_TEAM) for c in RAW
}
