"""A child ends with its parent, even when the parent is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from bentos import child

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="prctl is Linux")

PROGRAM = str(Path(child.__file__))
PARENT = """
import os, subprocess, sys
process = subprocess.Popen(
    [sys.executable, sys.argv[1], str(os.getpid()), "sleep", "60"], start_new_session=True
)
print(process.pid, flush=True)
process.wait()
"""


def ended(pid: int, within_seconds: float = 10) -> bool:
    deadline = time.monotonic() + within_seconds
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.02)
    return False


def becomes(pid: int, name: str, within_seconds: float = 10) -> bool:
    deadline = time.monotonic() + within_seconds
    while time.monotonic() < deadline:
        if psutil.Process(pid).name() == name:
            return True
        time.sleep(0.02)
    return False


def test_a_killed_parent_takes_its_child_along() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, PROGRAM], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    try:
        assert becomes(pid, "sleep")
        parent.kill()
        parent.wait()
        assert ended(pid)
    finally:
        if psutil.pid_exists(pid):
            os.kill(pid, signal.SIGKILL)
        parent.stdout.close()


def test_a_parent_that_is_gone_already_stops_the_start() -> None:
    done = subprocess.run(
        [sys.executable, PROGRAM, "1", "echo", "started"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "started" not in done.stdout
    assert "parent process 1 ended" in done.stderr
