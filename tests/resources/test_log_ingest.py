"""From log files into the lake: each line once, whoever is killed, and bad lines by name."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import polars as pl
import pytest

from checks.contracts.decisions import DECISIONS, EVENTS
from models.serving.log_rows import decision_rows, event_rows, feature_rows
from resources.decision_files import held, ingested_bytes, log_files
from resources.event_log import EventLog
from resources.lake import Lake
from resources.log_ingest import Ingested, LogFileError, ingest, waiting_bytes
from resources.settings import PROJECT
from tests.conftest import Home

AT = datetime.fromisoformat("2026-11-23T04:30:00.123456")
ZONE = "America/New_York"


def decision(n: int, **changes: Any) -> dict[str, Any]:
    return {
        "kind": "decision",
        "request_id": f"{n:032x}",
        "decided_at": AT + timedelta(seconds=n),
        "arm": "live",
        "release": 3,
        "propensity": 1.0,
        "household_id": "0123456789ab",
        "k": 2,
        "context": {"channel": "app"},
        "model_version": "7",
        "model_tag": "liftgraph_ranker:7",
        "as_of": "2018-01-01",
        "status": 200,
        "error": None,
        "empty": False,
        "candidates": ["a", "b", "c"],
        "scores": np.array([0.1, -2.5, 1e-8], dtype=np.float32),
        "ranking": ["a", "c"],
        "probabilities": [0.5, None],
        "latency_ms": 0.4,
    } | changes


def write(folder: Path, name: str, *lines: bytes | dict[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    with path.open("ab") as file:
        for line in lines:
            whole = (
                line
                if isinstance(line, bytes)
                else orjson.dumps(
                    line, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE
                )
            )
            file.write(whole)
    return path


def store(lake: Lake, folder: Path, **changes: Any) -> Ingested:
    return ingest(
        lake, folder, contract=DECISIONS, rows_of=decision_rows, time_zone=ZONE, **changes
    )


def stored(lake: Lake) -> pl.DataFrame:
    return lake.scan(DECISIONS).sort("decided_at").collect()


def test_a_decision_is_stored_as_it_was_logged(home: Home) -> None:
    folder = home.path / "decisions"
    features = np.array([[1.0, np.nan], [0.1, 2.0], [3.0, 4.0]], dtype=np.float32)
    newest = datetime.fromisoformat("2018-01-02T15:00:00")
    fresh = decision(2, fresh=True, known_at=newest, features=features)
    write(folder, "decisions-1.jsonl.open", decision(1, known_at=AT), fresh)
    assert store(home.lake, folder).rows == 2
    one, two = stored(home.lake).to_dicts()
    assert one["scores"] == [float(np.float32(0.1)), -2.5, float(np.float32(1e-8))]
    assert (one["candidates"], one["ranking"]) == (["a", "b", "c"], ["a", "c"])
    assert one["probabilities"] == [0.5, None]
    assert (one["release"], one["fresh"], one["features"]) == (3, False, None)
    assert one["features_known_at"] is None
    assert one["known_at"] == one["decided_at"] == AT + timedelta(seconds=1)
    # Monday half past four in UTC is still Sunday in New York.
    assert str(one["week_start"]) == "2026-11-16"
    assert orjson.loads(one["rest"]) == {"context": {"channel": "app"}}
    assert two["features_known_at"] == newest
    assert feature_rows(two["features"], columns=2).tobytes() == features.tobytes()


def test_each_line_once_while_the_file_grows_and_is_closed(home: Home) -> None:
    folder = home.path / "decisions"
    path = write(folder, "decisions-1.jsonl.open", decision(1), b'{"request_id": "to')
    assert waiting_bytes(home.lake, folder, DECISIONS) > 0
    assert store(home.lake, folder).rows == 1
    assert store(home.lake, folder).rows == 0
    assert waiting_bytes(home.lake, folder, DECISIONS) == 0
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - len(b'{"request_id": "to'))
    write(folder, path.name, decision(2))
    path.rename(folder / "decisions-1.jsonl")
    write(folder, "decisions-2.jsonl.open", decision(3), decision(4))
    # One line at a time is as good.
    assert store(home.lake, folder, chunk_bytes=10).rows == 3
    assert stored(home.lake)["request_id"].to_list() == [f"{n:032x}" for n in (1, 2, 3, 4)]
    closed = folder / "decisions-1.jsonl"
    assert ingested_bytes(folder, closed.name) == closed.stat().st_size


def test_bad_lines_are_named_and_the_others_stored(home: Home) -> None:
    folder = home.path / "decisions"
    path = write(
        folder,
        "decisions-1.jsonl",
        decision(1),
        b"no json\n",
        decision(2, household_id="RAW-1"),
        decision(3, k="many"),
        decision(1, arm="baseline"),
        decision(4),
    )
    done = store(home.lake, folder)
    assert (done.rows, done.rejected, done.lines) == (2, 4, 6)
    assert stored(home.lake)["request_id"].to_list() == [f"{n:032x}" for n in (1, 4)]
    with home.lake.read() as connection:
        named = connection.execute(
            "SELECT first_byte, reason FROM lake.serving.rejected_lines ORDER BY first_byte"
        ).fetchall()
    lines = path.read_bytes().splitlines(keepends=True)
    assert [start for start, _ in named] == [sum(map(len, lines[:n])) for n in (1, 2, 3, 4)]
    assert "household_id" in named[1][1]
    assert "repeats the key" in named[3][1]


def event(n: int, *products: str) -> dict[str, Any]:
    line = {
        "basket_id": "b",
        "store_id": "s",
        "quantity": 1,
        "sales_value": 1.5,
        "retail_disc": 0.0,
        "coupon_disc": 0.0,
        "coupon_match_disc": 0.0,
        "sold_at": "2018-01-02T15:00:00",
    }
    return {
        "event_id": f"e{n}",
        "digest": "d",
        "household_id": "0123456789ab",
        "received_at": AT.isoformat(),
        "lines": [line | {"product_id": product} for product in products or ("p",)],
    }


def test_events_are_stored_line_by_line(home: Home) -> None:
    folder = home.path / "household_events"
    write(folder, "events-00000001.jsonl.open", event(1, "p", "q"))
    ingest(home.lake, folder, contract=EVENTS, rows_of=event_rows, time_zone=ZONE)
    rows = home.lake.scan(EVENTS).sort("line").collect()
    assert rows["product_id"].to_list() == ["p", "q"]
    assert rows["line"].to_list() == [1, 2]
    assert rows["received_at"].to_list() == [AT, AT]


def test_a_file_that_was_cut_or_is_another_is_refused(home: Home) -> None:
    folder = home.path / "decisions"
    path = write(folder, "decisions-1.jsonl", decision(1), decision(2))
    whole = path.read_bytes()
    store(home.lake, folder)
    path.unlink()
    write(folder, path.name, decision(3))
    with pytest.raises(LogFileError, match=r"decisions-1.jsonl holds .* but .* are stored"):
        store(home.lake, folder)
    with pytest.raises(LogFileError, match="was cut"):
        waiting_bytes(home.lake, folder, DECISIONS)
    path.rename(folder / "decisions-1-restored.jsonl")
    path.write_bytes(whole)
    assert store(home.lake, folder).rows == 1
    assert stored(home.lake)["request_id"].to_list() == [f"{n:032x}" for n in (1, 2, 3)]


def test_events_of_a_cleared_folder_are_stored_too(home: Home) -> None:
    folder = home.path / "household_events"
    for first, count in ((0, 5), (5, 3), (8, 6)):
        log = EventLog(folder)
        for n in range(first, first + count):
            log.append(event(n))
        ingest(home.lake, folder, contract=EVENTS, rows_of=event_rows, time_zone=ZONE)
        shutil.rmtree(folder)
    found = home.lake.scan(EVENTS).collect()["event_id"]
    assert sorted(found) == sorted(f"e{n}" for n in range(14))


def test_an_event_that_is_being_written_is_not_stored_yet(home: Home) -> None:
    folder = home.path / "household_events"
    EventLog(folder).append(event(1))
    done: list[Ingested] = []
    thread = threading.Thread(
        target=lambda: done.append(
            ingest(home.lake, folder, contract=EVENTS, rows_of=event_rows, time_zone=ZONE)
        )
    )
    with held(folder):
        (path,) = log_files(folder)
        end = path.stat().st_size
        write(folder, path.name, event(2))
        thread.start()
        thread.join(0.3)
        # The writer's sync failed.
        os.truncate(path, end)
    thread.join()
    assert done[0].rows == 1
    assert done[0].end_bytes == end


def test_two_ingestions_at_once_store_each_line_once(home: Home) -> None:
    folder = home.path / "decisions"
    for file in range(3):
        write(folder, f"decisions-{file}.jsonl", *(decision(10 * file + n) for n in range(10)))
    done: list[Ingested] = []
    threads = [
        threading.Thread(target=lambda: done.append(store(home.lake, folder, chunk_bytes=2_000)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(one.rows for one in done) == 30
    found = stored(home.lake)["request_id"]
    assert (len(found), found.n_unique()) == (30, 30)


CHILD = """
import sys
from pathlib import Path
from checks.contracts.decisions import DECISIONS
from models.serving.log_rows import decision_rows
from resources.lake import Lake
from resources.log_ingest import ingest
from resources.settings import Settings
settings = Settings()
chunks = 0
def rows_of(*args, **kwargs):
    global chunks
    made = decision_rows(*args, **kwargs)
    chunks += 1
    if chunks == 4:
        # Inside the transaction, with rows made and none of them written.
        print("midway", flush=True)
        sys.stdin.read()
    return made
ingest(Lake.of(settings), settings.decisions_dir, contract=DECISIONS, rows_of=rows_of,
       time_zone="America/New_York", chunk_bytes=2_000)
"""


@pytest.mark.slow
def test_a_killed_ingestion_leaves_each_line_once(
    home: Home,
) -> None:
    folder = home.settings.decisions_dir
    for file in range(4):
        name = f"decisions-{file}.jsonl"
        write(folder, name, *(decision(100 * file + n) for n in range(20)))
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD],
        cwd=PROJECT,
        env=os.environ | home.environment | {"PYTHONPATH": str(PROJECT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"midway\n"
    child.send_signal(signal.SIGKILL)
    child.communicate()
    before = len(stored(home.lake))
    assert 0 < before < 80
    assert store(home.lake, folder).rows == 80 - before
    found = stored(home.lake)["request_id"]
    assert (len(found), found.n_unique()) == (80, 80)
    assert all(
        ingested_bytes(folder, path.name) == path.stat().st_size for path in log_files(folder)
    )
