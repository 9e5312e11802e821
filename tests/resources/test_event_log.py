"""The event log: written once whoever asks, kept when a writer dies, followed by every process."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from resources.decision_files import log_files, mark_ingested
from resources.event_log import EventConflictError, EventLog, EventLogError
from resources.settings import PROJECT


def event(n: int, digest: str = "d") -> dict[str, Any]:
    return {"event_id": f"e{n}", "digest": digest, "household_id": "h", "lines": [{"n": n}]}


def logged(folder: Path) -> list[str]:
    return [
        orjson.loads(line)["event_id"]
        for path in log_files(folder)
        for line in path.read_bytes().splitlines()
    ]


def test_a_repeated_event_is_written_once_in_every_process(tmp_path: Path) -> None:
    one, two = EventLog(tmp_path), EventLog(tmp_path)
    assert not one.append(event(1)).repeated
    again = two.append(event(1) | {"received_at": "later"})
    assert again.repeated
    assert "received_at" not in again.record
    assert EventLog(tmp_path).append(event(1)).repeated
    with pytest.raises(EventConflictError, match="another content"):
        two.append(event(1, digest="other"))
    assert logged(tmp_path) == ["e1"]


def test_each_process_reads_what_the_others_wrote_once(tmp_path: Path) -> None:
    one, two = EventLog(tmp_path), EventLog(tmp_path)
    one.append(event(1))
    two.append(event(2))
    one.append(event(3))
    assert [e["event_id"] for e in one.news()] == ["e2"]
    assert [e["event_id"] for e in two.news()] == ["e1", "e3"]
    assert one.news() == two.news() == []
    assert [e["lines"] for e in EventLog(tmp_path).news()] == [[{"n": n}] for n in (1, 2, 3)]


def test_many_writers_lose_nothing(tmp_path: Path) -> None:
    def write(first: int) -> None:
        log = EventLog(tmp_path, sync=False, file_bytes=500)
        for n in range(first, first + 40):
            # Half of the events come to two writers.
            log.append(event(n))

    threads = [threading.Thread(target=write, args=(first,)) for first in (0, 20, 40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(logged(tmp_path)) == sorted(f"e{n}" for n in range(80))
    names = [path.name for path in log_files(tmp_path)]
    assert len(names) > 5
    assert [name.endswith(".open") for name in names] == [False] * (len(names) - 1) + [True]
    assert len(EventLog(tmp_path).news()) == 80


def test_a_torn_line_was_never_acknowledged_and_goes(tmp_path: Path) -> None:
    EventLog(tmp_path).append(event(1))
    (path,) = log_files(tmp_path)
    with path.open("ab") as file:
        file.write(b'{"event_id":"e2","dig')
    log = EventLog(tmp_path)
    assert [e["event_id"] for e in log.news()] == ["e1"]
    assert not log.append(event(2)).repeated
    assert logged(tmp_path) == ["e1", "e2"]


def test_an_id_is_forgotten_after_its_time(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    for n, day in enumerate(("01", "10", "14")):
        log.append(event(n) | {"received_at": f"2018-01-{day}T00:00:00"})
    assert log.append(event(0)).repeated
    log.append(event(3) | {"received_at": "2018-01-16T00:00:00"})
    assert log.append(event(1)).repeated
    assert not log.append(event(0) | {"received_at": "2018-01-16T00:00:00"}).repeated


def test_what_cannot_be_written_is_not_acknowledged(tmp_path: Path) -> None:
    folder = tmp_path / "events"
    folder.write_text("a file where the folder should be")
    with pytest.raises(EventLogError, match="cannot be written"):
        EventLog(folder).append(event(1))


def failing_once(error: OSError, *, meanwhile: Callable[[], object]) -> Callable[[int], None]:
    failures = [error]

    def fdatasync(_: int) -> None:
        if failures:
            meanwhile()
            raise failures.pop()

    return fdatasync


def test_a_line_that_is_taken_back_was_seen_by_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = EventLog(tmp_path), EventLog(tmp_path)
    one.append(event(1))
    seen: list[str] = []
    reader = threading.Thread(target=lambda: seen.extend(e["event_id"] for e in two.news()))

    def read_meanwhile() -> None:
        reader.start()
        reader.join(0.2)

    with monkeypatch.context() as patched:
        error = OSError(errno.EIO, "no disk")
        patched.setattr(os, "fdatasync", failing_once(error, meanwhile=read_meanwhile))
        with pytest.raises(EventLogError, match="no disk"):
            one.append(event(2) | {"lines": ["x" * 500]})
    reader.join()
    assert seen in ([], ["e1"])
    one.append(event(3))
    assert not two.append(event(4)).repeated
    assert not two.append(event(2)).repeated
    assert logged(tmp_path) == ["e1", "e3", "e4", "e2"]
    assert b"\0" not in log_files(tmp_path)[0].read_bytes()


def test_a_file_that_was_cut_is_not_filled_with_zeros(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    log.append(event(1))
    log.append(event(2))
    (path,) = log_files(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(EventLogError, match="somebody cut it"):
        log.append(event(3))
    path.write_bytes(whole)
    assert not log.append(event(3)).repeated
    assert logged(tmp_path) == ["e1", "e2", "e3"]


def test_what_is_repeated_or_read_is_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its writer may have been killed between writing and syncing."""
    EventLog(tmp_path, sync=False).append(event(1))
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    assert EventLog(tmp_path).append(event(1)).repeated
    assert len(synced) == 1
    EventLog(tmp_path).news()
    assert len(synced) == 2


