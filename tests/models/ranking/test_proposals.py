"""All sources together, on tables made by hand: what each proposes, and what each takes."""

from datetime import date, datetime
from typing import Any

import polars as pl

from checks.contracts.registry import contract_of
from models.ranking.candidates import COUPON, NEIGHBOURS_SCORE, PERSONAL, SOURCES, SUBSTITUTE
from models.ranking.context import CONTEXT
from models.ranking.proposals import Known, propose, source_seconds, without_history

WEEK = date(2017, 6, 5)
INSTANT = datetime.fromisoformat("2017-06-05T04:00")
BEFORE = datetime.fromisoformat("2017-05-29T04:00")
PRODUCTS = ("cola", "lemonade", "tea")


def table(name: str, *rows: dict[str, Any]) -> pl.LazyFrame:
    """Rows of a table; what is not said is 1, or what the week makes it."""
    columns = contract_of(name).columns
    given = {"as_of": WEEK, "week_start": date(2017, 5, 29), "known_at": BEFORE}

    def value(column: Any, row: dict[str, Any]) -> Any:
        if column.name in row:
            return row[column.name]
        if column.name in given:
            return given[column.name]
        if column.dtype.is_numeric():
            return 1
        return INSTANT if column.dtype == pl.Datetime else None

    return pl.LazyFrame(
        {c.name: [value(c, row) for row in rows] for c in columns},
        schema={c.name: c.dtype for c in columns},
    )


def known() -> Known:
    bought = (("ann", "cola"), ("bob", "lemonade"))
    return Known(
        household=table("features.household", {"household_id": "ann"}, {"household_id": "bob"}),
        household_product=table(
            "features.household_product",
            *({"household_id": h, "product_id": p} for h, p in bought),
        ),
        household_store=table(
            "features.household_store",
            *({"household_id": h, "store_id": "s1"} for h in ("ann", "bob")),
        ),
        household_type=table(
            "features.household_type", {"household_id": "ann", "type": "soft", "purchases_91d": 3}
        ),
        product=table("features.product", *({"product_id": p} for p in PRODUCTS)),
        store_product=table(
            "features.store_product", {"store_id": "s1", "product_id": "tea", "households_28d": 5}
        ),
        lines=table(
            "marts.fct_basket_line",
            *(
                {"household_id": h, "product_id": p, "basket_id": h, "sold_at": BEFORE}
                for h, p in bought
            ),
        ),
        products=table(
            "marts.dim_product",
            *({"product_id": p, "type": "hot" if p == "tea" else "soft"} for p in PRODUCTS),
        ),
        plan=table(
            "marts.fct_promotion",
            {
                "week_start": WEEK,
                "store_id": "s1",
                "product_id": "lemonade",
                "on_display": True,
                "in_mailer": False,
            },
        ),
        campaigns=table(
            "marts.dim_campaign",
            {"campaign_id": "c1", "start_date": WEEK, "end_date": date(2017, 7, 1)},
        ),
        targets=table("marts.fct_campaign_target", {"campaign_id": "c1", "household_id": "ann"}),
        coupons=table("marts.fct_coupon_product", {"campaign_id": "c1", "product_id": "tea"}),
    )


def test_every_source_proposes() -> None:
    frame = propose(known(), as_ofs={WEEK: INSTANT}).collect()
    assert frame.select("household_id", "product_id", "as_of").is_duplicated().sum() == 0
    for source in SOURCES:
        assert frame[f"{source}_rank"].is_not_null().any(), source

    def proposed(source: str, household: str) -> set[str]:
        rows = frame.filter(
            pl.col(f"{source}_rank").is_not_null(), pl.col("household_id") == household
        )
        return set(rows["product_id"])

    assert proposed(PERSONAL, "ann") == {"cola"}
    assert proposed(COUPON, "ann") == {"tea"}
    assert proposed(COUPON, "bob") == set()
    assert proposed(SUBSTITUTE, "ann") == {"cola", "lemonade"}
    promoted = frame.filter(pl.col("product_id") == "lemonade")
    assert promoted["plan_display"].to_list() == [1.0, 1.0]


def test_what_is_sold_or_told_later_changes_nothing() -> None:
    now = known()
    later = {"known_at": datetime.fromisoformat("2017-06-12T04:00"), "campaign_id": "c1"}
    changed = Known(
        **{
            **vars(now),
            "lines": pl.concat(
                [
                    now.lines,
                    table(
                        "marts.fct_basket_line",
                        {
                            "household_id": "bob",
                            "product_id": "tea",
                            "basket_id": "b9",
                            "sold_at": datetime.fromisoformat("2017-06-05T05:00"),
                        },
                    ),
                ]
            ),
            "targets": pl.concat(
                [now.targets, table("marts.fct_campaign_target", later | {"household_id": "bob"})]
            ),
        }
    )
    frames = [propose(k, as_ofs={WEEK: INSTANT}).collect() for k in (now, changed)]
    assert frames[0].equals(frames[1])


def test_a_week_without_promotions_proposes_none_and_plans_none() -> None:
    now = known()
    quiet = Known(**{**vars(now), "plan": now.plan.clear()})
    frame = propose(quiet, as_ofs={WEEK: INSTANT}).collect()
    assert frame["promoted_rank"].is_null().all()
    assert frame.height > 0
    plan = [name for name in CONTEXT if name.startswith("plan_")]
    assert frame.select(pl.max_horizontal(pl.col(plan).max())).item() == 0.0


def test_each_source_has_its_seconds() -> None:
    taken = source_seconds(known(), as_ofs={WEEK: INSTANT})
    assert list(taken) == list(SOURCES)
    assert all(seconds > 0 for seconds in taken.values())


def test_a_newcomer_has_no_context() -> None:
    frame = without_history(propose(known(), as_ofs={WEEK: INSTANT})).collect()
    assert frame.select(NEIGHBOURS_SCORE, *CONTEXT).null_count().sum_horizontal().item() == (
        frame.height * (1 + len(CONTEXT))
    )
