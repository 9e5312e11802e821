from __future__ import annotations

from pathlib import Path

import pytest

from resources.online_snapshot import (
    SnapshotDamagedError,
    SnapshotMissingError,
    current_version,
    pointer_stamp,
)
from resources.versioned_files import read_version, write_version

FILES = {"a.json": b"{}", "b.npy": b"\x00\x01"}


def test_what_was_written_is_read_back_whole(tmp_path: Path) -> None:
    version = write_version(tmp_path, FILES)
    assert read_version(tmp_path) == (version, FILES)
    assert current_version(tmp_path) == version


def test_the_version_is_the_content(tmp_path: Path) -> None:
    first = write_version(tmp_path, FILES)
    before = (tmp_path / first / "a.json").stat().st_ino
    assert write_version(tmp_path, dict(reversed(FILES.items()))) == first
    assert (tmp_path / first / "a.json").stat().st_ino == before
    assert write_version(tmp_path, {**FILES, "a.json": b"[]"}) != first
    assert write_version(tmp_path, {"c.json": b"{}", "b.npy": FILES["b.npy"]}) != first


def test_an_unpublished_version_changes_nothing_for_readers(tmp_path: Path) -> None:
    first = write_version(tmp_path, FILES)
    stamp = pointer_stamp(tmp_path)
    other = write_version(tmp_path, {"a.json": b"1"}, publish=False)
    assert pointer_stamp(tmp_path) == stamp
    assert read_version(tmp_path)[0] == first
    assert read_version(tmp_path, other)[1] == {"a.json": b"1"}


def test_damage_is_found_named_and_mended_by_writing_again(tmp_path: Path) -> None:
    version = write_version(tmp_path, FILES)
    (tmp_path / version / "b.npy").write_bytes(b"\x00")
    with pytest.raises(SnapshotDamagedError, match=r"b\.npy does not match"):
        read_version(tmp_path)
    (tmp_path / version / "a.json").unlink()
    with pytest.raises(SnapshotDamagedError, match="cannot be read"):
        read_version(tmp_path)
    assert write_version(tmp_path, FILES) == version
    assert read_version(tmp_path)[1] == FILES


def test_what_is_not_there_is_missing(tmp_path: Path) -> None:
    with pytest.raises(SnapshotMissingError):
        read_version(tmp_path)
    with pytest.raises(SnapshotMissingError, match="abc"):
        read_version(tmp_path, "abc")


@pytest.mark.parametrize("name", ["../a", "a/b", ".hidden", "manifest.json"])
def test_only_plain_names_are_files(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="plain names"):
        write_version(tmp_path, {name: b""})
    assert not any(tmp_path.iterdir())
