"""The health of weeks: the newest state of each, and nothing lost of the older ones."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from resources import partition_status
from resources.lake import Lake
from resources.partition_status import PartitionStatus

WEEK, NEXT = date(2017, 1, 2), date(2017, 1, 9)


def status(**changes: Any) -> PartitionStatus:
    values: dict[str, Any] = {
        "asset": "shop.sales",
        "week": WEEK,
        "status": "passed",
        "rows": 3,
        "data_version": "v1",
        "contract_version": 1,
        "code_version": "c1",
        "inputs": {"landing.sales": "i1"},
        "run_id": "r1",
        "seconds": 0.5,
    }
    return PartitionStatus(**(values | changes))


def record(lake: Lake, *statuses: PartitionStatus) -> None:
    with lake.write() as connection:
        partition_status.record(connection, statuses)


def test_a_lake_without_states_has_none(lake: Lake) -> None:
    assert partition_status.current(lake) == {}


def test_what_is_recorded_is_read_back(lake: Lake) -> None:
    made = [
        status(),
        status(week=NEXT, status="failed", reason="it's bad", run_id="r2"),
        status(asset="models.ranker", week=None, inputs={}),
    ]
    record(lake, *made)
    assert partition_status.current(lake) == {(s.asset, s.week): s for s in made}


def test_the_newest_state_counts(lake: Lake) -> None:
    # The run's id must not decide: a later run may sort before an earlier one.
    for run_id, version in (("r9", "v1"), ("r1", "v2"), ("r5", "v3")):
        record(lake, status(run_id=run_id, data_version=version))
    assert partition_status.current(lake)["shop.sales", WEEK].data_version == "v3"


def test_a_state_without_a_week_is_replaced_too(lake: Lake) -> None:
    record(lake, status(week=None))
    record(lake, status(week=None, rows=9))
    found = partition_status.current(lake)
    assert {k: s.rows for k, s in found.items()} == {("shop.sales", None): 9}


def test_every_state_is_kept_in_the_log(lake: Lake) -> None:
    record(lake, status())
    record(lake, status(status="failed"))
    with lake.read() as connection:
        kept = connection.execute(
            "SELECT status FROM lake.quality.partition_log ORDER BY recorded_at"
        ).fetchall()
    assert kept == [("passed",), ("failed",)]


def test_some_assets_or_none(lake: Lake) -> None:
    record(lake, status(), status(asset="shop.stock"))
    assert set(partition_status.current(lake, ["shop.stock"])) == {("shop.stock", WEEK)}
    assert partition_status.current(lake, []) == {}


def test_a_state_lands_with_the_transaction_or_not_at_all(lake: Lake) -> None:
    def record_and_fail() -> None:
        with lake.write() as connection:
            partition_status.record(connection, [status()])
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        record_and_fail()
    assert partition_status.current(lake) == {}


def test_many_states_in_one_transaction(lake: Lake) -> None:
    weeks = [date.fromordinal(WEEK.toordinal() + 7 * i) for i in range(200)]
    record(lake, *[status(week=w) for w in weeks])
    assert len(partition_status.current(lake)) == 200
