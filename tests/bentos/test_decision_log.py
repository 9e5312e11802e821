"""The decision log: whole lines or none, rotated, and mended by itself."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import orjson
import pytest

from bentos.decision_log import DecisionLog, DecisionLogError, LogLimits
from resources.decision_files import log_files

PROJECT = Path(__file__).parents[2]


@contextmanager
def full_disk(bytes_left: int) -> Iterator[None]:
    """The kernel takes this many bytes of a file and no more, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_left, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)


def lines(folder: Path) -> list[dict]:
    files = log_files(folder)
    return [orjson.loads(line) for file in files for line in file.read_bytes().splitlines()]


def test_lines_are_appended_at_once(tmp_path: Path) -> None:
    log = DecisionLog(tmp_path / "decisions")
    for i in range(3):
        log.append({"i": i, "scores": np.array([0.1, i], dtype=np.float32)})
        assert [line["i"] for line in lines(tmp_path / "decisions")] == list(range(i + 1))
    assert log.path is not None
    assert log.path.name.endswith(".jsonl.open")
    log.close()
    (closed,) = log_files(tmp_path / "decisions")
    assert closed.name.endswith(".jsonl")


def test_two_logs_never_share_a_file(tmp_path: Path) -> None:
    one, two = DecisionLog(tmp_path), DecisionLog(tmp_path)
    one.append({"log": 1})
    two.append({"log": 2})
    assert one.path != two.path


def test_a_line_that_does_not_fit_leaves_nothing_behind(tmp_path: Path) -> None:
    log = DecisionLog(tmp_path)
    log.append({"n": 1})
    assert log.path is not None
    whole = log.path.read_bytes()
    with (
        full_disk(len(whole) + 4),
        pytest.raises(DecisionLogError, match=r"only 4 of \d+ bytes fitted.*free disk space"),
    ):
        log.append({"n": 2})
    assert log.path.read_bytes() == whole
    log.append({"n": 3})
    assert [line["n"] for line in lines(tmp_path)] == [1, 3]


def test_a_full_disk_is_noted_and_tried_again(tmp_path: Path) -> None:
    log = DecisionLog(tmp_path)
    log.append({"n": 1})
    with full_disk(9):
        with pytest.raises(DecisionLogError):
            log.append({"n": 2})
        log.tend()
        assert log.problem is not None
        assert "free disk space" in log.problem
    log.tend()
    assert log.problem is None
    log.append({"n": 3})
    assert [line["n"] for line in lines(tmp_path)] == [1, 3]
    assert [p for p in tmp_path.iterdir() if p.name.startswith(".probe")] == []


def test_files_are_closed_by_size_and_by_age(tmp_path: Path) -> None:
    log = DecisionLog(tmp_path, LogLimits(bytes=20))
    for n in range(6):
        log.append({"n": n})
    assert [len(f.read_bytes().splitlines()) for f in log_files(tmp_path)] == [3, 3]
    assert [line["n"] for line in lines(tmp_path)] == list(range(6))
    old = DecisionLog(tmp_path / "old", LogLimits(seconds=0.0))
    old.append({"n": 0})
    old.tend()
    old.append({"n": 1})
    assert [f.name.endswith(".open") for f in log_files(tmp_path / "old")] == [False, True]


def test_a_removed_file_is_not_written_to_for_ever(tmp_path: Path) -> None:
    log = DecisionLog(tmp_path)
    log.append({"n": 1})
    assert log.path is not None
    log.path.unlink()
    log.tend()
    log.append({"n": 2})
    assert [line["n"] for line in lines(tmp_path)] == [2]


def test_two_threads_never_share_a_line(tmp_path: Path) -> None:
    log = DecisionLog(tmp_path, LogLimits(bytes=5_000))

    def write(thread: int) -> None:
        for n in range(200):
            log.append({"thread": thread, "n": n, "text": "x" * 50})

    threads = [threading.Thread(target=write, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = lines(tmp_path)
    assert len({(line["thread"], line["n"]) for line in found}) == len(found) == 800


def test_a_killed_writer_loses_nothing_and_its_file_is_closed_by_another(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from bentos.decision_log import DecisionLog\n"
        "log = DecisionLog(Path(sys.argv[1]))\n"
        "for n in range(10**9):\n"
        "    log.append({'n': n}); print(n, flush=True)"
    )
    writer = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, cwd=PROJECT
    )
    assert writer.stdout is not None
    for _ in range(50):
        last = int(writer.stdout.readline())
    os.kill(writer.pid, signal.SIGKILL)
    last = max([last, *map(int, writer.stdout.read().split(b"\n")[:-1])])
    writer.wait()
    log = DecisionLog(tmp_path)
    log.tend()
    assert [f.name.endswith(".jsonl") for f in log_files(tmp_path)] == [True]
    # All that was told, and at most the one line that was on its way.
    written = [line["n"] for line in lines(tmp_path)]
    assert written == list(range(len(written)))
    assert last + 1 <= len(written) <= last + 2
