"""A ledger, a model or a disk that fails beside a running engine: no release is lost or made up."""

from __future__ import annotations

import logging
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from bentos.engine import Engine
from bentos.guard import Trip
from bentos.ranker_model import ModelError, RankerModel
from bentos.schemas import RankOffersRequest
from models.release.guard import Breach
from models.release.ledger import Event
from resources.incidents import list_incidents
from tests.bentos.conftest import World

A, B, C = "a" * 12, "b" * 12, "c" * 12
NAME = "offer_ranker"


@pytest.fixture
def store(world: World) -> dict[str, RankerModel]:
    return {f"liftgraph_ranker:{v}": world.released(v) for v in (A, B, C)}


def served(engine: Engine) -> str:
    reply = engine.rank_offers(RankOffersRequest(household_id="1", k=3))
    return str(reply["model_version"])


def roll_back(world: World, version: str) -> list[Event]:
    return world.ledger.rollback(
        name=NAME, actor="tests", reason="it is bad", model_version=version
    )


def ledger_file(world: World) -> Path:
    return Path(str(sa.make_url(world.settings.ledger_url).database))


def remove_ledger(world: World) -> None:
    for suffix in ("", "-wal", "-shm"):
        ledger_file(world).with_name(ledger_file(world).name + suffix).unlink(missing_ok=True)


