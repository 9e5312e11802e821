from __future__ import annotations

from datetime import date, datetime, time

import polars as pl
import pytest

from checks.contracts.contract import validate
from checks.contracts.ranking import CANDIDATES
from models.ranking.candidates import (
    NEIGHBOURS_SCORE,
    SOURCES,
    coupon_linked,
    global_frequency,
    neighbours,
    own_store,
    personal_frequency,
    promoted,
    store_popular,
    substitutes,
    unite,
)
from models.ranking.context import CONTEXT
from models.ranking.order import OrderBy, top

W1, W2 = date(2017, 1, 9), date(2017, 1, 16)
ANN, BOB, NEW = "ann000000000", "bob000000000", "new000000000"


def households(*rows: tuple[str, date]) -> pl.LazyFrame:
    return pl.LazyFrame(
        [(h, w, datetime.combine(w, time(hour=5))) for h, w in rows],
        schema={"household_id": pl.String, "as_of": pl.Date, "known_at": pl.Datetime("us")},
        orient="row",
    )


def pairs(*rows: tuple[str, str, date, int, float | None]) -> pl.LazyFrame:
    return pl.LazyFrame(
        list(rows),
        schema={
            "household_id": pl.String,
            "product_id": pl.String,
            "as_of": pl.Date,
            "count": pl.Int32,
            "days": pl.Float32,
        },
        orient="row",
    )


def products(*rows: tuple[str, date, int]) -> pl.LazyFrame:
    return pl.LazyFrame(
        list(rows),
        schema={"product_id": pl.String, "as_of": pl.Date, "homes": pl.Int32},
        orient="row",
    )


def build(personal: int = 2, everybody: int = 2) -> pl.DataFrame:
    habits = pairs(
        (ANN, "tea", W1, 3, 9.0),
        (ANN, "milk", W1, 3, 2.0),
        (ANN, "bread", W1, 1, 1.0),
        (BOB, "soap", W1, 2, 5.0),
        (BOB, "salt", W1, 2, 5.0),
        (BOB, "never", W1, 0, None),
        (ANN, "tea", W2, 4, 1.0),
    )
    popular = products(("milk", W1, 9), ("eggs", W1, 5), ("ham", W1, 5), ("jam", W2, 7))
    return unite(
        households((ANN, W1), (BOB, W1), (NEW, W1), (ANN, W2)),
        {
            "personal": personal_frequency(
                habits,
                order=(OrderBy("count"), OrderBy("days", descending=False)),
                limit=personal,
            ),
            "global": global_frequency(popular, order=(OrderBy("homes"),), limit=everybody),
        },
    ).collect()


def listed(frame: pl.DataFrame, household: str, week: date) -> list[tuple[str, str, int, int]]:
    return (
        frame.filter((pl.col("household_id") == household) & (pl.col("as_of") == week))
        .select("product_id", "source", "personal_rank", "global_rank")
        .rows()
    )


def test_union_of_sources_by_hand() -> None:
    frame = build()
    # milk was bought as often as tea, but later; eggs and ham tie and eggs comes first.
    assert listed(frame, ANN, W1) == [
        ("eggs", "global", None, 2),
        ("milk", "personal", 1, 1),
        ("tea", "personal", 2, None),
    ]
    assert listed(frame, BOB, W1) == [
        ("eggs", "global", None, 2),
        ("milk", "global", None, 1),
        ("salt", "personal", 1, None),
        ("soap", "personal", 2, None),
    ]
    assert listed(frame, ANN, W2) == [
        ("jam", "global", None, 1),
        ("tea", "personal", 1, None),
    ]


def test_a_household_without_history_gets_the_global_ones() -> None:
    assert [row[0] for row in listed(build(), NEW, W1)] == ["eggs", "milk"]


def test_score_is_the_sum_of_reciprocal_ranks() -> None:
    score = dict(
        build()
        .filter((pl.col("household_id") == ANN) & (pl.col("as_of") == W1))
        .select("product_id", "score")
        .rows()
    )
    assert score["milk"] == pytest.approx(1 / 61 + 1 / 61)
    assert score["tea"] == pytest.approx(1 / 62)


