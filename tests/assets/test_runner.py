"""Bringing the graph up to date: what is stale runs once, what is the same stops there."""

from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import dagster as dg
import pandera.polars as pa
import polars as pl
import pytest

from assets.governance.plan import Batch
from assets.governance.runner import Outcome, UnknownAssetError, partitions_of, run_tags
from assets.lake_asset import Input, TableContext, lake_asset
from assets.partitions import PAST, calendar
from checks.contracts.contract import Contract, column
from checks.contracts.registry import CONTRACTS
from resources import partition_status
from tests.conftest import Home, assets_of
from tests.tiny_retailer import drops_of_week, weeks_from_first, write_drop, write_drops

WEEKS = calendar()
DROPPED = weeks_from_first(4)
SECOND = WEEKS[1]


class Known(pa.DataFrameModel):
    """Products known at the start of a week."""

    week_start: pl.Date = column("Week")
    products: pl.Int64 = column("Products")


KNOWN = Contract("shop.known", Known, "team:test")


@dataclass
class Shop:
    """A graph of products and what a week knows of them, over a tiny retailer's drops."""

    home: Home
    instance: dg.DagsterInstance
    ran: list[tuple[str, list[date]]] = field(default_factory=list)

    def known(self) -> dg.AssetsDefinition:
        ran = self.ran

        @lake_asset(
            KNOWN,
            inputs={"products": Input("raw.products", weeks=PAST)},
            group="shop",
            kinds={"polars"},
        )
        def known(context: TableContext, products: pl.LazyFrame) -> pl.DataFrame:
            ran.append(("shop.known", context.weeks))
            frame = products.collect()
            counts = [
                frame.filter(pl.col("week_start") < week)["product_id"].n_unique()
                for week in context.weeks
            ]
            return pl.DataFrame({"week_start": context.weeks, "products": counts}).cast(
                {"products": pl.Int64}
            )

        return known

    def up_to_date(self, only: list[str] | None = None) -> Outcome:
        definitions = self.home.definitions(*assets_of("products"), self.known())
        return self.home.run(definitions, instance=self.instance, only=only)

    def runs(self, outcome: Outcome) -> list[tuple[tuple[str, ...], date, date]]:
        return [(r.batch.assets, *(r.batch.weeks or (None, None))) for r in outcome.ran]

    def products(self, week: date) -> pl.DataFrame:
        return drops_of_week(week)["products"]

    def send(self, week: date, frame: pl.DataFrame, **options: str) -> Path:
        return write_drop(self.home.landing, table="products", week=week, frame=frame, **options)


