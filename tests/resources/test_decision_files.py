"""Files of the decision log: whole lines, abandoned files, and what may go."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from resources.decision_files import (
    close_abandoned,
    ingested_bytes,
    log_files,
    mark_ingested,
    name_of,
    remove_old,
    whole_bytes,
)

DAY = 86_400.0


@pytest.mark.parametrize(
    ("content", "whole"),
    [
        (b"", 0),
        (b"torn", 0),
        (b"a\n", 2),
        (b"a\ntorn", 2),
        (b"a\nb\n", 4),
        (b"a\n" + b"x" * 200_000, 2),
        (b"x" * 200_000 + b"\n" + b"y" * 70_000, 200_001),
    ],
)
def test_whole_bytes(tmp_path: Path, content: bytes, whole: int) -> None:
    path = tmp_path / "a.jsonl.open"
    path.write_bytes(content)
    assert whole_bytes(path) == whole


def test_a_file_is_known_by_one_name_open_and_closed(tmp_path: Path) -> None:
    (tmp_path / "b.jsonl").write_text("x\n")
    (tmp_path / "a.jsonl.open").write_text("x\n")
    (tmp_path / "a.jsonl.ingested").write_text("2")
    assert [name_of(path) for path in log_files(tmp_path)] == ["a.jsonl", "b.jsonl"]


def test_abandoned_files_are_closed_without_their_torn_line(tmp_path: Path) -> None:
    (tmp_path / "dead.jsonl.open").write_bytes(b"a\nb\nto")
    (tmp_path / "empty.jsonl.open").write_bytes(b"")
    alive = tmp_path / "alive.jsonl.open"
    with alive.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(b"a\n")
        closed = close_abandoned(tmp_path)
    assert [path.name for path in closed] == ["dead.jsonl", "empty.jsonl"]
    assert (tmp_path / "dead.jsonl").read_bytes() == b"a\nb\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["alive.jsonl.open", "dead.jsonl"]


def test_only_old_and_ingested_files_go(tmp_path: Path) -> None:
    now = 100 * DAY
    for name, age, ingested in (
        ("old", 91, 4),
        ("half", 91, 2),
        ("unread", 91, None),
        ("young", 89, 4),
    ):
        path = tmp_path / f"{name}.jsonl"
        path.write_bytes(b"a\nb\n")
        os.utime(path, (now - age * DAY, now - age * DAY))
        if ingested is not None:
            mark_ingested(tmp_path, path.name, ingested)
    assert remove_old(tmp_path, keep_days=90, now=now) == ["old.jsonl"]
    assert sorted(p.name for p in tmp_path.glob("*.jsonl")) == [
        "half.jsonl",
        "unread.jsonl",
        "young.jsonl",
    ]
    assert not (tmp_path / "old.jsonl.ingested").exists()
    assert ingested_bytes(tmp_path, "half.jsonl") == 2
    assert ingested_bytes(tmp_path, "unread.jsonl") == 0


def test_a_file_that_is_closed_while_it_is_listed_is_found_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.jsonl.open").write_bytes(b"{}\n")
    real = Path.glob

    def closing(folder: Path, pattern: str) -> list[Path]:
        found = list(real(folder, pattern))
        for path in real(folder, "*.open"):
            path.rename(path.with_suffix(""))
        return found

    monkeypatch.setattr(Path, "glob", closing)
    assert log_files(tmp_path) == [tmp_path / "a.jsonl"]