def test_one_row_per_pair_that_satisfies_the_contract() -> None:
    frame = build(personal=5, everybody=5)
    assert not frame.select("household_id", "product_id", "as_of").is_duplicated().any()
    assert "never" not in frame["product_id"]
    others = [f"{source}_rank" for source in SOURCES if f"{source}_rank" not in frame.columns]
    whole = frame.with_columns(
        *(pl.lit(None, dtype=pl.Int32).alias(name) for name in others),
        *(pl.lit(None, dtype=pl.Float32).alias(n) for n in (NEIGHBOURS_SCORE, *CONTEXT)),
    )
    report = validate(whole.select(CANDIDATES.names), CANDIDATES)
    assert report.passed, str(report)


def test_known_at_comes_from_the_household() -> None:
    assert build().filter(pl.col("as_of") == W2)["known_at"].unique().to_list() == [
        datetime.fromisoformat("2017-01-16T05:00")
    ]


def test_a_third_source_needs_no_other_code() -> None:
    third = products(("cola", W1, 1)).select("product_id", "as_of", rank=pl.lit(1, pl.Int32))
    frame = unite(households((ANN, W1)), {"promoted": third}).collect()
    assert frame.select("product_id", "source", "promoted_rank").rows() == [("cola", "promoted", 1)]


def test_no_source_is_refused() -> None:
    with pytest.raises(ValueError, match="no candidate source"):
        unite(households((ANN, W1)), {})


@pytest.mark.parametrize("limit", [1, 2, 3, 10])
@pytest.mark.parametrize("descending", [True, False])
def test_top_agrees_with_a_plain_sort(limit: int, descending: bool) -> None:
    frame = pl.DataFrame(
        {
            "g": [i % 5 for i in range(200)],
            "a": [None if i % 17 == 0 else (i * 7) % 6 for i in range(200)],
            "product_id": [f"p{(i * 37) % 200:03}" for i in range(200)],
        }
    )
    got = top(
        frame.lazy(), group=("g",), order=(OrderBy("a", descending=descending),), limit=limit
    ).collect()
    want = (
        frame.sort("g", "a", "product_id", descending=[False, descending, False], nulls_last=True)
        .group_by("g", maintain_order=True)
        .head(limit)
    )
    assert got.select("g", "a", "product_id").equals(want)
    assert (
        got.group_by("g").agg(pl.col("rank"))["rank"].to_list() == [list(range(1, limit + 1))] * 5
    )


def test_top_keeps_null_rows_of_a_short_group() -> None:
    frame = pl.LazyFrame({"g": [1, 1], "a": [None, 2.0], "product_id": ["x", "y"]})
    assert top(frame, group=("g",), order=(OrderBy("a"),), limit=3).collect()[
        "product_id"
    ].to_list() == ["y", "x"]


def test_top_refuses_a_limit_of_zero() -> None:
    with pytest.raises(ValueError, match="limit 0"):
        top(pl.LazyFrame({"product_id": ["x"]}), group=(), order=(OrderBy("x"),), limit=0)


def test_own_store_is_the_most_visited_of_the_quarter() -> None:
    visits = pl.LazyFrame(
        [
            (ANN, "near", W1, 3, 3),
            (ANN, "far", W1, 1, 9),
            (BOB, "b", W1, 2, 5),
            (BOB, "a", W1, 2, 5),
            (ANN, "far", W2, 4, 9),
        ],
        schema=["household_id", "store_id", "as_of", "baskets_91d", "baskets_364d"],
        orient="row",
    )
    found = own_store(visits).sort("as_of", "household_id").collect()
    assert found.rows() == [(ANN, W1, "near"), (BOB, W1, "a"), (ANN, W2, "far")]


def stores(*rows: tuple[str, date, str]) -> pl.LazyFrame:
    return pl.LazyFrame(list(rows), schema=["household_id", "as_of", "store_id"], orient="row")


def test_the_own_store_proposes_what_sells_there() -> None:
    sales = pl.LazyFrame(
        [("s", "ham", W1, 2), ("s", "jam", W1, 5), ("s", "tea", W1, 0), ("t", "cod", W1, 9)],
        schema=["store_id", "product_id", "as_of", "homes"],
        orient="row",
    )
    found = store_popular(stores((ANN, W1, "s")), sales, order=(OrderBy("homes"),), limit=5)
    assert found.collect().rows() == [(ANN, "jam", W1, 1), (ANN, "ham", W1, 2)]


