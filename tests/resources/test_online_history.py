"""Histories on disk: the same facts again, damage refused by name, the oldest removed."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from resources.online_history import KEPT, HistoryManifest, open_history, write_history
from resources.online_snapshot import SnapshotDamagedError, SnapshotMissingError
from tests.models.ranking.tiny_week import HOUSEHOLDS, INSTANT, STRANGER, week


def write(root: Path, number: int = 0) -> HistoryManifest:
    return write_history(
        root,
        week().facts,
        known_at=INSTANT + timedelta(days=number),
        data_snapshot="1",
        feature_set_hash="f",
    )


def test_the_same_facts_again(tmp_path: Path) -> None:
    manifest = write(tmp_path)
    opened = open_history(tmp_path)
    assert opened.manifest == manifest
    for name, table in week().facts.tables.items():
        assert opened.facts.tables[name].equals(table), name
    for household in HOUSEHOLDS:
        mine = week().lines.filter(week().lines["household_id"] == household)
        order = ["sold_at", "basket_id", "product_id", "quantity", "sales_value"]
        assert opened.facts.lines_of(household).sort(order).equals(mine.sort(order))
    assert opened.facts.lines_of(STRANGER).is_empty()
    assert (manifest.households, manifest.lines) == (len(HOUSEHOLDS), week().lines.height)
    assert (opened.facts.vectors != week().facts.vectors).nnz == 0


def test_equal_content_is_written_once(tmp_path: Path) -> None:
    first = write(tmp_path)
    stamp = (tmp_path / first.version / "sales_value.npy").stat()
    assert write(tmp_path).version == first.version
    again = (tmp_path / first.version / "sales_value.npy").stat()
    assert (again.st_ino, again.st_mtime_ns) == (stamp.st_ino, stamp.st_mtime_ns)


def test_equal_rows_of_another_lake_snapshot_are_the_same_history(tmp_path: Path) -> None:
    first = write(tmp_path)
    again = write_history(
        tmp_path,
        week().facts,
        known_at=INSTANT,
        data_snapshot="2",
        feature_set_hash="f",
    )
    assert again.version == first.version
    assert open_history(tmp_path).manifest.data_snapshot == "1"


def test_a_history_that_a_snapshot_names_stays_however_old(tmp_path: Path) -> None:
    named = write(tmp_path).version
    for number in range(1, KEPT + 3):
        write_history(
            tmp_path,
            week().facts,
            known_at=INSTANT + timedelta(days=number),
            data_snapshot="1",
            feature_set_hash="f",
            named=[named],
        )
    assert open_history(tmp_path, named).manifest.version == named
    assert len([p for p in tmp_path.iterdir() if p.is_dir()]) == KEPT + 1
    write(tmp_path, number=KEPT + 3)
    with pytest.raises(SnapshotMissingError, match="online_snapshot"):
        open_history(tmp_path, named)


def test_a_changed_file_is_refused_by_name(tmp_path: Path) -> None:
    manifest = write(tmp_path)
    path = tmp_path / manifest.version / "sales_value.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(SnapshotDamagedError, match=r"sales_value.npy does not match its digest"):
        open_history(tmp_path)
    path.unlink()
    with pytest.raises(SnapshotDamagedError, match=r"sales_value.npy"):
        open_history(tmp_path)
    # Written again, it is whole again.
    assert write(tmp_path).version == manifest.version
    open_history(tmp_path)


def test_the_oldest_go_and_the_current_stays(tmp_path: Path) -> None:
    with pytest.raises(SnapshotMissingError):
        open_history(tmp_path)
    versions = [write(tmp_path, number).version for number in range(KEPT + 2)]
    left = {path.name for path in tmp_path.iterdir() if path.is_dir()}
    assert len(left) == KEPT
    assert versions[-1] in left
    assert open_history(tmp_path).manifest.version == versions[-1]
