from __future__ import annotations

from datetime import date, timedelta

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from models.demand.panel import PANEL, demand_panel, drink_lines, sales_of
from models.demand.prices import coverage

FIRST = date(2017, 1, 2)
COLUMNS = (
    "store_id",
    "basket_id",
    "product_id",
    "week_start",
    "quantity",
    "sales_value",
    "retail_disc",
    "coupon_match_disc",
)
DRINKS = {"cola", "soda", "tea"}
PRODUCTS = pl.DataFrame(
    {
        "product_id": ["cola", "soda", "tea"],
        "category": ["SOFT DRINKS", "SOFT DRINKS", "TEAS"],
        "manufacturer_id": ["m1", "m1", "m2"],
        "type": ["CANS", "CANS", "BAGS"],
        "week_start": [FIRST - timedelta(weeks=1)] * 3,
    }
)


def week(n: int) -> date:
    return FIRST + timedelta(weeks=n)


def line(
    store: str, basket: str, product: str, n: int, quantity: int = 1, off: float = 0.0
) -> tuple:
    paid = 2.0 * quantity * (1 - off)
    return (store, basket, product, week(n), quantity, paid, 2.0 * quantity * off, 0.0)


LINES = pl.DataFrame(
    [
        line("a", "1", "cola", 0),
        line("a", "1", "bread", 0),
        line("a", "2", "bread", 0),
        line("b", "3", "cola", 0, 2),
        line("b", "3", "tea", 0),
        line("c", "4", "soda", 0),
        line("a", "5", "cola", 1, 3, off=0.5),
        line("b", "6", "cola", 1, 1, off=0.2),
        line("c", "7", "cola", 1, 250, off=0.4),
    ],
    schema=COLUMNS,
    orient="row",
)
PROMOTIONS = pl.DataFrame(
    {
        "store_id": ["a", "b", "c", "a", "b", "c", "c"],
        "product_id": ["soda", "tea", "tea", "cola", "tea", "tea", "cola"],
        "week_start": [week(0)] * 3 + [week(1)] * 4,
        "display": ["7", "0", "0", "7", "0", "0", "0"],
        "mailer": ["0", "A", "A", "0", "A", "A", "A"],
    }
)


def panel(
    lines: pl.DataFrame = LINES, weeks=(1,), promotions: pl.DataFrame = PROMOTIONS, last: int = 1
) -> pl.DataFrame:
    sales = sales_of(drink_lines(lines.lazy(), drinks=DRINKS), promotions.lazy())
    return demand_panel(
        sales, promotions, PRODUCTS, weeks=[week(n) for n in weeks], last_sold=week(last)
    )


def row(frame: pl.DataFrame, store: str, product: str) -> dict:
    return frame.row(
        by_predicate=(pl.col("store_id") == store) & (pl.col("product_id") == product), named=True
    )


def test_sales_and_trips_by_hand() -> None:
    sales = sales_of(drink_lines(LINES.lazy(), drinks=DRINKS), PROMOTIONS.lazy())
    assert dict(
        sales.trips.filter(pl.col("week_start") == week(0)).select("store_id", "panel_trips").rows()
    ) == {"a": 2, "b": 1, "c": 1}
    # A line of 250 is one of something measured.
    assert dict(
        sales.sold.filter(pl.col("week_start") == week(1)).select("store_id", "units").rows()
    ) == {"a": 3, "b": 1, "c": 1}


def test_active_is_what_was_sold_or_is_promoted_and_was() -> None:
    made = panel()
    assert tuple(made.columns) == PANEL
    pairs = {(r["store_id"], r["product_id"]): r["active"] for r in made.to_dicts()}
    # c never sold cola before: its sale is history, not a row to forecast.
    assert pairs == {
        ("a", "cola"): True,
        ("b", "cola"): True,
        ("b", "tea"): True,
        ("c", "soda"): True,
        ("c", "cola"): False,
    }
    assert row(made, "b", "tea")["units"] == 0
    assert row(made, "b", "tea")["mailer"] == "A"
    assert row(made, "a", "cola")["panel_trips"] == 1


