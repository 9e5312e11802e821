"""A simulated chain's drops: let in whole, the same for a seed, as large as asked."""

from datetime import date, timedelta

import polars as pl
import pytest
from click.testing import CliRunner

from checks.contracts.registry import contract_of
from liftgraph import main
from resources import landing
from resources.sources.simulated import FIRST_WEEK, write_drops
from tests.conftest import Home, assets_of

WEEKS = 3
SMALL = {"weeks": WEEKS, "seed": 7, "products": 60}


def mondays(weeks: int) -> list[date]:
    return [FIRST_WEEK + timedelta(weeks=i) for i in range(weeks)]


def test_every_row_of_every_table_lands(home: Home, instance) -> None:
    sent = write_drops(home.landing, scale=0.05, **SMALL)
    assert set(sent) == set(landing.TABLES)
    assert landing.misplaced(home.landing) == []
    result = home.materialize(*assets_of(*sent), instance=instance, weeks=mondays(WEEKS))
    assert result.success
    for table, rows in sent.items():
        assert home.lake.scan(contract_of(f"raw.{table}")).collect().height == rows, table
        assert home.lake.scan(contract_of(f"quarantine.{table}")).collect().is_empty(), table


def test_the_command_writes_them_and_says_so(tmp_path) -> None:
    asked = [str(tmp_path / "drops"), "--scale", "0.03", "--weeks", "3", "--products", "60"]
    done = CliRunner().invoke(main, ["simulate", *asked, "--seed", "7"])
    assert done.exit_code == 0, done.output
    assert "3 of 3 stores" in done.output
    by_function = write_drops(tmp_path / "again", scale=0.03, **SMALL)
    assert f"promotions: {by_function['promotions']:,} rows" in done.output
    refused = CliRunner().invoke(main, ["simulate", asked[0], "--scale", "0"])
    assert refused.exit_code == 1
    assert "give a scale above 0" in refused.output
    mine = tmp_path / "mine" / "products" / "2017-01-02" / "drop.parquet"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"")
    mixed = CliRunner().invoke(main, ["simulate", str(tmp_path / "mine")])
    assert (mixed.exit_code, "drop.parquet" in mixed.output) == (1, True)


def test_a_seed_gives_the_same_bytes_and_another_one_others(tmp_path) -> None:
    def content(name: str, **changed) -> dict[str, bytes]:
        place = tmp_path / name
        write_drops(place, scale=0.03, **(SMALL | changed))
        return {str(f.relative_to(place)): f.read_bytes() for f in place.rglob("*.parquet")}

    first = content("first")
    assert content("again") == first
    assert content("other", seed=8) != first


def test_rows_grow_with_the_scale_in_blocks_of_stores(tmp_path) -> None:
    small = write_drops(tmp_path, scale=0.1, **SMALL)
    large = write_drops(tmp_path, scale=0.8, **SMALL)
    for table in ("basket_lines", "promotions"):
        assert 5 < large[table] / small[table] < 12, table
    files = landing.drop(tmp_path, "promotions", FIRST_WEEK).files
    # 89 stores are three blocks; the smaller simulation's files were replaced.
    assert [f.name for f in files] == [f"simulated-{i:04d}.parquet" for i in range(3)]


def test_the_default_size_is_that_of_the_bundled_year(tmp_path) -> None:
    scale = 0.02
    rows = write_drops(tmp_path, scale=scale, weeks=4, seed=3)
    stores = rows["stores"] / 111
    assert rows["promotions"] / 4 / stores == pytest.approx(395_000, rel=0.3)
    assert rows["basket_lines"] / 4 / stores == pytest.approx(27_700, rel=0.6)


def test_receipts_are_consistent(tmp_path) -> None:
    write_drops(tmp_path, scale=0.05, **SMALL)
    lines = pl.read_parquet(tmp_path / "basket_lines" / "*" / "*.parquet")
    assert not lines.select("basket_id", "product_id").is_duplicated().any()
    one = lines.group_by("basket_id").agg(pl.col("household_id", "store_id", "sold_at").n_unique())
    assert one.select(pl.exclude("basket_id").max()).row(0) == (1, 1, 1)
    assert (lines["sales_value"] >= 0).all()
    assert (lines["quantity"] >= 1).all()


@pytest.mark.parametrize("wrong", [{"scale": 0}, {"scale": 1e6}, {"weeks": 0}])
def test_impossible_sizes_are_refused(tmp_path, wrong) -> None:
    with pytest.raises(ValueError, match="give a scale above 0"):
        write_drops(tmp_path, **({"scale": 1.0} | wrong))
