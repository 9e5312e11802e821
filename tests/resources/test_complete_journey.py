"""The bundled year as weekly drops: every row once, in its week, and never a second time."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from checks.contracts.raw import RAW
from checks.drops import DUPLICATE, Admission
from models.calendar import ONE_WEEK, weeks_between
from models.pseudonyms import pseudonymise_series
from resources import landing, secrets
from resources.landing import TABLES
from resources.sources.complete_journey import (
    DISPLAY_CODES,
    FILE_NAME,
    FIRST_WEEK,
    MAILER_CODES,
    WEEKS,
    lay_down,
)

NEW_YORK = "America/New_York"
YEAR = weeks_between(FIRST_WEEK, FIRST_WEEK + (WEEKS - 1) * ONE_WEEK)
# The small tables have all their rows counted; the large ones a few weeks' worth.
ROWS_OF_THE_YEAR = {
    "products": 92_331,
    "stores": 457,
    "households": 801,
    "campaigns": 27,
    "campaign_targets": 6_589,
    "coupons": 116_204,
    "coupon_redemptions": 2_102,
}

# The source states these coupon and product pairs twice.
TWINS_OF_THE_YEAR = {"coupons": 4_872}


def laid(root: Path, table: str) -> dict[date, pl.DataFrame]:
    return {
        week: pl.read_parquet(landing.folder(root, table, week) / FILE_NAME)
        for week in landing.weeks_dropped(root, table)
    }


@pytest.fixture(scope="module")
def year(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small tables' year, and three weeks of the large ones."""
    root = tmp_path_factory.mktemp("landing")
    for table in TABLES:
        weeks = YEAR if table in ROWS_OF_THE_YEAR else YEAR[:3]
        lay_down(root, table=table, weeks=weeks, time_zone=NEW_YORK)
    return root


@pytest.mark.parametrize(("table", "rows"), ROWS_OF_THE_YEAR.items())
def test_every_row_of_the_year_is_in_one_drop(year: Path, table: str, rows: int) -> None:
    drops = laid(year, table)
    assert sum(f.height for f in drops.values()) == rows
    assert set(drops) <= set(YEAR)
    assert all(f.height for f in drops.values())


def test_the_first_week_is_one_day(year: Path) -> None:
    lines = laid(year, "basket_lines")
    local = pl.col("sold_at").dt.replace_time_zone("UTC").dt.convert_time_zone(NEW_YORK).dt.date()
    assert lines[YEAR[0]].select(local.unique()).to_series().to_list() == [date(2017, 1, 1)]
    assert lines[YEAR[1]].select(local.n_unique()).item() == 7


def test_weeks_agree_with_the_sources_own_numbers(year: Path) -> None:
    """Whose own week column the adapter does not read for basket lines."""
    from resources.sources import complete_journey

    numbers = complete_journey._scan("transactions").filter(pl.col("week") <= 3)
    expected = numbers.group_by("week").len().sort("week").collect()["len"].to_list()
    assert [laid(year, "basket_lines")[w].height for w in YEAR[:3]] == expected


@pytest.mark.parametrize("contract", RAW, ids=lambda c: c.table)
def test_every_row_of_the_year_keeps_its_contract(year: Path, contract) -> None:
    table = contract.table.removeprefix("raw.")
    admission = Admission(
        contract=contract,
        time_zone=NEW_YORK,
        pseudonymise=lambda ids: pseudonymise_series(ids, secrets.PUBLIC_DEMO_KEY),
        codes={"display": DISPLAY_CODES, "mailer": MAILER_CODES} if table == "promotions" else {},
    )
    weeks = landing.weeks_dropped(year, table)
    if table == "promotions":
        weeks = weeks[1:2]
    files = [
        landing.read(file, landing=year, week=week)
        for week in weeks
        for file in landing.drop(year, table, week).files
    ]
    admitted = admission.admit(files)
    assert admitted.unknown_columns == {}
    assert admitted.set_aside.height == TWINS_OF_THE_YEAR.get(table, 0)
    assert set(admitted.set_aside["kind"]) <= {DUPLICATE}
    assert admitted.frame.height + admitted.set_aside.height == sum(f.rows.height for f in files)


def test_a_drop_that_is_there_is_never_touched(tmp_path: Path) -> None:
    weeks = YEAR[:3]
    first = lay_down(tmp_path, table="stores", weeks=weeks, time_zone=NEW_YORK)
    assert first
    first[0].write_bytes(b"corrected by hand")
    for file in first[1:]:
        file.unlink()
    assert lay_down(tmp_path, table="stores", weeks=weeks, time_zone=NEW_YORK) == first[1:]
    assert first[0].read_bytes() == b"corrected by hand"


def test_laying_down_twice_gives_the_same_bytes(tmp_path: Path, year: Path) -> None:
    for table in ("campaigns", "products"):
        lay_down(tmp_path, table=table, weeks=YEAR, time_zone=NEW_YORK)
        for week in landing.weeks_dropped(year, table):
            one, other = (landing.drop(root, table, week).version for root in (tmp_path, year))
            assert one == other


def test_nothing_half_written_stays(year: Path) -> None:
    assert {p.name for p in year.rglob("*") if p.is_file()} == {FILE_NAME}