def test_no_file_is_named_as_another_was(tmp_path: Path) -> None:
    names = set()
    for n in range(2):
        EventLog(tmp_path / "events").append(event(n))
        names |= {path.name for path in log_files(tmp_path / "events")}
        shutil.rmtree(tmp_path / "events")
    assert len(names) == 2


def test_a_file_of_the_old_name_is_closed_and_followed(tmp_path: Path) -> None:
    (tmp_path / "events-00000001.jsonl.open").write_bytes(orjson.dumps(event(1)) + b"\n")
    log = EventLog(tmp_path)
    log.append(event(2))
    names = [path.name for path in log_files(tmp_path)]
    assert names[0] == "events-00000001.jsonl"
    assert names[1].startswith("events-00000002-")
    assert logged(tmp_path) == ["e1", "e2"]


def test_a_bad_line_is_skipped_and_named(tmp_path: Path) -> None:
    EventLog(tmp_path).append(event(1))
    (path,) = log_files(tmp_path)
    with path.open("ab") as file:
        file.write(b"\0\0\n[]\n{}\n" + orjson.dumps(event(2) | {"received_at": "now"}) + b"\n")
        file.write(orjson.dumps(event(3)) + b"\n")
    log = EventLog(tmp_path)
    assert [e["event_id"] for e in log.news()] == ["e1", "e3"]
    assert log.news() == []
    assert (log.bad_lines, log.events) == (4, 2)
    assert log.problem is not None
    assert path.name.removesuffix(".open") in log.problem
    assert log.append(event(3)).repeated
    assert not log.append(event(4)).repeated


def test_an_old_file_is_closed_and_goes_when_it_is_ingested(tmp_path: Path) -> None:
    EventLog(tmp_path / "none").tend(keep_days=0)
    log = EventLog(tmp_path, file_days=0)
    log.append(event(1))
    assert EventLog(tmp_path).tend(keep_days=-1) == []
    assert log_files(tmp_path)[0].name.endswith(".open")
    assert log.tend(keep_days=-1) == []
    (path,) = log_files(tmp_path)
    assert path.name.endswith(".jsonl")
    mark_ingested(tmp_path, path.name, path.stat().st_size)
    assert log.tend(keep_days=1) == []
    assert log.tend(keep_days=-1) == [path.name]
    log.append(event(2))
    assert logged(tmp_path) == ["e2"]


CHILD = """
import sys
from pathlib import Path
from resources.event_log import EventLog
log = EventLog(Path(sys.argv[1]))
for n in range(100_000):
    log.append({"event_id": f"e{n}", "digest": "d", "household_id": "h", "lines": ["x" * 500]})
    print(n, flush=True)
"""


@pytest.mark.slow
def test_a_killed_writer_loses_no_acknowledged_event(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path)], cwd=PROJECT, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    for _ in range(50):
        child.stdout.readline()
    os.kill(child.pid, signal.SIGKILL)
    acknowledged = 50 + len(child.stdout.read().splitlines())
    child.wait()
    child.stdout.close()
    found = [e["event_id"] for e in EventLog(tmp_path).news()]
    assert found[:acknowledged] == [f"e{n}" for n in range(acknowledged)]
    assert len(found) <= acknowledged + 1
    log = EventLog(tmp_path)
    assert log.append({"event_id": "e0", "digest": "d"}).repeated
    assert not log.append({"event_id": "after", "digest": "d"}).repeated