def test_the_plan_of_the_own_store_and_week_is_proposed() -> None:
    plan = pl.LazyFrame(
        [("s", "ham", W1), ("s", "new", W1), ("t", "jam", W1), ("s", "jam", W2)],
        schema=["store_id", "product_id", "as_of"],
        orient="row",
    )
    popular = products(("ham", W1, 1), ("jam", W1, 9), ("jam", W2, 9))
    found = promoted(
        stores((ANN, W1, "s")), plan, popular, order=(OrderBy("homes"),), limit=5
    ).collect()
    # "new" was never sold, so nobody can say how well it sells.
    assert found.rows() == [(ANN, "ham", W1, 1)]


def test_coupons_are_those_known_and_valid_in_the_week() -> None:
    early, late = datetime.fromisoformat("2017-01-01"), datetime.fromisoformat("2017-01-10")
    campaigns = pl.LazyFrame(
        [
            ("now", date(2017, 1, 14), date(2017, 2, 1), early),
            ("over", date(2016, 12, 1), date(2017, 1, 8), early),
            ("next", date(2017, 1, 16), date(2017, 2, 1), early),
            ("unknown", date(2017, 1, 9), date(2017, 2, 1), late),
        ],
        schema=["campaign_id", "start_date", "end_date", "known_at"],
        orient="row",
    )
    ids = ["now", "over", "next", "unknown"]
    targets = pl.LazyFrame({"campaign_id": ids, "household_id": [ANN] * 4, "known_at": [early] * 4})
    coupons = pl.LazyFrame(
        {
            "campaign_id": [*ids, "now", "now"],
            "product_id": ["tea", "jam", "ham", "cod", "milk", "salt"],
            "known_at": [early] * 5 + [late],
        }
    )
    found = coupon_linked(
        campaigns=campaigns,
        targets=targets,
        coupons=coupons,
        product=products(*((p, W1, n) for n, p in enumerate(("tea", "jam", "ham", "milk"), 1))),
        as_ofs={W1: datetime.fromisoformat("2017-01-09T05:00")},
        order=(OrderBy("homes"),),
        limit=5,
    )
    assert found.collect().rows() == [(ANN, "milk", W1, 1), (ANN, "tea", W1, 2)]


def test_substitutes_are_the_best_sold_of_the_usual_types() -> None:
    habits = pl.LazyFrame(
        [(ANN, "DRINK", W1, 5), (ANN, "BREAD", W1, 9), (ANN, "SOAP", W1, 1)],
        schema=["household_id", "type", "as_of", "times"],
        orient="row",
    )
    types = pl.LazyFrame(
        {
            "product_id": ["tea", "cola", "loaf", "bun", "soap", "?"],
            "as_of": [W1] * 6,
            "type": ["DRINK", "DRINK", "BREAD", "BREAD", "SOAP", None],
        }
    )
    popular = products(*((p, W1, n) for n, p in enumerate(("tea", "loaf", "cola", "bun", "?"), 1)))
    found = substitutes(
        habits,
        popular,
        types,
        habit=(OrderBy("times"),),
        order=(OrderBy("homes"),),
        types_limit=2,
        limit=2,
    ).collect()
    # First the best of each type, the more usual type before the other.
    assert found["product_id"].to_list() == ["bun", "cola", "loaf", "tea"]
    assert found["rank"].to_list() == [1, 2, 3, 4]


def test_neighbours_see_nothing_after_the_as_of() -> None:
    instant = datetime.fromisoformat("2017-01-09T05:00")
    before, after = datetime.fromisoformat("2017-01-02"), datetime.fromisoformat("2017-01-09T06:00")
    lines = pl.DataFrame(
        [
            (ANN, "tea", "1", before),
            (BOB, "tea", "2", before),
            (BOB, "jam", "2", before),
            (ANN, "cod", "3", after),
            # A range of as-ofs loads more than this one's year.
            (ANN, "ham", "0", datetime.fromisoformat("2016-01-04T06:00")),
        ],
        schema=["household_id", "product_id", "basket_id", "sold_at"],
        orient="row",
    ).with_columns(pl.col("sold_at").dt.truncate("1w").dt.date().alias("week_start"))
    found = neighbours(lines, as_ofs={W1: instant}, limit=5).collect()
    ann = found.filter(pl.col("household_id") == ANN)
    assert ann.sort("rank")["product_id"].to_list() == ["tea", "jam"]
    assert (ann["as_of"] == W1).all()
    assert (
        neighbours(lines, as_ofs={W1: datetime.fromisoformat("2016-01-04")}, limit=5)
        .collect()
        .is_empty()
    )
