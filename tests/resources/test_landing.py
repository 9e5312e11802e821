"""Landing: what lies in the folders, what is misplaced, and files that cannot be read."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from checks.drops import DropError
from resources import landing
from tests.tiny_retailer import drops_of_week, write_drop, write_drops

WEEK = date(2017, 1, 2)


def put(root: Path, name: str = "drop", **columns: list) -> Path:
    frame = pl.DataFrame(columns) if columns else drops_of_week(WEEK)["basket_lines"]
    return write_drop(root, table="basket_lines", week=WEEK, frame=frame, name=name)


def drop(root: Path) -> landing.Drop:
    return landing.drop(root, "basket_lines", WEEK)


def test_a_drop_is_its_folders_files_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("b", "a", "c"):
        put(tmp_path, name)
    assert [f.stem for f in drop(tmp_path).files] == ["a", "b", "c"]
    assert drop(tmp_path).size == sum(f.stat().st_size for f in drop(tmp_path).files)


def test_no_folder_is_an_empty_drop(tmp_path: Path) -> None:
    assert drop(tmp_path).files == ()
    assert drop(tmp_path).version == "empty"
    assert landing.weeks_dropped(tmp_path, "basket_lines") == []


def test_files_still_being_written_are_left_alone(tmp_path: Path) -> None:
    whole = put(tmp_path)
    for name in (".drop.parquet", "x.parquet.part", "x.part", "x.csv.tmp", "readme.txt"):
        (whole.parent / name).write_bytes(b"half")
    (whole.parent / "folder.csv").mkdir()
    assert drop(tmp_path).files == (whole,)


def test_the_version_follows_content_and_names(tmp_path: Path) -> None:
    first = put(tmp_path, a=[1])
    one = drop(tmp_path).version
    os.utime(first, (1, 1))
    assert drop(tmp_path).version == one, "a touched file holds the same"
    put(tmp_path, a=[2])
    other = drop(tmp_path).version
    put(tmp_path, "later", a=[3])
    both = drop(tmp_path).version
    (first.parent / "later.parquet").rename(first.parent / "renamed.parquet")
    renamed = drop(tmp_path).version
    assert len({one, other, both, renamed}) == 4
    put(tmp_path, a=[1])
    (first.parent / "renamed.parquet").unlink()
    assert drop(tmp_path).version == one


def test_weeks_dropped_are_those_with_files(tmp_path: Path) -> None:
    write_drops(tmp_path, weeks=3, tables=["basket_lines"])
    (tmp_path / "basket_lines" / "2017-02-06").mkdir()
    (tmp_path / "basket_lines" / "notes").mkdir()
    weeks = landing.weeks_dropped(tmp_path, "basket_lines")
    assert weeks == [date(2016, 12, 26), date(2017, 1, 2), date(2017, 1, 9)]


def test_what_is_misplaced_is_named_with_its_remedy(tmp_path: Path) -> None:
    write_drops(tmp_path, weeks=1)
    assert landing.misplaced(tmp_path) == []
    (tmp_path / "basket_line").mkdir()
    (tmp_path / "stores" / "2017-01-03").mkdir()
    (tmp_path / "stores" / "january").mkdir()
    (tmp_path / "stores" / "loose.csv").touch()
    (tmp_path / ".hidden").mkdir()
    found = landing.misplaced(tmp_path)
    assert found[0].startswith("basket_line: no such table; the tables are basket_lines, ")
    assert found[1:] == [
        "stores/2017-01-03: a Tuesday; its week's folder is 2017-01-02",
        "stores/january: not a date; folders are Mondays, e.g. 2017-01-02",
        "stores/loose.csv: not in a week's folder, e.g. stores/2017-01-02/",
    ]


def test_nothing_landed_yet_is_no_fault(tmp_path: Path) -> None:
    assert landing.misplaced(tmp_path / "nowhere") == []


def read(file: Path, root: Path):
    return landing.read(file, landing=root, week=WEEK)


def test_parquet_keeps_its_types_and_csv_is_text(tmp_path: Path) -> None:
    parquet = read(put(tmp_path, a=[1]), tmp_path)
    assert (parquet.name, parquet.textual) == ("basket_lines/2017-01-02/drop.parquet", False)
    assert parquet.rows.schema == {"a": pl.Int64}
    frame = pl.DataFrame({"a": ["01", "NA", "", "x"]})
    csv = write_drop(tmp_path, table="stores", week=WEEK, frame=frame, suffix="csv")
    text = read(csv, tmp_path)
    assert text.textual
    assert text.rows["a"].to_list() == ["01", None, None, "x"]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def cut_to_the_head(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:10])


def spoil_the_middle(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[20:-400] = b"\xff" * (len(content) - 420)
    path.write_bytes(bytes(content))


def no_parquet(path: Path) -> None:
    path.write_text("household_id,quantity\n1,2\n", encoding="utf-8")


@pytest.mark.parametrize("spoil", [cut, cut_to_the_head, spoil_the_middle, no_parquet])
def test_an_unreadable_parquet_file_is_named_with_its_remedy(
    tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    file = put(tmp_path)
    spoil(file)
    with pytest.raises(DropError) as error:
        read(file, tmp_path)
    assert "basket_lines/2017-01-02/drop.parquet: not a readable Parquet file" in str(error.value)
    assert "send it again, whole, under the same name" in str(error.value)
    assert error.value.weeks == [WEEK]


def test_a_file_of_0_bytes_is_named_with_its_remedy(tmp_path: Path) -> None:
    file = put(tmp_path)
    file.write_bytes(b"")
    with pytest.raises(DropError, match=r"drop.parquet: the file is empty \(0 bytes\). Send it"):
        read(file, tmp_path)


@pytest.mark.parametrize(
    "content",
    [b"a,b\n1,2\n3,4,5,6\n", b"a,b\n\xff\xfe\x00,\xd8\n", b"\n\n"],
    ids=["ragged", "not utf-8", "blank"],
)
def test_a_malformed_csv_is_named_with_its_remedy(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "stores" / str(WEEK) / "drop.csv"
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    with pytest.raises(DropError, match=r"stores/2017-01-02/drop.csv: not a readable CSV file"):
        read(file, tmp_path)
