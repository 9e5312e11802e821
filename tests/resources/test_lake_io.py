"""The I/O manager: only validated rows go in, with their health, in one transaction."""

from __future__ import annotations

import base64
from datetime import date
from typing import Any

import pandera.polars as pa
import polars as pl
import pytest

from checks.contracts.contract import Contract, ContractReport, column, validate
from models.calendar import ONE_WEEK
from resources import partition_status
from resources.lake import Lake
from resources.lake_io import Provenance, Validated, write_validated

WEEKS = [date(2017, 1, 2) + i * ONE_WEEK for i in range(3)]


class Sales(pa.DataFrameModel):
    """Units per store and week."""

    week_start: pl.Date = column("Week")
    units: pl.Int64 = column("Units", ge=0)


SALES = Contract("shop.sales", Sales, "team:test")
PROVENANCE = Provenance(
    code_version="c1",
    run_id="run-1",
    seconds=3.0,
    inputs={WEEKS[0]: {"shop.drops": "v0"}, WEEKS[1]: {"shop.drops": "v1"}},
)


def sales(week: date, units: int = 1) -> pl.DataFrame:
    return pl.DataFrame({"week_start": [week] * 2, "units": [units, units]})


def validated(*parts: pl.DataFrame, weeks: list[date], **changes: Any) -> Validated:
    values: dict[str, Any] = {
        "contract": SALES,
        "parts": parts,
        "reports": [validate(p, SALES) for p in parts],
        "weeks": weeks,
        "provenance": PROVENANCE,
    }
    return Validated(**(values | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"reports": []},
        {"reports": [validate(sales(WEEKS[0], units=-1), SALES)]},
        {"reports": [ContractReport(table="shop.other", rows=2)]},
        {"reports": [ContractReport(table="shop.sales", rows=2)] * 2},
    ],
    ids=["none", "failed", "another table's", "too many"],
)
def test_rows_without_a_passed_report_each_cannot_be_wrapped(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"shop.sales: rows reach the lake only with a passed"):
        validated(sales(WEEKS[0]), weeks=WEEKS[:1], **changes)


def test_rows_and_their_health_land_together(lake: Lake) -> None:
    before = lake.snapshot_id()
    write_validated(lake, validated(sales(WEEKS[0]), weeks=WEEKS[:2]))
    assert lake.snapshot_id() == before + 1
    statuses = partition_status.current(lake)
    first = statuses["shop.sales", WEEKS[0]]
    assert (first.status, first.rows, first.code_version, first.run_id) == (
        "passed",
        2,
        "c1",
        "run-1",
    )
    assert first.inputs == {"shop.drops": "v0"}
    assert first.seconds == pytest.approx(1.5)
    # A week that turned out empty is made all the same.
    assert statuses["shop.sales", WEEKS[1]].rows == 0
    assert statuses["shop.sales", WEEKS[1]].passed


def test_the_metadata_say_what_was_written(lake: Lake) -> None:
    metadata = write_validated(
        lake, validated(sales(WEEKS[0]), sales(WEEKS[1], units=2), weeks=WEEKS[:2])
    )
    assert metadata["dagster/row_count"] == 4
    assert metadata["snapshot_id"] == lake.snapshot_id()
    assert metadata["bytes"] == lake.table_bytes("shop.sales")
    assert metadata["contract_version"] == 1
    assert metadata["seconds"] >= 3.0
    picture = base64.b64decode(metadata["rows_by_week"].value.split("base64,")[1][:-1]).decode()
    assert f"{WEEKS[0]}: 2<" in picture
    assert f"{WEEKS[1]}: 2<" in picture


def test_one_week_has_the_version_of_its_content(lake: Lake) -> None:
    written = write_validated(lake, validated(sales(WEEKS[0]), weeks=WEEKS[:1]))
    again = write_validated(lake, validated(sales(WEEKS[0]), weeks=WEEKS[:1]))
    other = write_validated(lake, validated(sales(WEEKS[0], units=2), weeks=WEEKS[:1]))
    status = partition_status.current(lake)["shop.sales", WEEKS[0]]
    assert written["data_version"] == again["data_version"]
    assert other["data_version"] == status.data_version != written["data_version"]