@contextmanager
def locked(world: World) -> Iterator[None]:
    connection = sqlite3.connect(ledger_file(world), isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()


def eventually(true: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.01)


def loading(
    world: World, store: dict[str, RankerModel], fault: Exception, *, bad: str, times: int
) -> Engine:
    """An engine whose store fails so many times to give one model."""
    left = [fault] * times

    def load(tag: str) -> RankerModel | None:
        if tag.endswith(bad) and left:
            raise left.pop()
        return store.get(tag)

    return Engine(world.settings, load_model=world.model, load_tag=load)


@pytest.mark.parametrize("fault", [PermissionError(13, "no", "calibration.json"), KeyError("yaml")])
def test_a_rollback_goes_through_though_the_one_before_cannot_be_read(
    world: World, store: dict[str, RankerModel], fault: Exception
) -> None:
    world.publish()
    for version in (A, B, C):
        world.step(version, "live")
    engine = loading(world, store, fault, bad=A, times=1_000)
    assert served(engine) == C
    roll_back(world, C)
    engine.refresh()
    assert served(engine) == B
    (problem,) = engine.status().problems
    assert "the previous is not served" in problem
    assert "calibration" not in problem


def test_a_release_that_could_not_be_loaded_once_is_taken_up_later(
    world: World, store: dict[str, RankerModel]
) -> None:
    world.publish()
    world.step(A, "live")
    engine = loading(world, store, PermissionError("model.yaml"), bad=B, times=1)
    world.step(B, "live")
    engine.start()
    try:
        eventually(lambda: "live" in engine.problems)
        assert served(engine) == A
        eventually(lambda: served(engine) == B)
        eventually(lambda: engine.status().problems == [])
    finally:
        engine.close()


def test_whatever_fails_while_publishing_it_is_tried_until_it_is_served(
    world: World, store: dict[str, RankerModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    world.publish()
    world.step(A, "live")
    world.step(B, "live")
    engine = world.engine(models=store)
    roll_back(world, B)
    with monkeypatch.context() as patch:
        patch.setattr(engine, "replace", lambda _: _raise(MemoryError()))
        with pytest.raises(MemoryError):
            engine.refresh()
    assert served(engine) == B
    engine.refresh()
    assert served(engine) == A


def _raise(error: Exception) -> None:
    raise error


def test_an_incident_that_cannot_be_written_stops_no_rollback(
    world: World, store: dict[str, RankerModel]
) -> None:
    world.publish()
    world.step(A, "live")
    world.step(B, "live")
    engine = world.engine(models=store)
    world.settings.incidents_dir.write_text("in the way")
    world.step("d" * 12, "shadow")
    roll_back(world, B)
    engine.refresh()
    assert served(engine) == A
    assert "incidents" in engine.problems
    world.settings.incidents_dir.unlink()
    engine.start()
    try:
        eventually(lambda: "incidents" not in engine.problems)
    finally:
        engine.close()
    assert [i["kind"] for i in list_incidents(world.settings.incidents_dir)] == ["model-refused"]


@pytest.mark.parametrize("fault", ["deleted", "a folder", "older", "empty"])
def test_at_the_start_a_ledger_that_is_not_right_leaves_those_known_last(
    world: World, store: dict[str, RankerModel], fault: str
) -> None:
    world.publish()
    world.step(A, "live")
    path, backup = ledger_file(world), world.home / "backup.db"
    world.ledger.close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy(path, backup)
    world.step(B, "live")
    assert served(world.engine(models=store)) == B
    remove_ledger(world)
    if fault == "a folder":
        path.mkdir()
    elif fault == "older":
        shutil.copy(backup, path)
    elif fault == "empty":
        world.ledger.head()
    engine = world.engine(models=store)
    assert served(engine) == B
    (problem,) = engine.status().problems
    assert "releases known last" in problem
    assert path.exists() == (fault != "deleted")
    # A person says that this ledger is meant.
    if fault == "older":
        (world.home / "releases_known.json").unlink()
        engine.refresh()
        assert served(engine) == A
        assert engine.status().problems == []


def test_without_ledger_and_memory_nothing_is_served(
    world: World, store: dict[str, RankerModel]
) -> None:
    world.publish()
    ledger_file(world).mkdir(parents=True)
    engine = world.engine(models=store)
    assert not engine.status().ready
    assert "the release ledger cannot be read" in str(engine.blocking_problem)
    ledger_file(world).rmdir()
    world.step(A, "live")
    engine.refresh()
    assert served(engine) == A
    assert engine.status().ready


def test_a_ledger_restored_under_a_running_engine_is_followed(
    world: World, store: dict[str, RankerModel]
) -> None:
    world.publish()
    world.step(A, "live")
    world.step(B, "live")
    engine = world.engine(models=store)
    path, copy = ledger_file(world), world.home / "copy.db"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy(path, copy)
    remove_ledger(world)
    engine.refresh()
    assert "FileNotFoundError" in engine.problems["ledger"]
    assert served(engine) == B
    assert not path.exists()
    copy.replace(path)
    roll_back(world, B)
    engine.refresh()
    assert served(engine) == A
    assert engine.status().problems == []
    assert world.ledger.verify() == 7


def test_another_past_with_the_same_number_of_events_is_news(
    world: World, store: dict[str, RankerModel]
) -> None:
    world.publish()
    world.step(A, "live")
    engine = world.engine(models=store)
    remove_ledger(world)
    world.step(B, "live")
    engine.refresh()
    assert served(engine) == B


def test_a_locked_ledger_is_read_and_stalls_no_tending(
    world: World, store: dict[str, RankerModel]
) -> None:
    world.publish()
    world.step(A, "live")
    world.step(B, "live")
    with locked(world):
        started = time.monotonic()
        engine = world.engine(models=store)
        assert time.monotonic() - started < 10.0
        assert served(engine) == B
        tended = threading.Event()
        engine.follower.tended.append(tended.set)
        trip = Trip("live", B, f"liftgraph_ranker:{B}", 5, Breach("errors", 1.0, 0.0, 9, "bad"))
        engine.watch._untold.append(trip)
        engine.start()
        try:
            eventually(lambda: "guard" in engine.problems)
            tended.clear()
            assert tended.wait(3.0)
        finally:
            engine.close()
    assert "BEGIN" not in engine.problems["guard"]


def test_tending_goes_on_whatever_looking_did(world: World) -> None:
    world.publish()
    engine = world.engine()
    tended = threading.Event()
    engine.follower.tended.append(tended.set)
    engine.follower.look = lambda: _raise(RuntimeError("secret detail"))  # type: ignore[method-assign]
    engine.start()
    try:
        assert tended.wait(3.0)
        assert "secret" not in engine.problems["follower"]
    finally:
        engine.close()


def test_a_damaged_own_model_is_forgotten_once_the_ledger_names_a_good_one(
    world: World, store: dict[str, RankerModel]
) -> None:
    def damaged() -> RankerModel:
        raise ModelError("damaged")

    world.publish()
    engine = world.engine(load_model=damaged, models=store)
    assert engine.blocking_problem == "damaged"
    world.step(A, "live")
    engine.refresh()
    assert engine.blocking_problem is None
    assert served(engine) == A


def test_a_late_trip_ends_no_later_release(world: World, store: dict[str, RankerModel]) -> None:
    world.publish()
    world.step(A, "live")
    world.step(B, "live")
    engine = world.engine(models=store)
    assert engine.serving is not None
    trip = engine.watch._trip(engine.serving, "live", Breach("errors", 1.0, 0.0, 9, "bad"))
    assert trip is not None
    roll_back(world, B)
    world.step(B, "candidate")
    again = world.step(B, "live")
    engine.refresh()
    live = world.ledger.releases(NAME).live
    assert live is not None
    assert (live.model_version, live.event) == (B, again.id)
    assert served(engine) == B


def test_a_trip_told_to_the_ledger_is_not_told_again_for_the_sake_of_its_incident(
    world: World, store: dict[str, RankerModel]
) -> None:
    world.publish()
    world.step(A, "live")
    world.step(B, "live")
    engine = world.engine(models=store)
    assert engine.serving is not None
    assert engine.watch._trip(engine.serving, "live", Breach("errors", 1.0, 0.0, 9, "bad"))
    world.settings.incidents_dir.write_text("in the way")
    engine.refresh()
    assert "guard" in engine.problems
    world.settings.incidents_dir.unlink()
    engine.refresh()
    (incident,) = list_incidents(world.settings.incidents_dir)
    assert incident["evidence"]["outcome"] == "rolled back"


def test_the_open_status_holds_no_sql(
    world: World, store: dict[str, RankerModel], caplog: pytest.LogCaptureFixture
) -> None:
    world.publish()
    world.step(A, "live")
    engine = world.engine(models=store)
    with sqlite3.connect(ledger_file(world)) as connection:
        connection.execute("ALTER TABLE release_events RENAME TO elsewhere")
    with caplog.at_level(logging.ERROR):
        engine.refresh()
    (problem,) = engine.status().problems
    assert "OperationalError" in problem
    assert not {"SELECT", "sqlite3", str(world.home)} & set(problem.split())
    assert "SELECT" in caplog.text
