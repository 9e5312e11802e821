"""Landing and raw, through their assets: what a tiny retailer sends is in the lake, and safe."""

from collections.abc import Sequence
from datetime import date

import dagster as dg
import polars as pl
import pytest

from checks.contracts.quarantine import QUARANTINE
from checks.contracts.raw import RAW
from checks.contracts.registry import contract_of
from models.pseudonyms import pseudonymise
from resources import partition_status, secrets
from tests.conftest import Home, assets_of
from tests.tiny_retailer import RAW_ID_PREFIX, raw_id, weeks_from_first, write_drop, write_drops

WEEKS = weeks_from_first(3)


def let_in(home: Home, instance, *tables: str, weeks: Sequence[date] = WEEKS):
    return home.materialize(*assets_of(*tables), instance=instance, weeks=weeks)


def scan(home: Home, table: str) -> pl.DataFrame:
    return home.lake.scan(contract_of(table)).collect()


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_every_row_of_every_table_lands(home: Home, instance, suffix) -> None:
    sent = write_drops(home.landing, weeks=WEEKS, suffix=suffix)
    assert set(sent) == {c.table.removeprefix("raw.") for c in RAW}
    result = let_in(home, instance, *sent)
    assert result.success
    for table, rows in sent.items():
        assert scan(home, f"raw.{table}").height == rows, table
        assert scan(home, f"quarantine.{table}").is_empty(), table
    statuses = partition_status.current(home.lake)
    for contract in (*RAW, *QUARANTINE.values()):
        assert {w for a, w in statuses if a == contract.table} == set(WEEKS), contract.table
    assert all(s.passed for s in statuses.values())


def test_parquet_and_csv_drops_give_the_same_content(home: Home, instance) -> None:
    tables = ("basket_lines", "promotions")
    found = []
    for suffix in ("parquet", "csv"):
        for file in home.landing.rglob("drop.*"):
            file.unlink()
        write_drops(home.landing, weeks=WEEKS, tables=tables, suffix=suffix)
        assert let_in(home, instance, *tables).success
        statuses = partition_status.current(home.lake, [f"raw.{t}" for t in tables])
        found.append({key: s.data_version for key, s in statuses.items()})
    assert found[0] == found[1]


def test_weeks_in_one_run_and_one_by_one_give_the_same_rows(home: Home, instance) -> None:
    write_drops(home.landing, weeks=WEEKS)
    tables = ("basket_lines", "products")
    assert let_in(home, instance, *tables).success
    of_range = partition_status.current(home.lake)
    for week in reversed(WEEKS):
        assert let_in(home, instance, *tables, weeks=[week]).success
    of_weeks = partition_status.current(home.lake)
    assert {k: s.data_version for k, s in of_range.items()} == {
        k: s.data_version for k, s in of_weeks.items()
    }


def test_the_coming_week_is_there_and_empty(home: Home, instance) -> None:
    coming = date(2018, 1, 1)
    assert let_in(home, instance, "basket_lines", weeks=[coming]).success
    status = partition_status.current(home.lake)["raw.basket_lines", coming]
    assert (status.status, status.rows) == ("passed", 0)


def test_a_removed_drop_takes_its_rows_away(home: Home, instance) -> None:
    write_drops(home.landing, weeks=WEEKS, tables=["stores"])
    assert let_in(home, instance, "stores").success
    assert scan(home, "raw.stores").height == 3
    next((home.landing / "stores").rglob("drop.parquet")).unlink()
    assert let_in(home, instance, "stores").success
    assert scan(home, "raw.stores").is_empty()


def test_what_was_let_in_is_counted(home: Home, instance) -> None:
    rows = write_drops(home.landing, weeks=WEEKS, tables=["basket_lines"])
    first = home.landing / "basket_lines" / str(WEEKS[0]) / "drop.parquet"
    frame = pl.read_parquet(first)
    spoiled = frame.with_columns(
        quantity=pl.when(pl.row_index() == 3).then(-1).otherwise("quantity")
    )
    write_drop(
        home.landing,
        table="basket_lines",
        week=WEEKS[0],
        frame=pl.concat([spoiled, frame.head(2)]).with_columns(till=pl.lit(1)),
    )
    result = let_in(home, instance, "basket_lines")
    assert result.success
    (event, *_) = [
        e
        for e in result.asset_materializations_for_node("raw__basket_lines")
        if e.asset_key == dg.AssetKey(["raw", "basket_lines"])
    ]
    assert event.metadata["rows_loaded"].value == rows["basket_lines"] - 1
    assert event.metadata["rows_set_aside"].value == 3
    kinds = scan(home, "quarantine.basket_lines").group_by("kind").len().rows()
    assert dict(kinds) == {"rejected": 1, "duplicate": 2}
    quality = quality_of(result)
    assert not quality.passed
    assert quality.severity == dg.AssetCheckSeverity.WARN
    assert "ignored unknown column(s) till; add them to the contract" in quality.description
    assert "3 row(s) set aside, e.g. basket_lines/2016-12-26/drop.parquet row 3" in (
        quality.description
    )


