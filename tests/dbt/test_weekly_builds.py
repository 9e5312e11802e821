"""What a build replaces, and what it leaves alone, judged on the rows in the lake."""

from __future__ import annotations

import signal
from datetime import timedelta
from pathlib import Path

import pytest
from tiny_lake import WEEKS, TinyLake, lines, promotions, wait_for

from checks.contracts.contract import validate
from checks.contracts.marts import MARTS
from checks.contracts.raw import BASKET_LINES, PRODUCTS, PROMOTIONS

pytestmark = pytest.mark.slow

FACTS = ("--select", "fct_basket_line", "fct_promotion", "fct_store_product_week")
MIDDLE = (WEEKS[6], WEEKS[8])


def test_every_mart_satisfies_its_contract(built: TinyLake) -> None:
    for contract in MARTS:
        stored = built.lake.scan(contract).collect()
        assert stored.height > 0, contract.table
        report = validate(stored, contract)
        assert report.passed, report


def test_a_week_is_a_partition_of_its_own(built: TinyLake) -> None:
    folders = (built.home / "lake" / "data" / "marts" / "fct_promotion").glob("week_start=*")
    assert {f.name for f in folders} == {f"week_start={w}" for w in WEEKS}


def test_the_year_again_a_range_and_single_weeks_give_the_same_rows(built: TinyLake) -> None:
    first = built.contents()
    built.dbt("run")
    assert built.contents() == first
    built.dbt("run", *FACTS, weeks=MIDDLE)
    assert built.contents() == first
    built.dbt("run", "--exclude", "staging", weeks=(WEEKS[7], WEEKS[7]))
    assert built.contents() == first


def test_only_the_weeks_asked_for_are_replaced_and_an_emptied_week_ends_empty(
    built: TinyLake,
) -> None:
    emptied, changed, kept = WEEKS[9], WEEKS[10], WEEKS[11]
    before = {w: built.content("fct_basket_line", where=f"week_start = '{w}'") for w in WEEKS}
    built.put(BASKET_LINES, [], weeks=[emptied])
    built.put(BASKET_LINES, lines(changed, price=9.9), weeks=[changed])
    built.put(BASKET_LINES, lines(kept, price=9.9), weeks=[kept])
    built.put(PROMOTIONS, [], weeks=[emptied])
    try:
        built.dbt("build", *FACTS, "--exclude-resource-type", "unit_test", weeks=(emptied, changed))
        for mart in ("fct_basket_line", "fct_promotion", "fct_store_product_week"):
            assert built.content(mart, where=f"week_start = '{emptied}'")[0] == 0, mart
        after = {w: built.content("fct_basket_line", where=f"week_start = '{w}'") for w in WEEKS}
        differing = [w for w in WEEKS if after[w] != before[w]]
        # `kept` changed in raw, but the build did not ask for it.
        assert differing == [emptied, changed]
    finally:
        for week in (emptied, changed, kept):
            built.put(BASKET_LINES, lines(week), weeks=[week])
        built.put(PROMOTIONS, promotions(emptied, display="A"), weeks=[emptied])
        built.dbt("run", *FACTS, weeks=(emptied, changed))
    assert built.content("fct_basket_line", where=f"week_start = '{emptied}'") == before[emptied]


def test_a_corrected_week_closes_the_versions_it_opened_later(built: TinyLake) -> None:
    def product(week_number: int, category: str) -> dict:
        return {"week_start": WEEKS[week_number], "product_id": "7", "category": category}

    def versions() -> list[tuple]:
        return built.query(
            "SELECT week_start, category FROM lake.marts.dim_product "
            "WHERE product_id = '7' ORDER BY 1"
        )

    select = ("--select", "dim_product")
    built.put(PRODUCTS, [product(5, "COFFEE")], weeks=[WEEKS[5]])
    built.put(PRODUCTS, [product(8, "COFFEE")], weeks=[WEEKS[8]])
    try:
        built.dbt("run", *select, weeks=(WEEKS[5], WEEKS[8]))
        assert versions() == [(WEEKS[0], "TEA"), (WEEKS[5], "COFFEE")]
        # Corrected: week 5 said nothing new, so it is week 8 that opens the version.
        built.put(PRODUCTS, [product(5, "TEA")], weeks=[WEEKS[5]])
        built.dbt("run", *select, weeks=(WEEKS[5], WEEKS[5]))
        assert versions() == [(WEEKS[0], "TEA"), (WEEKS[8], "COFFEE")]
    finally:
        built.put(PRODUCTS, [], weeks=[WEEKS[5], WEEKS[8]])
        built.dbt("run", *select, weeks=(WEEKS[5], WEEKS[8]))
    assert versions() == [(WEEKS[0], "TEA")]