@pytest.fixture
def shop(home: Home, instance, monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.setitem(CONTRACTS, KNOWN.table, KNOWN)
    write_drops(home.landing, weeks=DROPPED, tables=["products"])
    return Shop(home=home, instance=instance)


def test_everything_is_made_in_one_run_and_then_nothing(shop: Shop) -> None:
    outcome = shop.up_to_date()
    assert outcome.success
    assert shop.runs(outcome) == [
        (
            ("landing.products", "quarantine.products", "raw.products", "shop.known"),
            WEEKS[0],
            WEEKS[-1],
        )
    ]
    assert list(outcome.plan.entries) == []
    again = shop.up_to_date()
    assert again.success
    assert again.ran == []


def test_the_same_rows_in_other_bytes_stop_at_raw(shop: Shop) -> None:
    assert shop.up_to_date().success
    shop.ran.clear()
    path = shop.send(SECOND, shop.products(SECOND))
    shop.products(SECOND).write_parquet(path, compression="uncompressed")

    outcome = shop.up_to_date()

    assert outcome.success
    assert shop.runs(outcome) == [
        (("landing.products",), SECOND, SECOND),
        (("quarantine.products", "raw.products"), SECOND, SECOND),
    ]
    assert shop.ran == [], "nothing that sees the week has run"


def test_one_corrected_product_reruns_only_what_sees_its_week(shop: Shop) -> None:
    assert shop.up_to_date().success
    shop.ran.clear()
    before = partition_status.current(shop.home.lake)
    shop.send(SECOND, shop.products(SECOND).with_columns(category=pl.lit("TEA")))

    outcome = shop.up_to_date()

    assert outcome.success
    assert shop.ran == [("shop.known", WEEKS[2:])]
    after = partition_status.current(shop.home.lake)
    rerun = {key for key, s in after.items() if s.run_id != before[key].run_id}
    assert rerun == {
        ("landing.products", SECOND),
        ("raw.products", SECOND),
        ("quarantine.products", SECOND),
        *(("shop.known", w) for w in WEEKS[2:]),
    }


def test_a_late_drop_is_found(shop: Shop) -> None:
    assert shop.up_to_date().success
    late = pl.DataFrame({"product_id": ["late"]}).with_columns(
        pl.lit(None, dtype=pl.String).alias(c) for c in ("manufacturer_id", "department")
    )
    shop.send(SECOND, late, name="late")
    outcome = shop.up_to_date()
    assert outcome.success
    assert outcome.ran[0].batch == Batch(("landing.products",), (SECOND, SECOND))
    assert shop.home.lake.scan(KNOWN, first=WEEKS[2], last=WEEKS[2]).collect()[
        "products"
    ].to_list() == [15 + 1 + 1]


def test_a_bad_week_holds_back_only_what_sees_it(shop: Shop) -> None:
    """The good weeks of the failed range land in the same call."""
    shop.send(SECOND, shop.products(SECOND).drop("product_id"))

    outcome = shop.up_to_date()

    assert not outcome.success
    assert not outcome.ran[0].success
    (error,) = outcome.ran[0].errors
    assert f"products/{SECOND}/drop.parquet, column product_id: the column is missing" in error
    statuses = partition_status.current(shop.home.lake)
    raw = {w: s.status for (a, w), s in statuses.items() if a == "raw.products"}
    assert raw == dict.fromkeys(WEEKS, "passed") | {SECOND: "failed"}
    known = {w for a, w in statuses if a == "shop.known"}
    assert known == set(WEEKS[:2])
    blocked = {(e.asset, e.week) for e in outcome.plan.of("blocked")}
    assert blocked == {
        ("raw.products", SECOND),
        ("quarantine.products", SECOND),
        *(("shop.known", w) for w in WEEKS[2:]),
    }
    assert outcome.plan.of("stale") == []

    # Nothing is tried again for nothing; a mended file is.
    assert shop.up_to_date().ran == []
    shop.send(SECOND, shop.products(SECOND))
    mended = shop.up_to_date()
    assert mended.success
    assert {(a, w) for a, w in partition_status.current(shop.home.lake) if a == "shop.known"} == {
        ("shop.known", w) for w in WEEKS
    }


def test_a_bug_is_tried_once_and_stops_only_what_is_made_from_it(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a bug in reading")

    from resources import landing

    monkeypatch.setattr(landing, "read", broken)
    outcome = shop.up_to_date()
    assert not outcome.success
    assert len(outcome.ran) == 1
    assert "a bug in reading" in outcome.ran[0].errors[0]
    assert shop.ran == []
    assert ("raw.products", SECOND) in {(e.asset, e.week) for e in outcome.plan.of("stale")}


def test_only_some_assets(shop: Shop) -> None:
    # What it is made from comes along, and its quarantine: one step makes both.
    outcome = shop.up_to_date(only=["raw.products"])
    assert [r.batch.assets for r in outcome.ran] == [
        ("landing.products", "quarantine.products", "raw.products")
    ]
    assert shop.ran == []
    assert not outcome.success, "the rest is still stale"
    assert {e.asset for e in outcome.plan.entries} == {"shop.known"}


def test_an_asset_that_does_not_exist_is_named(shop: Shop) -> None:
    with pytest.raises(UnknownAssetError, match=r"no asset raw.prodcts; did you mean raw.products"):
        shop.up_to_date(only=["raw.prodcts"])
    assert shop.ran == []


def test_runs_leave_no_lock_and_say_whose_they_are(shop: Shop) -> None:
    outcome = shop.up_to_date(only=["landing.products"])
    run = shop.instance.get_run_by_id(outcome.ran[0].run_id)
    assert run.tags["liftgraph/pid"].isdigit()
    assert list((shop.home.path / "runs").glob("*.lock")) == []


def test_a_run_that_is_interrupted_lets_go_of_its_lock(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(dg.JobDefinition, "execute_in_process", interrupted)
    with pytest.raises(KeyboardInterrupt):
        shop.up_to_date()
    assert list((shop.home.path / "runs").glob("*.lock")) == []


def test_partitions_and_tags_of_a_batch() -> None:
    weeks = (WEEKS[0], WEEKS[2])
    assert partitions_of(Batch(("a", "b"), weeks)) == {(x, w) for x in "ab" for w in WEEKS[:3]}
    assert partitions_of(Batch(("a",), None)) == {("a", None)}
    assert run_tags(Batch(("a",), None)) == {}
    assert set(run_tags(Batch(("a",), weeks)).values()) == {str(WEEKS[0]), str(WEEKS[2])}