# -- who may see whom ----------------------------------------------------------------------------


def test_own_ids_under_the_published_key_are_pointed_out(make_home, tmp_path, instance) -> None:
    home = make_home(tmp_path / "public", source="complete_journey")
    assert quality_of(let_in(home, instance, "households", weeks=WEEKS[:1])).passed
    write_drops(home.landing, weeks=WEEKS[:1], tables=["households"])
    quality = quality_of(let_in(home, instance, "households", weeks=WEEKS[:1]))
    assert not quality.passed
    assert "1 file(s) of your own, e.g. households/2016-12-26/drop.parquet" in quality.description
    assert "set LIFTGRAPH_PSEUDONYM_KEY" in quality.description


def quality_of(result) -> dg.AssetCheckEvaluation:
    assert result.success
    return {c.check_name: c for c in result.get_asset_check_evaluations()}["drop_quality"]


@pytest.fixture
def spoiled(home: Home, instance) -> Home:
    """A lake whose quarantine holds a rejected and a superseded row with raw household ids."""
    write_drops(home.landing, weeks=WEEKS)
    week = WEEKS[0]
    folder = home.landing / "basket_lines" / str(week)
    lines = pl.read_parquet(folder / "drop.parquet")
    write_drop(
        home.landing,
        table="basket_lines",
        week=week,
        frame=lines.with_columns(
            quantity=pl.when(pl.row_index() == 0).then(-1).otherwise("quantity")
        ),
    )
    household = pl.read_parquet(home.landing / "households" / str(week) / "drop.parquet").head(1)
    write_drop(
        home.landing,
        table="households",
        week=week,
        frame=household.with_columns(age=pl.lit("65+")),
        name="later",
    )
    tables = ("basket_lines", "households", "campaign_targets", "coupon_redemptions")
    assert let_in(home, instance, *tables).success
    return home


def test_quarantined_rows_decrypt_to_what_was_sent(spoiled: Home) -> None:
    (row,) = scan(spoiled, "quarantine.basket_lines").to_dicts()
    sent = pl.read_parquet(spoiled.landing / row["file"])[row["row"]]
    cipher = secrets.quarantine_cipher(spoiled.settings)
    text = cipher.decrypt(row["payload"].encode()).decode()
    assert text == sent.select(pl.struct(pl.all()).struct.json_encode()).item()
    assert raw_id(0) in text


def test_a_superseded_row_is_kept_as_it_was_sent(spoiled: Home) -> None:
    (row,) = scan(spoiled, "quarantine.households").to_dicts()
    assert (row["file"], row["row"], row["kind"]) == (
        "households/2016-12-26/drop.parquet",
        0,
        "superseded",
    )
    cipher = secrets.quarantine_cipher(spoiled.settings)
    assert raw_id(0) in cipher.decrypt(row["payload"].encode()).decode()
    stated = scan(spoiled, "raw.households").filter(
        household_id=pseudonymise(raw_id(0), secrets.pseudonym_key(spoiled.settings))
    )
    assert stated["age"].to_list() == ["65+"]


def test_raw_household_ids_are_nowhere_but_in_the_landing_folder(spoiled: Home) -> None:
    needle = RAW_ID_PREFIX.encode()
    holding = {
        path.relative_to(spoiled.path).parts[0]
        for path in spoiled.path.rglob("*")
        # Parquet may compress a page past recognition, so those are read below.
        if path.is_file() and needle in path.read_bytes()
    }
    assert holding == {"landing"}
    for file in (spoiled.path / "lake").rglob("*.parquet"):
        frame = pl.read_parquet(file, hive_partitioning=False)
        for name in frame.select(pl.col(pl.String)).columns:
            found = frame[name].str.contains(RAW_ID_PREFIX, literal=True).any()
            assert not found, f"{file}: {name}"
    key = secrets.pseudonym_key(spoiled.settings)
    households = set(scan(spoiled, "raw.basket_lines")["household_id"])
    assert households == {pseudonymise(raw_id(h), key) for h in range(12)}
