from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from resources.health_file import FILE, read_health, summary, write_health
from resources.partition_status import PartitionStatus


def state(asset: str, week: date | None, reason: str = "") -> PartitionStatus:
    return PartitionStatus(
        asset=asset,
        week=week,
        status="failed" if reason else "passed",
        rows=3,
        data_version="d",
        contract_version=1,
        code_version="c",
        inputs={},
        run_id="r",
        seconds=0.1,
        reason=reason,
    )


STATES = [
    state("raw.a", date(2017, 1, 2)),
    state("raw.b", date(2017, 1, 2), "older"),
    state("raw.b", date(2017, 1, 9), "negative quantity in 3 rows"),
    state("raw.b", date(2017, 1, 16)),
    state("models.c", None),
]


def test_what_failed_comes_first_with_its_newest_reason() -> None:
    rows = summary(STATES)
    assert [r.asset for r in rows] == ["raw.b", "models.c", "raw.a"]
    assert (rows[0].weeks, rows[0].failed, rows[0].newest) == (3, 2, "2017-01-16")
    assert rows[0].failed_weeks == ("2017-01-09", "2017-01-02")
    assert rows[0].reason == "negative quantity in 3 rows"
    assert (rows[1].newest, rows[1].failed) == (None, 0)


def test_no_bad_value_gets_to_the_open_page() -> None:
    reason = "raw.b: household_id: str_length broken by 3 row(s), e.g. RAW; 1; units: ge, e.g. -1"
    (row,) = summary([state("raw.b", date(2017, 1, 9), reason)])
    assert row.reason == (
        "raw.b: household_id: str_length broken by 3 row(s) (more: quality.partition_status)"
    )


def test_it_is_read_back_as_written(tmp_path: Path) -> None:
    assert read_health(tmp_path) is None
    write_health(tmp_path, STATES)
    found = read_health(tmp_path)
    assert found is not None
    assert found.assets == summary(STATES)
    assert [p.name for p in tmp_path.iterdir()] == [FILE]


def test_a_damaged_file_is_named_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("{")
    with pytest.raises(ValueError, match="remove it"):
        read_health(tmp_path)
