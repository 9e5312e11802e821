"""Every way a drop can be at fault, end to end: where, what to do, and nothing half-done."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from assets.landing.raw import RAW_TABLES
from checks.contracts.raw import BASKET_LINES, PROMOTIONS
from checks.contracts.registry import contract_of
from resources import partition_status
from tests.conftest import Home, assets_of, failure_of
from tests.tiny_retailer import drops_of_week, weeks_from_first, write_drop, write_drops

WEEKS = weeks_from_first(2)
SPOILED = WEEKS[1]
TABLE = "basket_lines"

Spoil = Callable[[Path], None]


def rewrite(change: Callable[[pl.DataFrame], pl.DataFrame]) -> Spoil:
    def spoil(path: Path) -> None:
        change(pl.read_parquet(path)).write_parquet(path)

    return spoil


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def torn_csv(path: Path) -> None:
    path.unlink()
    path.with_suffix(".csv").write_bytes(b"household_id,store_id\n1,2,3\n")


def of_week(week: date) -> Spoil:
    return rewrite(lambda _: drops_of_week(week)[TABLE])


@dataclass(frozen=True)
class Fault:
    """A file that cannot be trusted as a whole.

    Attributes:
        says: What the message must hold: file, column, cause, remedy.
    """

    name: str
    spoil: Spoil
    says: tuple[str, ...]


FILE = f"{TABLE}/{SPOILED}/drop.parquet"
FAULTS = [
    Fault("truncated", cut, (f"{FILE}: not a readable Parquet file", "send it again, whole")),
    Fault("0 bytes", empty, (f"{FILE}: the file is empty (0 bytes)", "Send it again, or remove")),
    Fault(
        "no rows",
        rewrite(lambda f: f.clear()),
        (f"{FILE}: the file has no rows", "send the week again"),
    ),
    Fault(
        "malformed csv",
        torn_csv,
        (f"{TABLE}/{SPOILED}/drop.csv: not a readable CSV file", "send it again, whole"),
    ),
    Fault(
        "missing column",
        rewrite(lambda f: f.drop("sales_value")),
        (f"{FILE}, column sales_value: the column is missing", "Send the file with sales_value"),
    ),
    Fault(
        "re-typed column",
        rewrite(lambda f: f.with_columns(pl.col("quantity").cast(pl.String))),
        (f"{FILE}, column quantity: the column holds String", "Send it as a whole number"),
    ),
    Fault(
        "another week",
        of_week(WEEKS[0]),
        (f"{FILE}, column sold_at: every row lies in another week", "Move the file to the folder"),
    ),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f.name)
def test_a_file_that_cannot_be_trusted_changes_nothing(home: Home, instance, fault: Fault) -> None:
    write_drops(home.landing, weeks=WEEKS, tables=[TABLE])
    assets = assets_of(TABLE)
    assert home.materialize(*assets, instance=instance, weeks=WEEKS).success
    before = home.lake.scan(BASKET_LINES).collect().sort(pl.all())
    good = partition_status.current(home.lake)

    fault.spoil(home.landing / TABLE / str(SPOILED) / "drop.parquet")
    result = home.materialize(*assets, instance=instance, weeks=WEEKS)

    assert not result.success
    message = failure_of(result)
    assert all(part in message for part in fault.says), message
    assert home.lake.scan(BASKET_LINES).collect().sort(pl.all()).equals(before)
    assert home.lake.scan(contract_of(f"quarantine.{TABLE}")).collect().is_empty()
    after = partition_status.current(home.lake, [f"raw.{TABLE}"])
    failed = {week: s for (_, week), s in after.items() if not s.passed}
    assert set(failed) == {SPOILED}
    assert fault.says[0] in failed[SPOILED].reason
    assert failed[SPOILED].data_version == good[f"raw.{TABLE}", SPOILED].data_version
    assert not list((home.settings.lake_dir / "staging").rglob("*"))


def test_a_file_sent_again_whole_lands(home: Home, instance) -> None:
    sent = write_drops(home.landing, weeks=WEEKS, tables=[TABLE])
    assets = assets_of(TABLE)
    cut(home.landing / TABLE / str(SPOILED) / "drop.parquet")
    assert not home.materialize(*assets, instance=instance, weeks=WEEKS).success
    assert not home.lake.exists(f"raw.{TABLE}")
    write_drops(home.landing, weeks=[SPOILED], tables=[TABLE])
    assert home.materialize(*assets, instance=instance, weeks=WEEKS).success
    assert home.lake.scan(BASKET_LINES).collect().height == sent[TABLE]


def test_good_rows_of_a_bad_file_land_and_the_rest_is_quarantined(home: Home, instance) -> None:
    """Several faults in rows at once, over files and weeks: the counts add up."""
    write_drops(home.landing, weeks=WEEKS, tables=[TABLE])
    lines = drops_of_week(SPOILED)[TABLE]
    row = pl.row_index()
    later = pl.col("sold_at") + pl.duration(weeks=1)
    bad = lines.with_columns(
        household_id=pl.when(row == 0).then(None).otherwise("household_id"),
        sales_value=pl.when(row == 1).then(-1.0).otherwise("sales_value"),
        sold_at=pl.when(row == 2).then(later).otherwise("sold_at"),
        store_id=pl.when(row == 3).then(pl.lit("s" * 70)).otherwise("store_id"),
    )
    write_drop(home.landing, table=TABLE, week=SPOILED, frame=bad)
    # The same again in another file: the good rows are duplicates, the bad ones good.
    write_drop(home.landing, table=TABLE, week=SPOILED, frame=lines, name="second")
    csv = lines.head(3).with_columns(quantity=pl.Series(["1", "many", "-2"]))
    write_drop(home.landing, table=TABLE, week=SPOILED, frame=csv, name="third", suffix="csv")

    result = home.materialize(*assets_of(TABLE), instance=instance, weeks=WEEKS)

    assert result.success
    sent = sum(drops_of_week(w)[TABLE].height for w in WEEKS) + lines.height + 3
    loaded = home.lake.scan(BASKET_LINES).collect()
    aside = home.lake.scan(contract_of(f"quarantine.{TABLE}")).collect()
    assert loaded.height + aside.height == sent
    assert aside["week_start"].unique().to_list() == [SPOILED]
    rejected = aside.filter(kind="rejected").sort("file", "row")
    folder = f"{TABLE}/{SPOILED}"
    assert rejected.select("file", "row", "column_name").rows() == [
        (f"{folder}/drop.parquet", 0, "household_id"),
        (f"{folder}/drop.parquet", 1, "sales_value"),
        (f"{folder}/drop.parquet", 2, "sold_at"),
        (f"{folder}/drop.parquet", 3, "store_id"),
        (f"{folder}/third.csv", 1, "quantity"),
        (f"{folder}/third.csv", 2, "quantity"),
    ]
    assert all(rejected["reason"])
    whole = loaded.filter(week_start=SPOILED)
    assert set(whole["basket_id"]) == set(lines["basket_id"])
    quality = {c.check_name: c for c in result.get_asset_check_evaluations()}["drop_quality"]
    assert not quality.passed, "more than the tolerated share was set aside"


def test_unknown_codes_are_set_aside_where_the_code_list_is_closed(
    make_home: Callable[..., Home], tmp_path: Path
) -> None:
    import dagster as dg

    home = make_home(tmp_path / "home", display_codes='["0","1","2","3","4","5","6","7","8","9"]')
    with dg.DagsterInstance.get() as instance:
        sent = write_drops(home.landing, weeks=WEEKS, tables=["promotions"])
        path = home.landing / "promotions" / str(SPOILED) / "drop.parquet"
        rewrite(
            lambda f: f.with_columns(
                display=pl.when(pl.row_index() == 0).then(pl.lit("Q")).otherwise("display")
            )
        )(path)
        assert home.materialize(*assets_of("promotions"), instance=instance, weeks=WEEKS).success
    (row,) = home.lake.scan(contract_of("quarantine.promotions")).collect().to_dicts()
    assert row["column_name"] == "display"
    assert "unknown code 'Q'; known are 0 1 2" in row["reason"]
    assert home.lake.scan(PROMOTIONS).collect().height == sent["promotions"] - 1


def test_every_raw_asset_has_a_quarantine_and_both_checks() -> None:
    for asset in RAW_TABLES:
        schemas = sorted(k.path[0] for k in asset.keys)
        assert schemas == ["quarantine", "raw"]
        assert sorted(c.name for c in asset.check_specs) == ["contract", "contract", "drop_quality"]


def test_every_bad_file_of_a_run_is_named_at_once(home: Home, instance) -> None:
    write_drops(home.landing, weeks=WEEKS, tables=[TABLE])
    for week, spoil in zip(WEEKS, (cut, rewrite(lambda f: f.drop("quantity"))), strict=True):
        spoil(home.landing / TABLE / str(week) / "drop.parquet")

    result = home.materialize(*assets_of(TABLE), instance=instance, weeks=WEEKS)

    message = failure_of(result)
    assert f"{TABLE}/{WEEKS[0]}/drop.parquet: not a readable Parquet file" in message
    assert f"{TABLE}/{WEEKS[1]}/drop.parquet, column quantity: the column is missing" in message
    statuses = partition_status.current(home.lake, [f"raw.{TABLE}"])
    assert {week for (_, week), s in statuses.items() if not s.passed} == set(WEEKS)
