"""The lake: whole partitions or nothing, old snapshots, and many processes at once."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path

import pandera.polars as pa
import polars as pl
import pytest
from filelock import FileLock

from checks.contracts.contract import Contract, column
from checks.schema_evolution import BreakingSchemaChangeError
from models.calendar import ONE_WEEK
from resources import lake_database
from resources.content_version import PartitionVersion, contents, versions
from resources.dbt_guard import lock_of
from resources.lake import Lake, Staged, sql_type, stage
from tests.resources.postgres_server import postgres_server

WEEKS = [date(2017, 1, 2) + i * ONE_WEEK for i in range(4)]
# More rows than DuckLake keeps inside its catalog, so that they become files.
ROWS = 40


class Sales(pa.DataFrameModel):
    """Units per store and week."""

    week_start: pl.Date = column("Week")
    store_id: str = column("Store")
    units: pl.Int64 = column("Units")


class Rate(pa.DataFrameModel):
    """One number."""

    rate: float = column("Rate")


class Everything(pa.DataFrameModel):
    """A column of every type that the lake stores."""

    week_start: pl.Date = column("Week")
    text: str = column("Text", nullable=True)
    tiny: pl.Int8 = column("Int8", nullable=True)
    small: pl.Int16 = column("Int16", nullable=True)
    number: pl.Int32 = column("Int32", nullable=True)
    large: pl.Int64 = column("Int64", nullable=True)
    count: pl.UInt32 = column("UInt32", nullable=True)
    half: pl.Float32 = column("Float32", nullable=True)
    whole: pl.Float64 = column("Float64", nullable=True)
    truth: pl.Boolean = column("Boolean", nullable=True)
    moment: pl.Datetime = column("Datetime", nullable=True)
    raw: pl.Binary = column("Binary", nullable=True)
    names: pl.List(pl.String) = column("Names", nullable=True)
    halves: pl.List(pl.Float32) = column("Float32s", nullable=True)
    wholes: pl.List(pl.Float64) = column("Float64s", nullable=True)


EVERYTHING = Contract("shop.everything", Everything, "team:test")
SALES = Contract("shop.sales", Sales, "team:test")
RATES = Contract("shop.rates", Rate, "team:test", partition_column=None)


def sales(week: date, *, units: int = 1, rows: int = ROWS) -> pl.DataFrame:
    return pl.DataFrame(
        {"week_start": [week] * rows, "store_id": [str(i) for i in range(rows)], "units": units},
        schema={"week_start": pl.Date, "store_id": pl.String, "units": pl.Int64},
    )


def replace(
    lake: Lake, *frames: pl.DataFrame, weeks: list[date], contract: Contract = SALES
) -> list[PartitionVersion]:
    with lake.write() as connection:
        return lake.replace(connection, contract, frames, weeks=weeks)


def units_by_week(lake: Lake, snapshot: int | None = None) -> dict[date, tuple[int, int]]:
    """Week to its rows and units."""
    found = (
        lake.scan(SALES, snapshot=snapshot).group_by("week_start").agg(pl.len(), pl.sum("units"))
    )
    return {week: (rows, units) for week, rows, units in found.collect().rows()}


# -- one process ---------------------------------------------------------------------------------


def test_what_is_written_is_read_back(lake: Lake) -> None:
    frame = sales(WEEKS[0])
    (version,) = replace(lake, frame, weeks=WEEKS[:1])
    assert (version.week, version.rows) == (WEEKS[0], ROWS)
    assert lake.scan(SALES).collect().sort("store_id").equals(frame.sort("store_id"))
    assert lake.exists("shop.sales")
    assert lake.table_bytes("shop.sales") > 0


def test_a_table_that_does_not_exist_is_empty(lake: Lake) -> None:
    frame = lake.scan(SALES).collect()
    assert frame.is_empty()
    assert frame.schema == SALES.empty().schema
    assert not lake.exists("shop.sales")


def test_replacing_a_week_leaves_the_others(lake: Lake) -> None:
    replace(lake, *[sales(w) for w in WEEKS], weeks=WEEKS)
    replace(lake, sales(WEEKS[1], units=5, rows=7), weeks=[WEEKS[1]])
    assert units_by_week(lake) == {
        WEEKS[0]: (ROWS, ROWS),
        WEEKS[1]: (7, 35),
        WEEKS[2]: (ROWS, ROWS),
        WEEKS[3]: (ROWS, ROWS),
    }


def test_a_week_without_rows_is_emptied_and_has_a_version(lake: Lake) -> None:
    replace(lake, sales(WEEKS[0]), sales(WEEKS[1]), weeks=WEEKS[:2])
    first, second = replace(lake, sales(WEEKS[1]), weeks=WEEKS[:2])
    assert (first.week, first.rows, first.data_version) == (WEEKS[0], 0, "empty")
    assert second.rows == ROWS
    assert set(units_by_week(lake)) == {WEEKS[1]}


def test_no_weeks_replace_nothing(lake: Lake) -> None:
    replace(lake, sales(WEEKS[0]), weeks=WEEKS[:1])
    assert replace(lake, weeks=[]) == []
    assert units_by_week(lake) == {WEEKS[0]: (ROWS, ROWS)}


def test_a_table_without_weeks_is_replaced_whole(lake: Lake) -> None:
    for rate in (0.5, 0.7):
        with lake.write() as connection:
            (version,) = lake.replace(
                connection, RATES, [pl.DataFrame({"rate": [rate]})], weeks=None
            )
        assert (version.week, version.rows) == (None, 1)
    assert lake.scan(RATES).collect()["rate"].to_list() == [0.7]


def test_an_emptied_table_without_weeks_keeps_a_version(lake: Lake) -> None:
    with lake.write() as connection:
        (version,) = lake.replace(connection, RATES, [RATES.empty()], weeks=None)
    assert (version.week, version.rows) == (None, 0)


def test_staged_files_and_frames_give_the_same_rows(lake: Lake, tmp_path: Path) -> None:
    staged = stage(sales(WEEKS[0]), SALES, tmp_path / "0000")
    (from_frame,) = replace(lake, sales(WEEKS[0]), weeks=WEEKS[:1])
    with lake.write() as connection:
        (from_file,) = lake.replace(connection, SALES, [staged], weeks=WEEKS[:1])
    assert from_file == from_frame
    assert not staged.folder.exists()


def everything() -> pl.DataFrame:
    """Rows of nulls, of values, and of what is nearly nothing."""
    schema = {c.name: c.dtype for c in EVERYTHING.columns}
    values = {
        "text": ["", "a", "Ä"],
        "half": [-0.0, float("nan"), 0.1],
        "whole": [-0.0, float("nan"), 0.1],
        "truth": [False, True, False],
        "moment": [datetime.fromisoformat("2017-01-02T03:04:05.678901")] * 3,
        "raw": [b"", b"\x00", b"a"],
        "names": [[], [""], ["a", None]],
        "halves": [[], [0.1], [float("nan"), None]],
        "wholes": [[], [0.1], [float("nan"), None]],
    }
    rows = {n: [None, *values.get(n, [0, 1, 2])] for n in schema}
    return pl.DataFrame(rows | {"week_start": [WEEKS[0]] * 2 + [WEEKS[1]] * 2}, schema=schema)


@pytest.mark.parametrize("by", ["frame", "files", "rows"])
def test_the_version_is_that_of_what_is_read_back(lake: Lake, tmp_path: Path, by: str) -> None:
    frame = everything()
    part = stage(frame, EVERYTHING, tmp_path / "0000") if by == "files" else frame
    with lake.write() as connection:
        if by == "rows":
            # As into an object store, where no file can be moved.
            lake.ensure(connection, EVERYTHING)
            lake._insert(connection, EVERYTHING, [frame])
            said = versions([contents(frame, EVERYTHING)], WEEKS[:2])
        else:
            said = lake.replace(connection, EVERYTHING, [part], weeks=WEEKS[:2])
    held = lake.scan(EVERYTHING).collect()
    assert said == versions([contents(held, EVERYTHING)], WEEKS[:2])
    assert [v.rows for v in said] == [2, 2]


def test_whether_a_table_was_written_since(lake: Lake) -> None:
    replace(lake, sales(WEEKS[0]), weeks=WEEKS[:1])
    before = lake.snapshot_id()
    with lake.write() as connection:
        lake.replace(connection, RATES, [pl.DataFrame({"rate": [0.5]})], weeks=None)
    with lake.read() as connection:
        assert not lake.written_since(connection, "shop.sales", before)
        assert lake.written_since(connection, "shop.rates", before)
        assert not lake.written_since(connection, "shop.nothing", before)
    replace(lake, sales(WEEKS[1], rows=1), weeks=[WEEKS[1]])
    with lake.write() as connection:
        assert lake.written_since(connection, "shop.sales", before)
        # An emptied week is a change, too.
        between = lake.snapshot_id()
    replace(lake, weeks=[WEEKS[0]])
    with lake.write() as connection:
        assert lake.written_since(connection, "shop.sales", between)


def test_what_was_not_staged_is_refused(lake: Lake, tmp_path: Path) -> None:
    with pytest.raises(NotADirectoryError, match="stage"), lake.write() as connection:
        lake.replace(connection, SALES, [Staged(tmp_path / "gone", {})], weeks=WEEKS[:1])


def test_a_failure_inside_a_transaction_changes_nothing(lake: Lake) -> None:
    replace(lake, sales(WEEKS[0]), weeks=WEEKS[:1])
    before = lake.snapshot_id()

    def write_and_fail() -> None:
        with lake.write() as connection:
            lake.replace(connection, SALES, [sales(WEEKS[0], units=9)], weeks=WEEKS[:1])
            lake.replace(connection, RATES, [pl.DataFrame({"rate": [1.0]})], weeks=None)
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        write_and_fail()
    assert lake.snapshot_id() == before
    assert units_by_week(lake) == {WEEKS[0]: (ROWS, ROWS)}
    assert not lake.exists("shop.rates")


def test_rows_that_do_not_fit_change_nothing(lake: Lake) -> None:
    replace(lake, sales(WEEKS[0]), weeks=WEEKS[:1])
    with pytest.raises(Exception, match="units"):
        replace(lake, sales(WEEKS[0]).drop("units"), weeks=WEEKS[:1])
    assert units_by_week(lake) == {WEEKS[0]: (ROWS, ROWS)}


def test_a_transaction_reads_its_own_writes_and_others_do_not(lake: Lake) -> None:
    replace(lake, sales(WEEKS[0]), weeks=WEEKS[:1])
    with lake.write() as connection:
        lake.replace(connection, SALES, [sales(WEEKS[0], units=9)], weeks=WEEKS[:1])
        own = connection.execute("SELECT sum(units) FROM lake.shop.sales").fetchone()
        assert own == (9 * ROWS,)
        assert units_by_week(lake) == {WEEKS[0]: (ROWS, ROWS)}
    assert units_by_week(lake) == {WEEKS[0]: (ROWS, 9 * ROWS)}


def test_an_old_snapshot_is_read_as_it_was(lake: Lake) -> None:
    before = lake.snapshot_id()
    replace(lake, sales(WEEKS[0]), weeks=WEEKS[:1])
    first = lake.snapshot_id()
    replace(lake, sales(WEEKS[0], units=2), sales(WEEKS[1]), weeks=WEEKS[:2])
    assert units_by_week(lake, snapshot=before) == {}
    assert units_by_week(lake, snapshot=first) == {WEEKS[0]: (ROWS, ROWS)}
    assert units_by_week(lake) == {WEEKS[0]: (ROWS, 2 * ROWS), WEEKS[1]: (ROWS, ROWS)}


def test_versions_follow_the_content_and_not_the_order_of_rows(lake: Lake) -> None:
    frame = sales(WEEKS[0]).with_row_index("n").with_columns(units=pl.col("n").cast(pl.Int64))
    frame = frame.drop("n")
    (one,) = replace(lake, frame, weeks=WEEKS[:1])
    (other_order,) = replace(lake, frame.reverse(), weeks=WEEKS[:1])
    (parts,) = replace(lake, frame[:5], frame[5:], weeks=WEEKS[:1])
    assert one == other_order == parts

    swapped = frame.with_columns(units=pl.col("units").reverse())
    (changed,) = replace(lake, swapped, weeks=WEEKS[:1])
    (doubled,) = replace(lake, frame, frame, weeks=WEEKS[:1])
    assert len({one.data_version, changed.data_version, doubled.data_version}) == 3


def test_a_pair_of_twins_is_not_the_same_as_none(lake: Lake) -> None:
    """Twins cancel in an exclusive or."""
    (few,) = replace(lake, sales(WEEKS[0], rows=1), weeks=WEEKS[:1])
    (three,) = replace(lake, *[sales(WEEKS[0], rows=1)] * 3, weeks=WEEKS[:1])
    assert few.data_version != three.data_version


def test_scanning_weeks_opens_only_their_files(lake: Lake, home) -> None:
    replace(lake, *[sales(w, units=i) for i, w in enumerate(WEEKS)], weeks=WEEKS)
    files = {f for f in (home.path / "lake" / "data").rglob("*.parquet") if "sales" in str(f)}
    kept = {f for f in files if str(WEEKS[2]) in str(f)}
    assert len(files) == len(WEEKS)
    assert len(kept) == 1
    for file in files - kept:
        file.unlink()

    found = lake.scan(SALES, first=WEEKS[2], last=WEEKS[2]).select("units").collect()

    assert found["units"].unique().to_list() == [2]
    with pytest.raises(Exception, match="parquet"):
        lake.scan(SALES, first=WEEKS[1], last=WEEKS[2]).collect()


def test_a_range_of_weeks_holds_both_ends_and_may_be_open(lake: Lake) -> None:
    replace(lake, *[sales(w) for w in WEEKS], weeks=WEEKS)

    def weeks(**bounds: date) -> list[date]:
        return lake.scan(SALES, **bounds).collect()["week_start"].unique().sort().to_list()

    assert weeks(first=WEEKS[1], last=WEEKS[2]) == WEEKS[1:3]
    assert weeks(first=WEEKS[1]) == WEEKS[1:]
    assert weeks(last=WEEKS[1]) == WEEKS[:2]
    assert weeks(first=WEEKS[3] + ONE_WEEK) == []


def test_filters_and_projections_reach_the_lake(lake: Lake) -> None:
    replace(lake, sales(WEEKS[0]), weeks=WEEKS[:1])
    query = lake.scan(SALES).filter(pl.col("store_id") == "3").select("units")
    plan = query.explain()
    assert "SELECTION" in plan
    assert "PROJECT 3/3" not in plan
    assert query.collect().height == 1


def test_every_declared_type_has_a_lake_type() -> None:
    assert sql_type(pl.Datetime("us")) == "TIMESTAMP"
    with pytest.raises(TypeError, match=r"no lake type is declared for List.*SQL_TYPES"):
        sql_type(pl.List(pl.Int64))


def test_a_snapshot_that_does_not_exist_is_an_error(lake: Lake) -> None:
    replace(lake, sales(WEEKS[0]), weeks=WEEKS[:1])
    with pytest.raises(Exception, match="No snapshot found at version 99"):
        lake.scan(SALES, snapshot=99)


# -- a contract that changes ---------------------------------------------------------------------


class SalesWithNote(Sales):
    """Units per store and week, with a note."""

    note: str = column("Note", nullable=True, added_in=2)


class SalesInText(pa.DataFrameModel):
    """Units as text."""

    week_start: pl.Date = column("Week")
    store_id: str = column("Store")
    units: str = column("Units")


def test_a_new_nullable_column_is_null_before_and_after_it_is_added(lake: Lake) -> None:
    replace(lake, sales(WEEKS[0]), weeks=WEEKS[:1])
    old = lake.snapshot_id()
    wider = Contract("shop.sales", SalesWithNote, "team:test")
    assert lake.scan(wider).collect()["note"].null_count() == ROWS

    noted = sales(WEEKS[1]).with_columns(note=pl.lit("x"))
    replace(lake, noted, weeks=[WEEKS[1]], contract=wider)

    notes = lake.scan(wider).collect().group_by("week_start").agg(pl.col("note").null_count())
    assert dict(notes.rows()) == {WEEKS[0]: ROWS, WEEKS[1]: 0}
    assert units_by_week(lake, snapshot=old) == {WEEKS[0]: (ROWS, ROWS)}
    assert lake.scan(wider, snapshot=old).collect()["note"].null_count() == ROWS


def test_a_blocked_change_leaves_table_and_record_alone(lake: Lake) -> None:
    replace(lake, sales(WEEKS[0]), sales(WEEKS[1]), weeks=WEEKS[:2])
    before = lake.snapshot_id()
    text = Contract("shop.sales", SalesInText, "team:test", version=2, backfills={2: "why"})
    rows = sales(WEEKS[0]).with_columns(pl.col("units").cast(pl.String))
    with pytest.raises(BreakingSchemaChangeError, match="leaves out 1 of 2"):
        replace(lake, rows, weeks=WEEKS[:1], contract=text)
    assert lake.snapshot_id() == before
    assert units_by_week(lake)[WEEKS[0]] == (ROWS, ROWS)


def test_what_changed_is_recorded(lake: Lake) -> None:
    replace(lake, sales(WEEKS[0]), weeks=WEEKS[:1])
    wider = Contract("shop.sales", SalesWithNote, "team:test")
    replace(lake, sales(WEEKS[0]).with_columns(note=pl.lit("x")), weeks=WEEKS[:1], contract=wider)
    text = Contract("shop.sales", SalesInText, "team:test", version=2, backfills={2: "why"})
    rows = sales(WEEKS[0]).with_columns(pl.col("units").cast(pl.String))
    replace(lake, rows, weeks=WEEKS[:1], contract=text)
    with lake.read() as connection:
        changes = connection.execute(
            "SELECT contract_version, kind, detail FROM lake.quality.schema_changes ORDER BY ALL"
        ).fetchall()
    assert [(v, kind) for v, kind, _ in changes] == [
        (1, "additive"),
        (1, "created"),
        (2, "rebuilt"),
    ]
    assert "units: BIGINT in the table, VARCHAR in the contract" in changes[2][2]


# -- the lock ------------------------------------------------------------------------------------


def waiting(lake: Lake, seconds: float) -> Lake:
    """The same lake, with less patience."""
    return Lake(
        catalog=lake.catalog,
        data_path=lake.data_path,
        lock_path=lake.lock_path,
        lock_timeout_s=seconds,
    )


@pytest.fixture
def impatient(lake: Lake) -> Iterator[Lake]:
    made = waiting(lake, 0.2)
    yield made
    lake_database.close(made)


def test_a_lock_held_too_long_says_by_whom_and_what_to_do(lake: Lake, impatient: Lake) -> None:
    replace(lake, sales(WEEKS[0]), weeks=WEEKS[:1])
    assert lake.lock_path is not None
    with FileLock(lake.lock_path), pytest.raises(TimeoutError) as error, impatient.write():
        pytest.fail("two writers at once")
    assert f"fuser {lake.lock_path}" in str(error.value)
    assert "let it finish or stop it, and run again" in str(error.value)
    replace(impatient, sales(WEEKS[1]), weeks=[WEEKS[1]])


def test_readers_do_not_wait_for_a_writer(lake: Lake, impatient: Lake) -> None:
    replace(lake, sales(WEEKS[0]), weeks=WEEKS[:1])
    with lake.write() as connection:
        lake.replace(connection, SALES, [sales(WEEKS[0], units=4)], weeks=WEEKS[:1])
        # Its database is opened here for the first time, under the writer's lock.
        assert units_by_week(impatient) == {WEEKS[0]: (ROWS, ROWS)}


def test_the_first_use_of_a_lake_may_be_a_write(impatient: Lake) -> None:
    replace(impatient, sales(WEEKS[0]), weeks=WEEKS[:1])
    assert units_by_week(impatient) == {WEEKS[0]: (ROWS, ROWS)}


def test_threads_write_one_after_the_other(lake: Lake) -> None:
    errors: list[BaseException] = []

    def write(week: date) -> None:
        try:
            for units in range(1, 4):
                replace(lake, sales(week, units=units), weeks=[week])
        except BaseException as error:  # noqa: BLE001  (shown by the assertion below)
            errors.append(error)

    threads = [threading.Thread(target=write, args=(w,)) for w in WEEKS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert units_by_week(lake) == dict.fromkeys(WEEKS, (ROWS, 3 * ROWS))


# -- many processes ------------------------------------------------------------------------------

_WRITER = """
import sys
from datetime import date
from pathlib import Path
sys.path.insert(0, {tests!r})
from tests.resources.test_lake import ROWS, sales, replace
from resources.lake import Lake
from resources.settings import get_settings

