"""From a decision to the raw tables, and from a snapshot to the decisions it touched."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path

import orjson
import polars as pl
import pytest

from checks.contracts.decisions import DECISIONS
from models.release.ledger import Event
from resources import lake_database, partition_status
from resources.lake import Lake
from resources.partition_status import PartitionStatus
from resources.release_lineage import UntraceableError, touched, trace

AT = datetime(2026, 1, 5, 12)  # noqa: DTZ001 - times are naive UTC


def raw(version: str) -> PartitionStatus:
    return PartitionStatus(
        asset="raw.basket_lines", week=date(2026, 1, 5), status="passed", rows=7,
        data_version=version, contract_version=1, code_version="c", inputs={}, run_id="r",
        seconds=1.0,
    )  # fmt: skip


def event(number: int, version: str, snapshot: int) -> Event:
    return Event(
        id=number, at=AT, name="offer_ranker", model_version=version, model_tag=f"t:{version}",
        state="candidate", percent=None, actor="ann", reason="because",
        evidence={"lineage": {"data_snapshot": str(snapshot), "git_revision": "abc"}},
    )  # fmt: skip


def decision(request: str, version: str, snapshot: int) -> dict[str, object]:
    return {
        "week_start": date(2026, 1, 5), "known_at": AT, "request_id": request, "kind": "decision",
        "decided_at": AT, "household_id": "abcdefghijkl", "arm": "live", "release": 1,
        "model_version": version, "model_tag": f"t:{version}", "bento": "liftgraph:1",
        "snapshot_version": "s", "data_snapshot": str(snapshot), "feature_set_hash": "f",
    }  # fmt: skip


@pytest.fixture(scope="module")
def told(tmp_path_factory) -> Iterator[tuple[Lake, list[Event], int, int]]:
    """Raw data twice, a model of each, and three decisions."""
    place = tmp_path_factory.mktemp("lake")
    (place / "data").mkdir()
    lake = Lake(
        catalog=f"sqlite:{place / 'catalog.sqlite'}",
        data_path=str(place / "data"),
        lock_path=place / "write.lock",
    )
    with lake.write() as connection:
        partition_status.record(connection, [raw("first")])
    first = lake.snapshot_id()
    with lake.write() as connection:
        partition_status.record(connection, [raw("second")])
    second = lake.snapshot_id()
    rows = [decision("r1", "a", second), decision("r2", "b", second), decision("r3", "a", first)]
    empty = DECISIONS.empty()
    frame = pl.concat([empty, pl.DataFrame(rows, schema_overrides=empty.schema)], how="diagonal")
    with lake.write() as connection:
        lake.append(connection, DECISIONS, frame)
    yield lake, [event(1, "a", first), event(2, "b", second)], first, second
    lake_database.close(lake)


def test_from_a_decision_to_the_raw_tables(told, tmp_path: Path) -> None:
    lake, events, first, second = told
    found = trace(lake, events, decision_id="r1", logs=tmp_path)
    (row,) = found.rows
    assert (row["model_version"], row["trained_on"], row["data_snapshot"]) == (
        "a", first, str(second)
    )  # fmt: skip
    assert row["trained_on_at"] < row["served_from_at"]
    assert [e.id for e in found.events] == [1]
    contents = {
        version: trace(lake, events, decision_id=request, logs=tmp_path).raw[0]["content"]
        for request, version in (("r1", "first"), ("r2", "second"))
    }
    # Each model's own raw data, though the table has gone on.
    assert contents["first"] != contents["second"]
    assert found.raw[0]["rows"] == 7


def test_from_a_snapshot_to_the_decisions_it_touched(told) -> None:
    lake, events, first, second = told
    by_first = touched(lake, events, snapshot=first)
    assert by_first.select("request_id", "by_model", "by_features").rows() == [
        ("r1", True, False), ("r3", True, True)
    ]  # fmt: skip
    assert touched(lake, events, snapshot=second)["request_id"].to_list() == ["r1", "r2"]
    assert touched(lake, events, snapshot=first, and_later=True).height == 3
    with pytest.raises(UntraceableError, match="no snapshot 999"):
        touched(lake, events, snapshot=999)


def test_a_decision_that_is_not_in_the_lake_yet_is_found_in_the_log(told, tmp_path: Path) -> None:
    lake, events, _, second = told
    line = decision("r4", "b", second) | {"decided_at": AT}
    (tmp_path / "d.jsonl").write_bytes(orjson.dumps(line) + b"\n")
    assert trace(lake, events, decision_id="r4", logs=tmp_path).rows[0]["trained_on"] == second
    with pytest.raises(UntraceableError, match="r5 is neither in serving"):
        trace(lake, events, decision_id="r5", logs=tmp_path)


def test_without_any_decision(lake: Lake, tmp_path: Path) -> None:
    with pytest.raises(UntraceableError, match="not in the lake yet"):
        touched(lake, [], snapshot=0)
    with pytest.raises(UntraceableError, match="x' OR 1=1 is neither"):
        trace(lake, [], decision_id="x' OR 1=1", logs=tmp_path)
