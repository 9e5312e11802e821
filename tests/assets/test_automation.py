"""Schedules and sensors: what they ask for, when they hold back, and what they never repeat."""

import os
import time
from datetime import UTC, datetime

import dagster as dg
import polars as pl
import pytest
from dagster._core.definitions.sensor_definition import SensorExecutionData

from assets.governance.automation import (
    BATCH_TAG,
    MOST_RETRIES_OF_A_KILLED_RUN,
    SETTLE_SECONDS,
    automation,
    first_wave,
    late_data_schedule,
    unsettled_drops,
    weekly_schedule,
)
from assets.governance.plan import Batch, Node
from assets.governance.runner import RANGE_END, RANGE_START
from assets.partitions import calendar
from resources import run_reaper
from tests.conftest import Home, assets_of
from tests.tiny_retailer import drops_of_week, weeks_from_first, write_drop, write_drops

WEEKS = calendar()
MONDAY = datetime(2018, 1, 8, 6, tzinfo=UTC)


def settle(home: Home) -> None:
    """Make every drop look as if it had been there for a while."""
    past = time.time() - 10 * SETTLE_SECONDS
    for file in home.landing.rglob("*.*"):
        os.utime(file, (past, past))


class Sensors:
    """The sensors of a graph of products, on one home."""

    def __init__(self, home: Home, instance: dg.DagsterInstance) -> None:
        self.home, self.instance = home, instance
        self.definitions = home.definitions(*assets_of("products"))
        self.by_name = {s.name: s for s in automation(lambda: self.definitions)}

    def tick(self, name: str = "stale_partitions") -> SensorExecutionData:
        context = dg.build_sensor_context(
            instance=self.instance,
            definitions=self.definitions,
            resources={"settings": self.home.settings, "lake": self.home.lake},
        )
        return self.by_name[name].evaluate_tick(context)

    def said(self, name: str = "stale_partitions") -> str:
        tick = self.tick(name)
        assert not tick.run_requests
        return tick.skip_message or ""

    def requests(self) -> list[dg.RunRequest]:
        tick = self.tick()
        assert tick.run_requests, tick.skip_message
        return list(tick.run_requests)


@pytest.fixture
def sensors(home: Home, instance) -> Sensors:
    write_drops(home.landing, weeks=3, tables=["products"])
    settle(home)
    return Sensors(home, instance)


def weeks_asked(request: dg.RunRequest) -> tuple[str, str]:
    return request.tags[RANGE_START], request.tags[RANGE_END]


def test_a_stale_graph_is_asked_for_in_one_run(sensors: Sensors) -> None:
    (request,) = sensors.requests()
    assert {".".join(k.path) for k in request.asset_selection} == {
        "landing.products",
        "raw.products",
        "quarantine.products",
    }
    assert weeks_asked(request) == (str(WEEKS[0]), str(WEEKS[-1]))
    (again,) = sensors.requests()
    assert again.run_key == request.run_key, "one request for one staleness"


def test_a_file_that_may_still_be_growing_holds_everything_back(sensors: Sensors) -> None:
    week = weeks_from_first(2)[1]
    file = write_drop(
        sensors.home.landing, table="products", week=week, frame=drops_of_week(week)["products"]
    )
    assert sensors.said() == f"still being written: products/{week}/drop.parquet"
    now = file.stat().st_mtime
    assert unsettled_drops(sensors.home.settings, now=now + SETTLE_SECONDS - 1)
    assert unsettled_drops(sensors.home.settings, now=now + SETTLE_SECONDS + 1) == []


def test_a_run_under_way_is_waited_for(sensors: Sensors) -> None:
    job = sensors.definitions.get_implicit_global_asset_job_def()
    run = sensors.instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    assert sensors.said() == "1 run(s) under way; what they leave stale comes next"
    sensors.instance.report_run_failed(run)
    assert sensors.requests()


def test_a_corrected_week_is_asked_for_alone_and_each_correction_anew(sensors: Sensors) -> None:
    home = sensors.home
    assert home.run(sensors.definitions, instance=sensors.instance).success
    assert sensors.said() == "nothing is stale"
    week = WEEKS[1]
    good = drops_of_week(week)["products"]
    keys = []
    for category in ("TEA", "COCOA"):
        changed = good.with_columns(category=pl.lit(category))
        write_drop(home.landing, table="products", week=week, frame=changed)
        settle(home)
        (request,) = sensors.requests()
        assert weeks_asked(request) == (str(week), str(week))
        # What is only perhaps stale waits for what the landing finds.
        assert [".".join(k.path) for k in request.asset_selection] == ["landing.products"]
        keys.append(request.run_key)
    assert len(set(keys)) == 2, "a second correction must not be taken for the first"


