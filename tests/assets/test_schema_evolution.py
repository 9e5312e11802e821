"""Schemas that change, on partitioned tables, through the assets that write them.

The raw path too: a retailer's drops gain a column, the contract follows, a range is backfilled.
"""

from datetime import date

import dagster as dg
import pandera.polars as pa
import polars as pl
import pytest

from assets.lake_asset import Input, TableContext, lake_asset
from assets.partitions import SAME_WEEK, calendar
from checks.contracts.contract import Contract, column
from checks.contracts.raw import Stores
from checks.contracts.registry import CONTRACTS
from checks.drops import Admission
from resources import landing
from tests.conftest import Home, failure_of
from tests.tiny_retailer import write_drop

WEEKS = calendar()[:4]
ROWS = 15


class Stock(pa.DataFrameModel):
    """Stock per store and week."""

    week_start: pl.Date = column("Week")
    store_id: str = column("Store")
    units: pl.Int64 = column("Units")


class StockInText(pa.DataFrameModel):
    """Stock per store and week; units as the stock book says them."""

    week_start: pl.Date = column("Week")
    store_id: str = column("Store")
    units: str = column("Units as written", added_in=2)


V1 = Contract("shop.stock", Stock, "team:test")
RETYPED = Contract("shop.stock", StockInText, "team:test")
RAISED = Contract("shop.stock", StockInText, "team:test", version=2)
DECLARED = Contract(
    "shop.stock", StockInText, "team:test", version=2, backfills={2: "units as written"}
)


def stock_asset(contract: Contract) -> dg.AssetsDefinition:
    dtype = next(c.dtype for c in contract.columns if c.name == "units")

    @lake_asset(contract, group="shop", kinds={"polars"})
    def stock(context: TableContext) -> pl.DataFrame:
        return pl.concat(
            pl.DataFrame(
                {
                    "week_start": [week] * ROWS,
                    "store_id": [str(s) for s in range(ROWS)],
                    "units": pl.Series(range(ROWS), dtype=pl.Int64).cast(dtype),
                }
            )
            for week in context.weeks
        )

    return stock


def read_units(home: Home, contract: Contract, **kwargs: int) -> dict[date, list]:
    frame = home.lake.scan(contract, **kwargs).collect().sort("week_start", "store_id")
    return {
        week: part["units"].to_list()
        for (week,), part in frame.partition_by("week_start", as_dict=True).items()
    }


def test_a_retyped_column_is_blocked_until_declared_and_backfilled(home: Home, instance) -> None:
    assert home.materialize(stock_asset(V1), instance=instance, weeks=WEEKS).success
    old = home.lake.snapshot_id()
    before = read_units(home, V1)

    blocked = {
        "Raise `version` to 2 and declare the backfill": (RETYPED, WEEKS),
        "Contract version 2 declares no backfill": (RAISED, WEEKS),
        "leaves out 3 of 4 (2016-12-26 .. 2017-01-16)": (DECLARED, [WEEKS[1]]),
    }
    for said, (contract, weeks) in blocked.items():
        result = home.materialize(stock_asset(contract), instance=instance, weeks=weeks)
        assert not result.success
        assert said in failure_of(result)
        assert home.lake.snapshot_id() == old
        assert read_units(home, V1) == before

    assert home.materialize(stock_asset(DECLARED), instance=instance, weeks=WEEKS).success
    after = read_units(home, DECLARED)
    assert after == {w: [str(u) for u in units] for w, units in before.items()}
    assert read_units(home, V1, snapshot=old) == before, "the old snapshot reads as it was"
    # From here on a single week is business as usual.
    assert home.materialize(stock_asset(DECLARED), instance=instance, weeks=WEEKS[2:3]).success
    assert read_units(home, DECLARED) == after


def test_a_later_week_may_be_among_those_that_a_backfill_adds(home: Home, instance) -> None:
    assert home.materialize(stock_asset(V1), instance=instance, weeks=WEEKS[1:3]).success
    assert home.materialize(stock_asset(DECLARED), instance=instance, weeks=WEEKS).success
    assert set(read_units(home, DECLARED)) == set(WEEKS)


# -- a retailer adds a column --------------------------------------------------------------------


class StoresWithManager(Stores):
    """A store as a drop stated it, with who runs it."""

    manager: str = column("Store manager", nullable=True, added_in=2)


STORES = Contract("shop.stores", Stores, "team:test", key=("store_id", "week_start"))
WIDER = Contract("shop.stores", StoresWithManager, "team:test", key=("store_id", "week_start"))