def test_a_build_killed_in_the_middle_leaves_the_old_rows(built: TinyLake) -> None:
    folder = built.home / "lake" / "data" / "marts" / "fct_promotion"

    def displays() -> set[str]:
        rows = built.query("SELECT DISTINCT display FROM lake.marts.fct_promotion")
        return {display for (display,) in rows}

    def files() -> set[Path]:
        return set(folder.rglob("*.parquet"))

    whole = built.content("fct_promotion")
    assert displays() == {"A"}
    built.put(PROMOTIONS, [r for w in WEEKS for r in promotions(w, display="B")], weeks=WEEKS)
    try:
        before = files()
        child = built.start("run", "--select", "fct_promotion")
        try:
            # New files lie there before the transaction that makes them part of the table.
            wait_for(lambda: len(files() - before) >= 3, seconds=90, what="files of the build")
        finally:
            child.kill()
        assert child.wait() == -signal.SIGKILL
        assert built.content("fct_promotion") == whole
        built.dbt("run", "--select", "fct_promotion")
        assert displays() == {"B"}
        assert built.content("fct_promotion")[0] == whole[0]
    finally:
        built.put(PROMOTIONS, [r for w in WEEKS for r in promotions(w, display="A")], weeks=WEEKS)
        built.dbt("run", "--select", "fct_promotion")
    assert built.content("fct_promotion") == whole


def test_a_failing_model_rolls_back_its_delete(built: TinyLake) -> None:
    week = WEEKS[4]
    before = built.content("fct_basket_line")
    # The contract refuses a line without a product, after the old week was deleted.
    built.put(BASKET_LINES, [lines(week)[0] | {"product_id": None}], weeks=[week])
    try:
        done = built.dbt("run", "--select", "fct_basket_line", weeks=(week, week), ok=False)
        assert "NOT NULL constraint failed" in done.output
        assert built.content("fct_basket_line") == before
    finally:
        built.put(BASKET_LINES, lines(week), weeks=[week])


def test_data_tests_see_a_line_in_the_wrong_week(built: TinyLake) -> None:
    week = WEEKS[5]
    wrong = lines(week)[0]
    wrong["sold_at"] += timedelta(days=7)
    built.put(BASKET_LINES, [wrong], weeks=[week])
    build = ("build", "--select", "fct_basket_line", "--exclude-resource-type", "unit_test")
    try:
        done = built.dbt(*build, weeks=(week, week), ok=False)
        failed = {
            line.split(" FAIL ")[1].split()[1]
            for line in done.output.splitlines()
            if " FAIL " in line
        }
        assert failed == {
            "sold_in_its_week_fct_basket_line_sold_at",
            "fct_basket_line_known_after_the_sale",
        }
        # The bad week is not looked at by a build of another one.
        built.dbt(*build, weeks=(WEEKS[6], WEEKS[6]))
    finally:
        built.put(BASKET_LINES, lines(week), weeks=[week])
        built.dbt("run", "--select", "fct_basket_line", weeks=(week, week))


def test_weeks_are_mondays(built: TinyLake) -> None:
    tuesday = WEEKS[3] + timedelta(days=1)
    done = built.dbt("run", "--select", "dim_store", weeks=(tuesday, tuesday), ok=False)
    assert f"{tuesday} is not a Monday" in done.output
    assert str(WEEKS[3]) in done.output


def test_a_full_refresh_of_some_weeks_is_refused(built: TinyLake) -> None:
    before = built.content("fct_basket_line")
    done = built.dbt("run", "--select", "fct_basket_line", "--full-refresh", weeks=MIDDLE, ok=False)
    assert "--full-refresh drops every week" in done.output
    assert built.content("fct_basket_line") == before


def test_unchanged_views_are_not_written_again(built: TinyLake) -> None:
    def snapshots() -> int:
        ((count,),) = built.query("SELECT count(*) FROM lake.snapshots()")
        return count

    before = snapshots()
    done = built.dbt("run", "--select", "staging")
    assert done.output.count("[unchanged in") == 9
    assert snapshots() == before
