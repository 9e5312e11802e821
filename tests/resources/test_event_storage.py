"""The event log: everything a run says can be read, a batch is whole, processes share the file."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
import uuid
from pathlib import Path

import dagster as dg
import pytest
from dagster import EventLogEntry
from dagster._core.events import DagsterEvent, DagsterEventType, StepMaterializationData

from resources.event_storage import BatchedSqliteEventLogStorage

PROJECT = Path(__file__).parents[2]
WEEKS = dg.StaticPartitionsDefinition([f"w{i:02d}" for i in range(40)])


@dg.asset(
    partitions_def=WEEKS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    check_specs=[dg.AssetCheckSpec("contract", asset="weekly")],
)
def weekly(context):
    yield dg.AssetCheckResult(passed=True, check_name="contract")
    yield dg.MaterializeResult(metadata={"rows": 7})


def entry(run_id: str, week: str) -> EventLogEntry:
    """A materialisation of ``weekly`` as a run reports it."""
    made = dg.AssetMaterialization("weekly", partition=week, tags={"dagster/data_version": week})
    return EventLogEntry(
        error_info=None,
        level=10,
        user_message="made",
        run_id=run_id,
        timestamp=time.time(),
        step_key="weekly",
        job_name="job",
        dagster_event=DagsterEvent(
            event_type_value=DagsterEventType.ASSET_MATERIALIZATION.value,
            job_name="job",
            step_key="weekly",
            event_specific_data=StepMaterializationData(made),
        ),
    )


@pytest.fixture
def storage(tmp_path: Path):
    made = BatchedSqliteEventLogStorage(str(tmp_path / "events"))
    yield made
    made.dispose()


def test_a_range_run_can_be_read_back_to_the_last_event(home, instance) -> None:
    assert isinstance(instance.event_log_storage, BatchedSqliteEventLogStorage)
    tags = {
        "dagster/asset_partition_range_start": "w00",
        "dagster/asset_partition_range_end": "w39",
    }
    result = dg.materialize([weekly], instance=instance, tags=tags)
    assert result.success
    with dg.DagsterInstance.get() as another:
        made = another.get_materialized_partitions(dg.AssetKey("weekly"))
        assert made == set(WEEKS.get_partition_keys())
        kinds = [e.dagster_event_type for e in another.all_logs(result.run_id) if e.dagster_event]
        assert kinds.count(DagsterEventType.ASSET_MATERIALIZATION) == 40
        assert kinds[-1] == DagsterEventType.RUN_SUCCESS
        assert another.get_run_by_id(result.run_id).status == dg.DagsterRunStatus.SUCCESS
        checks = another.event_log_storage.get_asset_check_execution_history(
            dg.AssetCheckKey(dg.AssetKey("weekly"), "contract"), limit=5
        )
        assert checks
        assert DagsterEventType.ASSET_CHECK_EVALUATION in kinds
        latest = another.get_latest_materialization_event(dg.AssetKey("weekly"))
        assert latest.asset_materialization.metadata["rows"].value == 7


def test_a_batch_is_stored_whole(storage) -> None:
    run_id = str(uuid.uuid4())
    storage.store_event_batch([entry(run_id, f"w{i:02d}") for i in range(30)])
    assert len(storage.get_logs_for_run(run_id)) == 30
    assert storage.get_materialized_partitions(dg.AssetKey("weekly")) == {
        f"w{i:02d}" for i in range(30)
    }


def test_a_batch_that_fails_stores_nothing(storage) -> None:
    run_id = str(uuid.uuid4())
    with pytest.raises(Exception, match="EventLogEntry"):
        storage.store_event_batch([entry(run_id, "w00"), entry(run_id, "w01"), "no event"])
    assert storage.get_logs_for_run(run_id) == []
    assert storage.get_materialized_partitions(dg.AssetKey("weekly")) == set()
    storage.store_event_batch([entry(run_id, "w02")])
    assert len(storage.get_logs_for_run(run_id)) == 1


def test_tables_are_found_and_missing_ones_are_not(storage) -> None:
    assert storage.has_table("event_logs")
    assert storage.has_table("event_logs")
    assert not storage.has_table("no_such_table")


def test_an_existing_log_is_opened_again(storage, tmp_path: Path) -> None:
    run_id = str(uuid.uuid4())
    storage.store_event(entry(run_id, "w00"))
    again = BatchedSqliteEventLogStorage(str(tmp_path / "events"))
    assert len(again.get_logs_for_run(run_id)) == 1
    again.dispose()


_WRITER = """
import sys
from resources.event_storage import BatchedSqliteEventLogStorage
from tests.resources.test_event_storage import entry

storage = BatchedSqliteEventLogStorage(sys.argv[1])
for batch in range(int(sys.argv[3])):
    storage.store_event_batch([entry(sys.argv[2], f"w{i:02d}") for i in range(20)])
    storage.store_event(entry(sys.argv[2], "w39"))
"""
BATCHES = 8


@pytest.mark.slow
def test_two_processes_write_one_log(tmp_path: Path) -> None:
    """From a log that does not exist yet: creating it is part of the race."""
    runs = [str(uuid.uuid4()) for _ in range(2)]
    place = str(tmp_path / "events")
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(_WRITER), place, run_id, str(BATCHES)],
            cwd=PROJECT,
            env=os.environ | {"PYTHONPATH": str(PROJECT)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for run_id in runs
    ]
    for writer in writers:
        _, err = writer.communicate()
        assert writer.returncode == 0, err
    storage = BatchedSqliteEventLogStorage(place)
    for run_id in runs:
        assert len(storage.get_logs_for_run(run_id)) == BATCHES * 21
    storage.dispose()


def test_a_batch_says_of_an_asset_what_its_events_one_by_one_say(tmp_path: Path) -> None:
    run_id = str(uuid.uuid4())
    events = [entry(run_id, week) for week in WEEKS.get_partition_keys()[:5]]
    found = []
    for name, batches in (("together", [events]), ("apart", [[e] for e in events])):
        storage = BatchedSqliteEventLogStorage(str(tmp_path / name))
        for batch in batches:
            storage.store_event_batch(batch)
        (record,) = storage.get_asset_records([dg.AssetKey("weekly")])
        last = record.asset_entry.last_materialization_record
        assert last is not None
        found.append((last.storage_id, last.partition_key, record.asset_entry.last_run_id))
        weeks = storage.get_materialized_partitions(dg.AssetKey("weekly"))
        assert weeks == set(WEEKS.get_partition_keys()[:5])
        storage.dispose()
    assert found[0] == found[1] == (5, "w04", run_id)