lake = Lake.of(get_settings())
week = date.fromisoformat(sys.argv[1])
for units in range(1, int(sys.argv[2]) + 1):
    replace(lake, sales(week, units=units), weeks=[week])
print("written", flush=True)
"""

PROJECT = Path(__file__).parents[2]
ROUNDS = 6


def start(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        cwd=PROJECT,
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_two_processes_write_and_a_reader_sees_whole_weeks(home) -> None:
    """From a lake that does not exist yet: creating it is part of the race."""
    code = _WRITER.format(tests=str(PROJECT))
    writers = [start(code, str(week), str(ROUNDS)) for week in WEEKS[:2]]
    lake = home.lake
    seen: set[tuple[int, int]] = set()
    while any(w.poll() is None for w in writers):
        seen |= set(units_by_week(lake).values())
        time.sleep(0.02)
    for writer in writers:
        out, err = writer.communicate()
        assert writer.returncode == 0, err
        assert out.strip() == "written"
    assert units_by_week(lake) == dict.fromkeys(WEEKS[:2], (ROWS, ROUNDS * ROWS))
    # Never a part of a week, never two versions of it.
    assert seen <= {(ROWS, units * ROWS) for units in range(1, ROUNDS + 1)}
    with lake.read() as connection:
        changes = connection.execute("SELECT changes FROM lake.snapshots()").fetchall()
    assert sum("tables_inserted_into" in c for (c,) in changes) == 2 * ROUNDS


# -- PostgreSQL ----------------------------------------------------------------------------------


@pytest.fixture
def postgres_catalog() -> Iterator[str]:
    """A PostgreSQL server of its own, on a socket in a temporary folder."""
    pytest.importorskip(
        "duckdb_extension_postgres_scanner",
        reason="the `postgres` extra is not installed",
    )
    with postgres_server(user="lake", database="catalog") as place:
        yield f"postgres:dbname=catalog host={place} user=lake"


@pytest.mark.slow
def test_a_postgresql_catalog_takes_two_writers_one_at_a_time(
    postgres_catalog: str, make_home, tmp_path: Path
) -> None:
    home = make_home(tmp_path / "home", catalog=postgres_catalog)
    assert home.settings.write_lock is None
    with home.lake.write() as connection:
        home.lake.ensure(connection, SALES)
    code = _WRITER.format(tests=str(PROJECT))
    writers = [start(code, str(week), str(ROUNDS)) for week in WEEKS[:2]]
    for writer in writers:
        _, err = writer.communicate()
        assert writer.returncode == 0, err
    assert units_by_week(home.lake) == dict.fromkeys(WEEKS[:2], (ROWS, ROUNDS * ROWS))
    held = versions([contents(home.lake.scan(SALES).collect(), SALES)], WEEKS[:2])
    assert [v.rows for v in held] == [ROWS, ROWS]
    # The lock that dbt's process takes is the same one.
    impatient = dataclasses.replace(home.lake, lock_timeout_s=0.2)
    lock, _ = lock_of(postgres_catalog)
    lock.acquire(timeout=0)
    with pytest.raises(TimeoutError, match="pg_locks"), impatient.write():
        pass
    # Who only reads does not wait for a writer, not even to open the lake.
    lake_database.close(impatient)
    assert units_by_week(impatient)
    lock.release()
    with impatient.write() as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