def test_a_product_leaves_after_a_quarter_and_a_promotion_brings_it_back() -> None:
    promoted = pl.DataFrame(
        {
            "store_id": ["a"],
            "product_id": ["cola"],
            "week_start": [week(20)],
            "display": ["7"],
            "mailer": ["0"],
        }
    )
    reports = pl.DataFrame(
        {
            "store_id": ["b"],
            "product_id": ["tea"],
            "week_start": [week(20)],
            "display": ["0"],
            "mailer": ["A"],
        }
    )
    made = panel(weeks=(20,), promotions=pl.concat([promoted, reports]), last=20)
    assert made.select("store_id", "product_id").rows() == [("a", "cola"), ("b", "tea")]


def test_stores_that_report_no_promotions_are_left_out() -> None:
    made = panel(promotions=PROMOTIONS.filter(pl.col("store_id") != "b"))
    assert "b" not in made["store_id"].to_list()


def test_discounts_come_from_other_stores() -> None:
    made = panel()
    # b .2 and c .4 without a's own .5; the rest likewise.
    assert row(made, "a", "cola")["discount"] == pytest.approx(0.3)
    assert row(made, "b", "cola")["discount"] == pytest.approx(0.45)
    assert row(made, "a", "cola")["discount_source"] == "other_stores"
    # Soda did not sell; its sibling cola did, three times: .5, .2, .4.
    assert row(made, "c", "soda")["discount_source"] == "siblings"
    assert row(made, "c", "soda")["discount"] == pytest.approx(0.35)
    # Tea was sold once before under a mailer, at full price.
    assert row(made, "b", "tea")["discount_source"] == "history"
    assert row(made, "b", "tea")["discount"] == 0.0
    assert row(made, "a", "cola")["base_price"] == pytest.approx(2.0)
    assert row(made, "a", "cola")["price"] == pytest.approx(1.4)


@pytest.mark.parametrize("quantity", [0, 1, 9])
@pytest.mark.parametrize("off", [0.0, 0.9])
def test_a_rows_own_sale_moves_nothing_of_its_plan(quantity: int, off: float) -> None:
    own = (pl.col("store_id") == "a") & (pl.col("week_start") == week(1))
    mutated = pl.concat(
        [
            LINES.filter(~own),
            pl.DataFrame(
                [line("a", "5", "cola", 1, quantity, off=off)], schema=COLUMNS, orient="row"
            ),
        ]
    )
    plan = [
        "discount",
        "discount_source",
        "price",
        "base_price",
        "base_price_source",
        "display",
        "mailer",
        "active",
    ]
    assert {k: row(panel(mutated), "a", "cola")[k] for k in plan} == {
        k: row(panel(), "a", "cola")[k] for k in plan
    }
    assert {k: row(panel(LINES.filter(~own)), "a", "cola")[k] for k in plan} == {
        k: row(panel(), "a", "cola")[k] for k in plan
    }


def test_the_week_and_what_comes_after_do_not_change_what_there_is() -> None:
    later = pl.concat(
        [LINES, pl.DataFrame([line("b", "9", "soda", 2, 5, off=0.5)], schema=COLUMNS, orient="row")]
    )
    assert_frame_equal(panel(later), panel())
    assert_frame_equal(panel(weeks=(0, 1)).filter(pl.col("week_start") == week(1)), panel())


def test_the_coming_week_has_a_plan_and_no_units() -> None:
    made = panel(weeks=(2,))
    assert made["units"].null_count() == made.height
    assert made["panel_trips"].null_count() == made.height
    assert not made["plan_known"].any()
    # As when the product was last sold without display and mailer.
    assert row(made, "a", "cola")["discount_source"] == "history"
    assert row(made, "a", "cola")["discount"] == pytest.approx(0.2)


def test_coverage_names_every_source() -> None:
    told = coverage(panel())
    assert told.filter(pl.col("what") == "discount")["rows"].sum() == 4
    assert told.group_by("what").agg(pl.col("share").sum())["share"].to_list() == pytest.approx(
        [1.0, 1.0]
    )
