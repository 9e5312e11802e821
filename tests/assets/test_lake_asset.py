"""The asset factory: compute, validate, report, and only then write; for a week or a range."""

import base64
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from typing import Any

import dagster as dg
import pandera.polars as pa
import polars as pl
import pytest

from assets.lake_asset import FixedWeeks, Input, TableContext, lake_asset
from assets.partitions import PAST, PAST_AND_SAME_WEEK, SAME_WEEK, WeekWindow, calendar
from checks.contracts.contract import Contract, column
from checks.contracts.registry import CONTRACTS
from checks.drops import DropError, RefusedDropsError
from resources import partition_status
from tests.conftest import Home, failure_of

WEEKS = calendar()[:5]
FIRST, SECOND, THIRD, FOURTH, FIFTH = WEEKS
STORES = 20


class Sales(pa.DataFrameModel):
    """Units per store and week."""

    week_start: pl.Date = column("Week")
    store_id: str = column("Store")
    units: pl.Int64 = column("Units", ge=0, unit="units")


class Seen(pa.DataFrameModel):
    """What a week saw of sales."""

    week_start: pl.Date = column("Week")
    weeks: pl.Int64 = column("Weeks seen")
    units: pl.Int64 = column("Units seen")
    latest: pl.Date = column("Latest week seen", nullable=True)


class Total(pa.DataFrameModel):
    """All units."""

    units: pl.Int64 = column("Units")


SALES = Contract("shop.sales", Sales, "team:test", key=("week_start", "store_id"))
SEEN = Contract("shop.seen", Seen, "team:test")
TOTAL = Contract("shop.total", Total, "team:test", partition_column=None)


@pytest.fixture(autouse=True)
def declared(monkeypatch: pytest.MonkeyPatch) -> None:
    for contract in (SALES, SEEN, TOTAL):
        monkeypatch.setitem(CONTRACTS, contract.table, contract)


def sales_of(week: date, stores: int = STORES) -> pl.DataFrame:
    number = (week - FIRST).days // 7
    return pl.DataFrame(
        {
            "week_start": [week] * stores,
            "store_id": [str(s) for s in range(stores)],
            "units": [number * 100 + s for s in range(stores)],
        },
        schema={"week_start": pl.Date, "store_id": pl.String, "units": pl.Int64},
    )


def sales_asset(
    change: Callable[[pl.DataFrame], pl.DataFrame] = lambda f: f, **options: Any
) -> dg.AssetsDefinition:
    @lake_asset(SALES, group="shop", kinds={"polars"}, **options)
    def sales(context: TableContext) -> pl.DataFrame:
        return change(pl.concat([sales_of(w) for w in context.weeks]))

    return sales


def seen_asset(window: WeekWindow, **options: Any) -> dg.AssetsDefinition:
    """For each week, what is visible of sales; each week filters for itself, as features do."""

    @lake_asset(
        SEEN,
        inputs={"sales": Input("shop.sales", weeks=window)},
        group="shop",
        kinds={"polars"},
        **options,
    )
    def seen(context: TableContext, sales: pl.LazyFrame) -> pl.LazyFrame:
        per_week = [
            sales.filter(
                pl.col("week_start").is_between(
                    week + window.start * timedelta(weeks=1), week + window.end * timedelta(weeks=1)
                )
            ).select(
                pl.lit(week).alias("week_start"),
                pl.col("week_start").n_unique().cast(pl.Int64).alias("weeks"),
                pl.col("units").sum(),
                pl.col("week_start").max().alias("latest"),
            )
            for week in context.weeks
        ]
        return pl.concat(per_week)

    return seen


def statuses(home: Home, table: str = "shop.sales") -> dict[date | None, tuple[str, int]]:
    return {
        week: (s.status, s.rows)
        for (_, week), s in partition_status.current(home.lake, [table]).items()
    }


def versions(home: Home, table: str) -> dict[date | None, str]:
    found = partition_status.current(home.lake, [table])
    return {week: s.data_version for (_, week), s in found.items()}


def bad_week(week: date) -> Callable[[pl.DataFrame], pl.DataFrame]:
    return lambda frame: frame.with_columns(
        units=pl.when(week_start=week).then(-1).otherwise("units").cast(pl.Int64)
    )


# -- writing -------------------------------------------------------------------------------------


def test_a_range_is_one_run_and_every_week_is_recorded(home: Home, instance) -> None:
    result = home.materialize(sales_asset(), instance=instance, weeks=WEEKS)
    assert result.success
    assert statuses(home) == dict.fromkeys(WEEKS, ("passed", STORES))
    expected = pl.concat([sales_of(w) for w in WEEKS])
    found = home.lake.scan(SALES).collect().sort("week_start", pl.col("units"))
    assert found.equals(expected)
    made = instance.get_materialized_partitions(dg.AssetKey(["shop", "sales"]))
    assert made == {str(w) for w in WEEKS}