def stores_asset(contract: Contract) -> dg.AssetsDefinition:
    """A raw table: drops, let in by its contract."""

    @lake_asset(contract, group="shop", kinds={"polars"})
    def stores(context: TableContext) -> pl.DataFrame:
        settings = context.settings
        admission = Admission(
            contract=contract, time_zone=settings.time_zone, pseudonymise=lambda ids: ids
        )
        files = [
            landing.read(file, landing=settings.landing_dir, week=week)
            for week in context.weeks
            for file in landing.drop(settings.landing_dir, "stores", week).files
        ]
        admitted = admission.admit(files)
        context.metadata["unknown"] = sorted(
            {name for names in admitted.unknown_columns.values() for name in names}
        )
        return admitted.frame

    return stores


@pytest.fixture
def stores_drops(home: Home) -> Home:
    """Two weeks of drops without the new column, then two with it."""
    for number, week in enumerate(WEEKS):
        ids = [str(s) for s in range(ROWS)]
        frame = pl.DataFrame({"store_id": ids, "channel": "retail", "region": "N"})
        if number >= 2:
            frame = frame.with_columns(manager=pl.lit(f"manager {number}"))
        write_drop(home.landing, table="stores", week=week, frame=frame)
    return home


def managers(home: Home, **kwargs: int) -> dict[date, set[str | None]]:
    frame = home.lake.scan(WIDER, **kwargs).collect()
    found = frame.group_by("week_start").agg(pl.col("manager").unique())
    return {week: set(names) for week, names in found.rows()}


def test_a_new_column_is_ignored_until_the_contract_adds_it(stores_drops: Home, instance) -> None:
    home = stores_drops
    result = home.materialize(stores_asset(STORES), instance=instance, weeks=WEEKS)
    assert result.success
    (event, *_) = result.asset_materializations_for_node("shop__stores")
    assert event.metadata["unknown"].value == ["manager"]
    old = home.lake.snapshot_id()

    # A backfill over the range in which the column is there.
    assert home.materialize(stores_asset(WIDER), instance=instance, weeks=WEEKS[2:]).success

    assert managers(home) == {
        WEEKS[0]: {None},
        WEEKS[1]: {None},
        WEEKS[2]: {"manager 2"},
        WEEKS[3]: {"manager 3"},
    }
    narrow = home.lake.scan(STORES, snapshot=old).collect()
    assert narrow.height == 4 * ROWS
    assert managers(home, snapshot=old) == {week: {None} for week in WEEKS}
    with home.lake.read() as connection:
        recorded = connection.execute(
            "SELECT kind, detail FROM lake.quality.schema_changes "
            "WHERE table_name = 'shop.stores' AND kind = 'additive'"
        ).fetchall()
    assert recorded == [("additive", "added manager VARCHAR")]


def test_a_range_and_single_weeks_agree_after_a_change(stores_drops: Home, instance) -> None:
    home = stores_drops
    assert home.materialize(stores_asset(STORES), instance=instance, weeks=WEEKS).success
    assert home.materialize(stores_asset(WIDER), instance=instance, weeks=WEEKS).success
    of_range = home.lake.scan(WIDER).collect().sort("week_start", "store_id")
    for week in WEEKS:
        assert home.materialize(stores_asset(WIDER), instance=instance, weeks=[week]).success
    assert home.lake.scan(WIDER).collect().sort("week_start", "store_id").equals(of_range)


def test_downstream_reads_weeks_from_before_and_after_the_change(
    stores_drops: Home, instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = stores_drops
    copy = Contract("shop.copy", StoresWithManager, "team:test")
    monkeypatch.setitem(CONTRACTS, "shop.stores", WIDER)
    monkeypatch.setitem(CONTRACTS, "shop.copy", copy)

    @lake_asset(
        copy,
        inputs={"stores": Input("shop.stores", weeks=SAME_WEEK)},
        group="shop",
        kinds={"polars"},
    )
    def copied(context: TableContext, stores: pl.LazyFrame) -> pl.LazyFrame:
        return stores

    assert home.materialize(stores_asset(STORES), instance=instance, weeks=WEEKS).success
    wider = stores_asset(WIDER)
    assert home.materialize(wider, instance=instance, weeks=WEEKS[3:]).success
    result = home.materialize(wider, copied, instance=instance, weeks=WEEKS, select=[copied])
    assert result.success
    names = home.lake.scan(copy).collect().group_by("week_start").agg(pl.col("manager").first())
    assert dict(names.rows()) == dict.fromkeys(WEEKS[:3]) | {WEEKS[3]: "manager 3"}
