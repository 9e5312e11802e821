"""The decision log: whole lines or none."""

from __future__ import annotations

import resource
from pathlib import Path

import numpy as np
import orjson
import pytest

from bentos.decision_log import DecisionLog, DecisionLogError


def test_lines_are_appended_at_once(tmp_path: Path) -> None:
    log = DecisionLog(tmp_path / "decisions")
    for i in range(3):
        log.append({"i": i, "scores": np.array([0.1, i], dtype=np.float32)})
        assert log.path is not None
        lines = log.path.read_bytes().splitlines()
        assert [orjson.loads(line)["i"] for line in lines] == list(range(i + 1))
    log.close()


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
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The kernel takes the first 4 bytes of the next line and no more, as on a full disk.
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 4, hard))
    try:
        with pytest.raises(DecisionLogError, match=r"only 4 of \d+ bytes fitted.*free disk space"):
            log.append({"n": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert log.path.read_bytes() == whole
    log.append({"n": 3})
    assert [orjson.loads(x)["n"] for x in log.path.read_bytes().splitlines()] == [1, 3]