def test_a_range_and_single_weeks_give_identical_rows(home: Home, instance) -> None:
    assets = [sales_asset(), seen_asset(PAST)]
    assert home.materialize(*assets, instance=instance, weeks=WEEKS).success
    of_range = {t: versions(home, t) for t in ("shop.sales", "shop.seen")}
    for week in reversed(WEEKS):
        assert home.materialize(*assets, instance=instance, weeks=[week]).success
    of_weeks = {t: versions(home, t) for t in ("shop.sales", "shop.seen")}
    assert of_range == of_weeks
    assert len(set(of_range["shop.seen"].values())) == len(WEEKS)


def test_chunks_are_staged_give_the_same_rows_and_leave_nothing(home: Home, instance) -> None:
    staged: list[int] = []

    def count(frame: pl.DataFrame) -> pl.DataFrame:
        staged.append(len(list((home.settings.lake_dir / "staging").rglob("*.parquet"))))
        return frame

    assert home.materialize(sales_asset(), instance=instance, weeks=WEEKS).success
    whole = versions(home, "shop.sales")
    asset = sales_asset(count, weeks_per_chunk=2)
    assert home.materialize(asset, instance=instance, weeks=WEEKS).success
    assert staged[0] == 0
    assert staged[0] < staged[1] < staged[2], "each chunk is put away before the next"
    assert versions(home, "shop.sales") == whole
    assert list((home.settings.lake_dir / "staging").rglob("*.parquet")) == []


def test_what_was_written_is_said(home: Home, instance) -> None:
    result = home.materialize(sales_asset(), instance=instance, weeks=WEEKS[:2])
    (event, _) = result.asset_materializations_for_node("shop__sales")
    metadata = {k: v.value for k, v in event.metadata.items()}
    assert metadata["dagster/row_count"] == 2 * STORES
    assert metadata["snapshot_id"] == home.lake.snapshot_id()
    picture = base64.b64decode(metadata["rows_by_week"].split("base64,")[1][:-1]).decode()
    assert all(f"{week}: {STORES}<" in picture for week in WEEKS[:2])
    assert {"bytes", "seconds", "data_version", "contract_version"} <= set(metadata)


def test_the_asset_shows_its_contract() -> None:
    key = dg.AssetKey(["shop", "sales"])
    spec = sales_asset().get_asset_spec(key)
    assert spec.description == "Units per store and week."
    assert spec.owners == ["team:test"]
    columns = {c.name: c for c in spec.metadata["dagster/column_schema"].columns}
    assert columns["units"].description == "Units [units]"
    assert any("greater_than_or_equal_to" in o for o in columns["units"].constraints.other)
    (check,) = sales_asset().check_specs
    assert (check.name, check.blocking) == ("contract", True)


def test_a_table_without_weeks_is_replaced_whole(home: Home, instance) -> None:
    @lake_asset(
        TOTAL,
        inputs={"sales": Input("shop.sales", weeks=FixedWeeks(SECOND, THIRD))},
        group="shop",
        kinds={"polars"},
        partitioned=False,
    )
    def total(context: TableContext, sales: pl.LazyFrame) -> pl.LazyFrame:
        return sales.select(pl.col("units").sum())

    sales = sales_asset()
    assert home.materialize(sales, instance=instance, weeks=WEEKS).success
    for _ in range(2):
        result = home.materialize(sales, total, instance=instance, select=[total])
        assert result.success
    expected = pl.concat([sales_of(SECOND), sales_of(THIRD)])["units"].sum()
    assert home.lake.scan(TOTAL).collect()["units"].to_list() == [expected]
    assert statuses(home, "shop.total") == {None: ("passed", 1)}


# -- refusing ------------------------------------------------------------------------------------


def test_a_frame_that_was_not_validated_is_refused(home: Home, instance) -> None:
    @dg.asset(key=["shop", "sales"], io_manager_key="lake_io")
    def sales() -> pl.DataFrame:
        return sales_of(FIRST)

    result = home.materialize(sales, instance=instance)
    assert not result.success
    assert "shop.sales: the lake takes only rows that passed their contract, got DataFrame" in (
        failure_of(result)
    )
    assert not home.lake.exists("shop.sales")


