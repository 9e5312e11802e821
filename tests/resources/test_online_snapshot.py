"""Snapshots on disk: whole or refused, published atomically, equal content written once."""

from __future__ import annotations

import os
import threading
from datetime import date, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from models.serving.snapshot import ARRAY_NAMES, snapshot_arrays
from resources import version_folder
from resources.online_snapshot import (
    CURRENT,
    SnapshotDamagedError,
    SnapshotMissingError,
    current_version,
    open_snapshot,
    pointer_stamp,
    publish_snapshot,
    write_snapshot,
)

HOUSEHOLDS = ["000000000001", "000000000002"]


def write(root: Path, *, value: float = 1.0, publish: bool = True) -> str:
    candidates = pl.DataFrame(
        {"household_id": HOUSEHOLDS, "product_id": ["a", "b"], "source": "personal", "x": value}
    )
    popular = pl.DataFrame({"product_id": ["b"], "source": ["popular"], "x": [0.5]})
    arrays, names = snapshot_arrays(candidates, popular=popular, feature_names=["x"])
    manifest = write_snapshot(
        root,
        arrays,
        names,
        as_of=date(2018, 1, 1),
        known_at=datetime.fromisoformat("2018-01-01T05:00"),
        data_snapshot="42",
        feature_set_hash="abc",
        publish=publish,
    )
    return manifest.version


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    version = write(tmp_path / "online")
    snapshot = open_snapshot(tmp_path / "online")
    assert snapshot.manifest.version == version == current_version(tmp_path / "online")
    candidates = snapshot.lookup(HOUSEHOLDS[1])
    assert candidates is not None
    assert snapshot.product_ids(candidates) == ["b"]
    assert candidates.features.tolist() == [[1.0]]
    assert not candidates.features.flags.writeable


def test_equal_content_is_one_version_and_leaves_nothing_else(tmp_path: Path) -> None:
    first, second = write(tmp_path), write(tmp_path)
    assert first == second
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([CURRENT, first])


def test_publishing_is_a_choice_and_can_go_back(tmp_path: Path) -> None:
    first = write(tmp_path, value=1.0)
    stamp = pointer_stamp(tmp_path)
    second = write(tmp_path, value=2.0, publish=False)
    assert current_version(tmp_path) == first
    assert pointer_stamp(tmp_path) == stamp
    publish_snapshot(tmp_path, second)
    assert current_version(tmp_path) == second
    assert pointer_stamp(tmp_path) != stamp
    publish_snapshot(tmp_path, first)
    assert open_snapshot(tmp_path).manifest.version == first
    with pytest.raises(SnapshotMissingError, match="write it first"):
        publish_snapshot(tmp_path, "nothere")


def test_no_snapshot_names_the_remedy(tmp_path: Path) -> None:
    assert pointer_stamp(tmp_path) is None
    with pytest.raises(SnapshotMissingError, match=r"CURRENT does not exist; run `make demo`"):
        open_snapshot(tmp_path)
    with pytest.raises(SnapshotMissingError, match="snapshot gone is not in"):
        open_snapshot(tmp_path, "gone")


@pytest.mark.parametrize("name", [*(f"{n}.npy" for n in ARRAY_NAMES), "names.json"])
@pytest.mark.parametrize("fault", ["truncate", "flip", "remove"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str, fault: str) -> None:
    path = tmp_path / write(tmp_path) / name
    data = path.read_bytes()
    if fault == "truncate":
        path.write_bytes(data[:-1])
    elif fault == "flip":
        path.write_bytes(data[:-2] + bytes([data[-2] ^ 1]) + data[-1:])
    else:
        path.unlink()
    with pytest.raises(SnapshotDamagedError, match=name.split(".", maxsplit=1)[0]) as caught:
        open_snapshot(tmp_path)
    assert "materialise the serving assets" in str(caught.value)


def test_an_empty_array_file_and_a_torn_manifest_are_damage(tmp_path: Path) -> None:
    folder = tmp_path / write(tmp_path)
    (folder / "features.npy").write_bytes(b"")
    with pytest.raises(SnapshotDamagedError, match=r"features.npy is truncated or no array \(0 b"):
        open_snapshot(tmp_path)
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text()[:100])
    with pytest.raises(SnapshotDamagedError, match=r"manifest.json cannot be read"):
        open_snapshot(tmp_path)


def test_a_pickle_is_never_loaded(tmp_path: Path) -> None:
    folder = tmp_path / write(tmp_path)
    np.save(folder / "features.npy", np.array([{"code": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(SnapshotDamagedError, match=r"features.npy"):
        open_snapshot(tmp_path)


def test_a_manifest_of_another_snapshot_or_format_is_refused(tmp_path: Path) -> None:
    one, two = write(tmp_path, value=1.0), write(tmp_path, value=2.0)
    (tmp_path / one).rename(tmp_path / "aside")
    (tmp_path / two).rename(tmp_path / one)
    with pytest.raises(SnapshotDamagedError, match=f"describes another snapshot \\({two}\\)"):
        open_snapshot(tmp_path, one)
    manifest = tmp_path / one / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(SnapshotDamagedError, match="format 2, this code reads 1"):
        open_snapshot(tmp_path, one)


def test_writing_again_repairs_a_damaged_version(tmp_path: Path) -> None:
    version = write(tmp_path)
    (tmp_path / version / "features.npy").unlink()
    assert write(tmp_path) == version
    assert open_snapshot(tmp_path).lookup(HOUSEHOLDS[0]) is not None


def test_a_failed_write_leaves_the_old_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = write(tmp_path, value=1.0)

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(version_folder, "sync", full)
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path, value=2.0)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([CURRENT, first])
    assert open_snapshot(tmp_path).manifest.version == first


def test_what_a_killed_writer_left_is_cleared_away(tmp_path: Path) -> None:
    abandoned, fresh = tmp_path / ".writing-old", tmp_path / ".writing-new"
    abandoned.mkdir()
    (abandoned / "features.npy").write_bytes(b"half")
    fresh.mkdir()
    os.utime(abandoned, (0, 0))
    write(tmp_path)
    assert not abandoned.exists()
    assert fresh.exists()


def test_writers_of_the_same_snapshot_do_not_collide(tmp_path: Path) -> None:
    versions: list[str] = []
    threads = [
        threading.Thread(target=lambda: versions.append(write(tmp_path, value=3.0)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(versions) == 4
    assert len(set(versions)) == 1
    assert open_snapshot(tmp_path).manifest.version == versions[0]


def test_a_pointer_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / CURRENT).write_text("../elsewhere\n")
    with pytest.raises(SnapshotDamagedError, match="does not hold a version"):
        open_snapshot(tmp_path)