def test_a_blocked_graph_says_by_what(sensors: Sensors) -> None:
    home, week = sensors.home, WEEKS[1]
    bad = drops_of_week(week)["products"].drop("product_id")
    write_drop(home.landing, table="products", week=week, frame=bad)
    settle(home)
    assert not home.run(sensors.definitions, instance=sensors.instance).success
    said = sensors.said()
    assert said.startswith("2 partition(s) blocked, e.g. quarantine.products 2017-01-02: failed on")
    assert "column product_id: the column is missing" in said


def test_the_work_of_a_killed_run_is_asked_for_again_but_not_for_ever(sensors: Sensors) -> None:
    (request,) = sensors.requests()
    job = sensors.definitions.get_implicit_global_asset_job_def()
    keys = [request.run_key]
    for _ in range(MOST_RETRIES_OF_A_KILLED_RUN + 2):
        run = sensors.instance.create_run_for_job(
            job, status=dg.DagsterRunStatus.STARTED, tags=request.tags
        )
        sensors.instance.add_run_tags(run.run_id, {run_reaper.REAPED_TAG: "true"})
        sensors.instance.report_run_failed(run)
        (request,) = sensors.requests()
        assert BATCH_TAG in request.tags
        keys.append(request.run_key)
    assert len(set(keys)) == 1 + MOST_RETRIES_OF_A_KILLED_RUN


def test_a_run_that_failed_by_itself_is_not_asked_for_again(sensors: Sensors) -> None:
    (request,) = sensors.requests()
    job = sensors.definitions.get_implicit_global_asset_job_def()
    run = sensors.instance.create_run_for_job(
        job, status=dg.DagsterRunStatus.STARTED, tags=request.tags
    )
    sensors.instance.report_run_failed(run)
    assert sensors.requests()[0].run_key == request.run_key


def test_what_is_made_from_another_batch_waits_for_it() -> None:
    nodes = {
        "a": Node("a", {}, "1", partitioned=True),
        "b": Node("b", {"a": {}}, "1", partitioned=False),
        "c": Node("c", {}, "1", partitioned=False),
        "d": Node("d", {"b": {}}, "1", partitioned=False),
    }
    found = [Batch((asset,), None) for asset in nodes]
    assert [b.assets for b in first_wave(found, nodes)] == [("a",), ("c",)]


def test_the_reaper_sensor_fails_dead_runs(sensors: Sensors) -> None:
    assert sensors.said("reaper") == "no dead run"
    job = sensors.definitions.get_implicit_global_asset_job_def()
    run = sensors.instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    lock = sensors.home.path / "runs" / f"{run.run_id}.lock"
    lock.parent.mkdir(exist_ok=True)
    lock.touch()
    assert sensors.said("reaper") == f"failed dead run(s) {run.run_id}"
    assert sensors.instance.get_run_by_id(run.run_id).status == dg.DagsterRunStatus.FAILURE


def test_the_reaper_runs_by_default_and_the_other_sensor_when_asked(sensors: Sensors) -> None:
    statuses = {name: s.default_status for name, s in sensors.by_name.items()}
    assert statuses == {
        "reaper": dg.DefaultSensorStatus.RUNNING,
        "stale_partitions": dg.DefaultSensorStatus.STOPPED,
    }


def test_mondays_take_the_week_that_ended_and_the_one_begun(instance) -> None:
    context = dg.build_schedule_context(instance=instance, scheduled_execution_time=MONDAY)
    (request,) = weekly_schedule.evaluate_tick(context).run_requests
    assert weeks_asked(request) == ("2017-12-25", "2018-01-01")
    assert request.run_key == "weekly 2018-01-01 2018-01-08"


def test_late_data_takes_the_trailing_weeks(home: Home, instance) -> None:
    context = dg.build_schedule_context(
        instance=instance,
        scheduled_execution_time=MONDAY,
        resources={"settings": home.settings},
    )
    (request,) = late_data_schedule.evaluate_tick(context).run_requests
    assert weeks_asked(request) == (str(WEEKS[-1 - home.settings.late_weeks]), str(WEEKS[-1]))