def test_a_broken_contract_writes_nothing_and_keeps_the_last_good_version(
    home: Home, instance
) -> None:
    assert home.materialize(sales_asset(), instance=instance, weeks=WEEKS[:3]).success
    good, before = versions(home, "shop.sales"), home.lake.scan(SALES).collect()

    result = home.materialize(sales_asset(bad_week(SECOND)), instance=instance, weeks=WEEKS)

    assert not result.success
    assert home.lake.scan(SALES).collect().sort(pl.all()).equals(before.sort(pl.all()))
    # Only the bad week is marked; the fourth and fifth have no state, since nothing was written.
    assert statuses(home) == {
        FIRST: ("passed", STORES),
        SECOND: ("failed", STORES),
        THIRD: ("passed", STORES),
    }
    assert versions(home, "shop.sales") == good
    failed = partition_status.current(home.lake)["shop.sales", SECOND]
    assert "units: greater_than_or_equal_to(0) broken by 20 row(s)" in failed.reason
    assert result.asset_materializations_for_node("shop__sales") == []


def test_a_broken_contract_says_what_broke_where_and_what_to_do(home: Home, instance) -> None:
    result = home.materialize(sales_asset(bad_week(SECOND)), instance=instance, weeks=WEEKS)
    said = failure_of(result)
    assert "shop.sales: units: greater_than_or_equal_to(0) broken by 20 row(s)" in said
    assert f"Nothing was written. Bad weeks: {SECOND}." in said
    assert "the other weeks can be run without them" in said
    (check,) = result.get_asset_check_evaluations()
    assert (check.check_name, check.passed) == ("contract", False)
    assert check.metadata["bad_weeks"].value == [str(SECOND)]
    assert check.metadata["first_week"].value == str(FIRST)
    assert check.metadata["rows"].value == len(WEEKS) * STORES


@pytest.mark.parametrize("chunk", [None, 1, 2])
def test_a_bad_week_is_found_in_every_size_of_chunk(home: Home, instance, chunk) -> None:
    asset = sales_asset(bad_week(FOURTH), weeks_per_chunk=chunk)
    assert not home.materialize(asset, instance=instance, weeks=WEEKS).success
    assert statuses(home) == {FOURTH: ("failed", 0)}
    assert not home.lake.exists("shop.sales")
    assert list((home.settings.lake_dir / "staging").rglob("*.parquet")) == []


def test_what_is_downstream_of_a_broken_contract_does_not_run(home: Home, instance) -> None:
    assets = [sales_asset(bad_week(SECOND)), seen_asset(PAST)]
    assert not home.materialize(*assets, instance=instance, weeks=WEEKS).success
    assert statuses(home, "shop.seen") == {}


def test_a_mended_week_passes_again(home: Home, instance) -> None:
    assert not home.materialize(
        sales_asset(bad_week(SECOND)), instance=instance, weeks=WEEKS
    ).success
    assert home.materialize(sales_asset(), instance=instance, weeks=[SECOND]).success
    assert statuses(home) == {SECOND: ("passed", STORES)}


def test_rows_of_weeks_that_were_not_asked_for_are_refused(home: Home, instance) -> None:
    asset = sales_asset(lambda frame: pl.concat([frame, sales_of(FIFTH)]))
    result = home.materialize(asset, instance=instance, weeks=WEEKS[:2])
    assert not result.success
    said = failure_of(result)
    assert f"shop.sales: asked for {FIRST} .. {SECOND}, but the rows also hold" in said
    assert str(FIFTH) in said
    assert "filter them in the asset's function" in said
    assert not home.lake.exists("shop.sales")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda f: f.drop("units"),
        lambda f: f.with_columns(pl.col("units").cast(pl.Float64)),
        lambda f: f.with_columns(units=pl.lit("many")),
    ],
    ids=["missing", "re-typed", "no number"],
)
@pytest.mark.parametrize("chunk", [1, 2])
def test_a_wrong_schema_fails_every_week(home: Home, instance, spoil, chunk: int) -> None:
    asset = sales_asset(spoil, weeks_per_chunk=chunk)
    assert not home.materialize(asset, instance=instance, weeks=WEEKS[:2]).success
    assert statuses(home) == dict.fromkeys(WEEKS[:2], ("failed", 0))


def test_a_bug_in_a_function_changes_nothing(home: Home, instance) -> None:
    def bug(frame: pl.DataFrame) -> pl.DataFrame:
        raise ZeroDivisionError("a bug")

    assert home.materialize(sales_asset(), instance=instance, weeks=WEEKS[:1]).success
    before = home.lake.snapshot_id()
    result = home.materialize(sales_asset(bug), instance=instance, weeks=WEEKS)
    assert not result.success
    assert "a bug" in failure_of(result)
    assert home.lake.snapshot_id() == before
    assert statuses(home) == {FIRST: ("passed", STORES)}


def test_a_drop_error_fails_its_own_weeks_only(home: Home, instance) -> None:
    def refuse(frame: pl.DataFrame) -> pl.DataFrame:
        torn = DropError(file="f.csv", cause="it is torn", remedy="Send it again", weeks=[THIRD])
        raise RefusedDropsError([torn])

    result = home.materialize(sales_asset(refuse), instance=instance, weeks=WEEKS)
    assert not result.success
    assert failure_of(result).startswith("f.csv: it is torn. Send it again")
    assert statuses(home) == {THIRD: ("failed", 0)}


def test_one_of_two_tables_that_breaks_holds_back_both(home: Home, instance) -> None:
    @lake_asset(SALES, SEEN, group="shop", kinds={"polars"})
    def both(context: TableContext) -> dict[str, pl.DataFrame]:
        seen = pl.DataFrame(
            {"week_start": context.weeks, "weeks": 0, "units": 0, "latest": None},
            schema={c.name: c.dtype for c in SEEN.columns},
        )
        frames = pl.concat([sales_of(w) for w in context.weeks])
        return {SALES.table: frames if good else bad_week(SECOND)(frames), SEEN.table: seen}

    good = False
    assert not home.materialize(both, instance=instance, weeks=WEEKS[:3]).success
    assert not home.lake.exists("shop.sales")
    assert not home.lake.exists("shop.seen")
    good = True
    assert home.materialize(both, instance=instance, weeks=WEEKS[:3]).success
    assert statuses(home, "shop.seen") == dict.fromkeys(WEEKS[:3], ("passed", 1))


# -- reading -------------------------------------------------------------------------------------


def seen_weeks(home: Home) -> Iterator[tuple[date, int, date | None]]:
    frame = home.lake.scan(SEEN).select("week_start", "weeks", "latest").collect()
    yield from frame.sort("week_start").rows()


@pytest.mark.parametrize(
    ("window", "chunk", "expected"),
    [
        (SAME_WEEK, 2, [1, 1, 1, 1, 1]),
        (PAST, None, [0, 1, 2, 3, 4]),
        (PAST, 1, [0, 1, 2, 3, 4]),
        (PAST_AND_SAME_WEEK, 2, [1, 2, 3, 4, 5]),
        (WeekWindow(-2, -1), 2, [0, 1, 2, 2, 2]),
    ],
)
def test_a_week_sees_only_the_weeks_its_window_admits(
    home: Home, instance, window: WeekWindow, chunk: int | None, expected: list[int]
) -> None:
    assets = [sales_asset(), seen_asset(window, weeks_per_chunk=chunk)]
    result = home.materialize(*assets, instance=instance, weeks=WEEKS)
    assert result.success
    found = list(seen_weeks(home))
    assert [weeks for _, weeks, _ in found] == expected
    last = timedelta(weeks=window.end)
    assert [latest for _, _, latest in found if latest] == [
        w + last for w, n in zip(WEEKS, expected, strict=True) if n
    ]


def test_a_single_week_is_handed_nothing_from_its_future(home: Home, instance) -> None:
    handed: list[list[date]] = []

    @lake_asset(
        SEEN,
        inputs={"sales": Input("shop.sales", weeks=PAST)},
        group="shop",
        kinds={"polars"},
    )
    def seen(context: TableContext, sales: pl.LazyFrame) -> pl.DataFrame:
        handed.append(sales.collect()["week_start"].unique().sort().to_list())
        return SEEN.empty()

    sales = sales_asset()
    assert home.materialize(sales, instance=instance, weeks=WEEKS).success
    for weeks in ([FIRST], [THIRD], [SECOND, THIRD]):
        assert home.materialize(sales, seen, instance=instance, weeks=weeks, select=[seen]).success
    # A range is handed the union of its weeks' pasts.
    assert handed == [[], [FIRST, SECOND], [FIRST, SECOND]]


def test_the_inputs_a_week_was_made_from_are_recorded(home: Home, instance) -> None:
    assets = [sales_asset(), seen_asset(PAST)]
    assert home.materialize(*assets, instance=instance, weeks=WEEKS[:3]).success
    before = partition_status.current(home.lake, ["shop.seen"])
    changed = sales_asset(lambda f: f.with_columns(pl.col("units") + 1))
    result = home.materialize(changed, assets[1], instance=instance, weeks=[SECOND])
    assert result.success
    assert home.materialize(*assets, instance=instance, weeks=WEEKS[:3], select=[assets[1]]).success
    after = partition_status.current(home.lake, ["shop.seen"])
    moved = [w for w in WEEKS[:3] if before["shop.seen", w].inputs != after["shop.seen", w].inputs]
    assert moved == [THIRD], "only the third week has the second in its past"
