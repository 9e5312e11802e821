"""Letting drops in: every fault is named, good rows land, and every row is accounted for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checks.contracts import raw
from checks.contracts.contract import Contract, validate
from checks.drops import (
    DUPLICATE,
    REJECTED,
    SUPERSEDED,
    Admission,
    Admitted,
    DropFile,
    RefusedDropsError,
)
from models.pseudonyms import pseudonymise, pseudonymise_series
from tests.tiny_retailer import csv_columns, drops_of_week, raw_id

WEEK = date(2017, 1, 2)
KEY = b"a key for tests, and long enough"
NEW_YORK = "America/New_York"
# Times are naive UTC.
utc = datetime.fromisoformat
CODES = {"display": frozenset("0123456789A"), "mailer": frozenset("0A")}


def admission(contract: Contract, codes: Mapping[str, frozenset[str]] | None = None) -> Admission:
    return Admission(
        contract=contract,
        time_zone=NEW_YORK,
        pseudonymise=lambda ids: pseudonymise_series(ids, KEY),
        codes=codes or {},
    )


def typed_file(
    rows: Mapping[str, Any] | pl.DataFrame, *, name: str = "basket_lines/2017-01-02/drop.parquet"
) -> DropFile:
    return DropFile(name=name, week=WEEK, rows=pl.DataFrame(rows), textual=False)


def text_file(columns: Mapping[str, Any], *, name: str = "basket_lines/2017-01-02/a.csv"):
    rows = pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))
    return DropFile(name=name, week=WEEK, rows=rows, textual=True)


def lines(rows: int = 4) -> dict[str, list[Any]]:
    """Good basket lines, in the contract's types."""
    return {
        "household_id": [raw_id(i) for i in range(rows)],
        "store_id": ["1"] * rows,
        "basket_id": [f"b{i}" for i in range(rows)],
        "product_id": ["p1"] * rows,
        "quantity": list(range(1, rows + 1)),
        "sales_value": [float(i) for i in range(rows)],
        "retail_disc": [0.0] * rows,
        "coupon_disc": [0.0] * rows,
        "coupon_match_disc": [0.0] * rows,
        "sold_at": [utc(f"2017-01-03 12:{i:02}") for i in range(rows)],
    }


def lines_as_text(rows: int = 4) -> dict[str, list[Any]]:
    return dict(csv_columns(pl.DataFrame(lines(rows))))


def put(columns: dict[str, list[Any]], name: str, row: int, value: Any) -> dict[str, list[Any]]:
    changed = {k: list(v) for k, v in columns.items()}
    changed[name][row] = value
    return changed


def let_in(*files: DropFile, contract: Contract = raw.BASKET_LINES) -> Admitted:
    codes = CODES if contract is raw.PROMOTIONS else {}
    return admission(contract, codes).admit(list(files))


def one_reason(admitted: Admitted) -> dict[str, Any]:
    assert admitted.set_aside.height == 1, admitted.set_aside
    return admitted.set_aside.row(0, named=True)


# -- what is good lands --------------------------------------------------------------------------


@pytest.mark.parametrize("contract", raw.RAW, ids=lambda c: c.table)
@pytest.mark.parametrize("as_text", [False, True], ids=["parquet", "csv"])
def test_a_good_drop_of_every_table_lands_whole(contract: Contract, as_text: bool) -> None:
    table = contract.table.removeprefix("raw.")
    week = date(2017, 1, 2) if table == "coupon_redemptions" else date(2016, 12, 26)
    frame = drops_of_week(week)[table]
    rows = pl.DataFrame(csv_columns(frame)) if as_text else frame
    file = DropFile(name="f", week=week, rows=rows, textual=as_text)

    admitted = let_in(file, contract=contract)

    assert admitted.set_aside.is_empty()
    assert admitted.frame.height == frame.height
    assert validate(admitted.frame, contract).passed
    assert admitted.frame["week_start"].unique().to_list() == [week]


def test_csv_and_parquet_give_the_same_rows() -> None:
    assert let_in(typed_file(lines())).frame.equals(let_in(text_file(lines_as_text())).frame)


def test_household_ids_become_pseudonyms() -> None:
    frame = let_in(typed_file(lines())).frame
    assert frame["household_id"].to_list() == [pseudonymise(raw_id(i), KEY) for i in range(4)]


def test_rows_are_known_at_the_end_of_their_week_and_the_promotion_plan_at_its_start() -> None:
    known = let_in(typed_file(lines())).frame["known_at"].unique().to_list()
    assert known == [utc("2017-01-09 05:00")]  # midnight in New York, as UTC
    plan = drops_of_week(WEEK)["promotions"]
    known = let_in(typed_file(plan), contract=raw.PROMOTIONS).frame["known_at"].unique().to_list()
    assert known == [utc("2017-01-02 05:00")]


def test_no_files_are_no_rows() -> None:
    admitted = let_in()
    assert admitted.frame.is_empty()
    assert validate(admitted.frame, raw.BASKET_LINES).passed


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ("2017-01-03 12:30:15", utc("2017-01-03 12:30:15")),
        ("2017-01-03T12:30:15", utc("2017-01-03 12:30:15")),
        ("2017-01-03T12:30:15Z", utc("2017-01-03 12:30:15")),
        ("2017-01-03T12:30:15+02:00", utc("2017-01-03 10:30:15")),
        ("2017-01-03 12:30:15.250", utc("2017-01-03 12:30:15.250000")),
        ("2017-01-03 12:30", utc("2017-01-03 12:30")),
    ],
)
@pytest.mark.parametrize("row", [0, 2])
def test_times_are_read_each_by_itself(sent: str, expected: datetime, row: int) -> None:
    frame = let_in(text_file(put(lines_as_text(), "sold_at", row, sent))).frame
    assert frame.height == 4
    assert frame["sold_at"][row] == expected


def test_times_with_a_zone_are_stored_as_utc() -> None:
    local = pl.Series([utc("2017-01-03 12:00")] * 4).dt.replace_time_zone(NEW_YORK)
    frame = let_in(typed_file(lines() | {"sold_at": local})).frame
    assert frame["sold_at"].to_list() == [utc("2017-01-03 17:00")] * 4


# -- a file as a whole ---------------------------------------------------------------------------


def test_a_missing_column_names_file_column_and_remedy() -> None:
    columns = lines()
    del columns["quantity"]
    with pytest.raises(RefusedDropsError) as error:
        let_in(typed_file(columns))
    assert "basket_lines/2017-01-02/drop.parquet, column quantity: the column is missing" in str(
        error.value
    )
    assert "Send the file with quantity (Units sold" in str(error.value)
    assert error.value.errors[0].weeks == [WEEK]


def test_every_file_that_is_refused_is_named() -> None:
    torn = typed_file({k: v for k, v in lines().items() if k != "quantity"})
    wrong = typed_file(lines() | {"sales_value": [True, False, True, True]})
    good = typed_file(lines())
    with pytest.raises(RefusedDropsError) as refused:
        let_in(torn, good, wrong)
    assert len(refused.value.errors) == 2
    assert "column quantity: the column is missing" in str(refused.value)
    assert "column sales_value: the column holds Boolean" in str(refused.value)


def test_a_file_of_mostly_bad_rows_is_refused_whole() -> None:
    def of(bad: int, good: int) -> dict[str, list[Any]]:
        columns = {name: list(values)[:1] * (bad + good) for name, values in lines().items()}
        columns["quantity"] = [-1] * bad + [2] * good
        columns["basket_id"] = [f"b{n}" for n in range(bad + good)]
        return columns

    with pytest.raises(RefusedDropsError) as refused:
        let_in(typed_file(of(bad=31, good=29)))
    message = str(refused.value)
    assert "drop.parquet, column quantity: 31 of 60 rows break the contract" in message
    assert "what was there before stands" in message
    half = let_in(typed_file(of(bad=30, good=30)))
    assert (half.frame.height, half.set_aside.height) == (30, 30)
    few = let_in(typed_file(of(bad=19, good=1)))
    assert (few.frame.height, few.set_aside.height) == (1, 19)


def test_a_column_in_other_letters_is_pointed_out() -> None:
    columns = lines()
    columns["Quantity "] = columns.pop("quantity")
    with pytest.raises(RefusedDropsError, match=r"there is 'Quantity '"):
        let_in(typed_file(columns))


def test_an_optional_column_may_be_missing() -> None:
    products = drops_of_week(WEEK)["products"].drop("size")
    frame = let_in(typed_file(products), contract=raw.PRODUCTS).frame
    assert frame["size"].to_list() == [None]


@pytest.mark.parametrize(
    ("column", "values", "said"),
    [
        ("quantity", ["1", "2", "3", "4"], "the column holds String"),
        ("quantity", [1.5, 2.0, 3.0, 4.0], "the column holds Float64"),
        ("sales_value", [True, False, True, True], "the column holds Boolean"),
        ("sold_at", [WEEK] * 4, "the column holds Date"),
        ("store_id", [1.0, 2.0, 3.0, 4.0], "the column holds Float64"),
        ("week_start", [1, 2, 3, 4], "the column holds Int64"),
    ],
)
def test_a_retyped_column_is_refused(column: str, values: list[Any], said: str) -> None:
    with pytest.raises(RefusedDropsError) as error:
        let_in(typed_file(lines() | {column: values}))
    message = str(error.value)
    assert f"drop.parquet, column {column}: {said}" in message
    assert "Send " in message
    assert error.value.errors[0].weeks == [WEEK]


@pytest.mark.parametrize("column", ["quantity", "sales_value", "sold_at"])
def test_a_text_column_that_cannot_be_read_at_all_is_refused(column: str) -> None:
    with pytest.raises(
        RefusedDropsError, match=rf"column {column}: no value can be read as .*'n/a'"
    ):
        let_in(text_file(lines_as_text() | {column: ["n/a"] * 4}))


@pytest.mark.parametrize("contract", [raw.BASKET_LINES, raw.PROMOTIONS])
def test_a_weekly_table_without_rows_is_refused(contract: Contract) -> None:
    empty = drops_of_week(WEEK)[contract.table.removeprefix("raw.")].clear()
    with pytest.raises(RefusedDropsError, match=r"the file has no rows.*send the week again"):
        let_in(typed_file(empty), contract=contract)


def test_a_dimension_without_news_may_be_empty() -> None:
    empty = drops_of_week(WEEK)["products"].clear()
    assert let_in(typed_file(empty), contract=raw.PRODUCTS).frame.is_empty()


def test_a_file_wholly_of_another_week_is_refused() -> None:
    later = [t + timedelta(days=7) for t in lines()["sold_at"]]
    with pytest.raises(
        RefusedDropsError, match=r"column sold_at: every row .* 2017-01-09.*Move the file"
    ):
        let_in(typed_file(lines() | {"sold_at": later}))
    other = drops_of_week(date(2017, 1, 9))["promotions"]
    with pytest.raises(RefusedDropsError, match=r"column week_start: every row .*2017-01-09.*Move"):
        let_in(typed_file(other), contract=raw.PROMOTIONS)


# -- a row among others --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("household_id", None, "no value, and household_id needs one"),
        ("household_id", "", "no value, and household_id needs one"),
        ("product_id", None, "no value, and product_id needs one"),
        ("product_id", "", "'' breaks str_length(1, 64)"),
        ("basket_id", "b" * 65, "breaks str_length(1, 64)"),
        ("quantity", -1, "'-1' breaks in_range(0, 1000000)"),
        ("quantity", None, "no value, and quantity needs one"),
        ("sales_value", -0.01, "'-0.01' breaks in_range(0, 1000000.0)"),
        ("sales_value", float("inf"), "breaks in_range"),
        ("sales_value", float("nan"), "sales_value needs one"),
        ("retail_disc", -1.0, "'-1.0' breaks in_range"),
        ("sold_at", utc("2017-01-02 04:59"), "lies in the week of 2016-12-26"),
        ("sold_at", utc("2017-01-09 05:00"), "lies in the week of 2017-01-09"),
        ("sold_at", None, "no value, and sold_at needs one"),
    ],
)
@pytest.mark.parametrize("row", [0, 3])
def test_a_bad_value_sets_its_row_aside_and_no_other(
    column: str, value: Any, reason: str, row: int
) -> None:
    file = typed_file(
        pl.DataFrame(put(lines(), column, row, value), schema_overrides={"quantity": pl.Int64})
    )
    admitted = let_in(file)
    found = one_reason(admitted)
    assert (found["file"], found["row"], found["kind"]) == (file.name, row, REJECTED)
    assert found["column_name"] == column
    assert reason in found["reason"]
    assert admitted.frame["basket_id"].to_list() == [f"b{i}" for i in range(4) if i != row]


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("quantity", "two", "'two' is not a whole number"),
        ("quantity", "1.5", "'1.5' is not a whole number"),
        ("sales_value", "$3", "'$3' is not a number"),
        ("sold_at", "yesterday", "'yesterday' is not a UTC time"),
        ("sold_at", "03/01/2017 10:00", "is not a UTC time"),
        ("sold_at", "2017-02-30 10:00:00", "is not a UTC time"),
        ("household_id", "  ", "no value, and household_id needs one"),
        ("quantity", None, "no value, and quantity needs one"),
    ],
)
@pytest.mark.parametrize("row", [0, 3])
def test_bad_text_sets_its_row_aside_and_no_other(
    column: str, value: Any, reason: str, row: int
) -> None:
    admitted = let_in(text_file(put(lines_as_text(), column, row, value)))
    found = one_reason(admitted)
    assert (found["row"], found["column_name"]) == (row, column)
    assert reason in found["reason"]
    assert admitted.frame.height == 3


def test_the_week_column_must_be_the_folders() -> None:
    rows = drops_of_week(WEEK)["promotions"]
    sent = pl.Series("week_start", [WEEK] * (rows.height - 1) + [date(2017, 1, 9)])
    found = one_reason(let_in(typed_file(rows.with_columns(sent)), contract=raw.PROMOTIONS))
    assert found["reason"] == (
        "2017-01-09 is not the folder's week 2017-01-02; move the row to its week's folder"
    )


def test_an_unknown_code_says_the_known_ones_and_the_setting() -> None:
    rows = drops_of_week(WEEK)["promotions"]
    display = pl.Series("display", ["Z", *rows["display"].to_list()[1:]])
    admitted = let_in(typed_file(rows.with_columns(display)), contract=raw.PROMOTIONS)
    found = one_reason(admitted)
    assert found["column_name"] == "display"
    assert "unknown code 'Z'; known are 0 1 2" in found["reason"]
    assert "add it to display_codes" in found["reason"]
    assert admitted.frame.height == rows.height - 1


def test_an_unknown_channel_is_set_aside() -> None:
    stores = {"store_id": ["1", "2"], "channel": ["retail", "moon"], "region": [None, "N"]}
    found = one_reason(let_in(typed_file(stores), contract=raw.STORES))
    assert (found["row"], found["column_name"]) == (1, "channel")
    assert "'moon'" in found["reason"]


def test_a_rule_over_columns_names_the_rule_and_the_right_row() -> None:
    campaigns = {
        "campaign_id": ["1", "2", "3"],
        # A null before the bad row, since some checks count rows without nulls.
        "campaign_type": [None, "A", "B"],
        "channel": ["mail"] * 3,
        "start_date": [WEEK, WEEK, date(2017, 2, 1)],
        "end_date": [WEEK, WEEK, date(2017, 1, 31)],
    }
    found = one_reason(let_in(typed_file(campaigns), contract=raw.CAMPAIGNS))
    assert (found["row"], found["column_name"]) == (2, "*")
    assert found["reason"] == "the row breaks the rule: end_date is not before start_date"


def test_a_row_with_two_faults_is_set_aside_once() -> None:
    columns = put(put(lines(), "quantity", 1, -1), "sales_value", 1, -1.0)
    assert one_reason(let_in(typed_file(columns)))["row"] == 1


def test_an_unknown_column_is_ignored_and_reported() -> None:
    admitted = let_in(typed_file(lines() | {"loyalty_tier": ["gold"] * 4, "till": [1] * 4}))
    assert admitted.unknown_columns == {WEEK: ("loyalty_tier", "till")}
    assert admitted.frame.height == 4
    assert "till" not in admitted.frame.columns


@pytest.mark.parametrize(
    "values",
    [
        [b"\xff"] * 4,
        [timedelta(1)] * 4,
        [[1]] * 4,
        [[b"\x00"]] * 4,
        [{"a": None}] * 4,
        [float("nan")] * 4,
        [None] * 4,
    ],
    ids=["bytes", "duration", "list", "list of bytes", "struct", "nan", "null"],
)
def test_a_rejected_row_is_kept_whatever_else_it_holds(values: list[Any]) -> None:
    found = one_reason(let_in(typed_file(put(lines(), "quantity", 2, -1) | {"extra": values})))
    sent = json.loads(found["payload"])
    assert sent["basket_id"] == "b2"
    assert "extra" in sent


# -- repeats -------------------------------------------------------------------------------------


def test_exact_duplicates_are_removed_within_and_across_files() -> None:
    twice = {k: [*v, v[0]] for k, v in lines().items()}
    admitted = let_in(typed_file(twice, name="a"), typed_file(lines(), name="b"))
    assert admitted.frame.equals(let_in(typed_file(lines())).frame)
    assert admitted.set_aside["kind"].unique().to_list() == [DUPLICATE]
    assert admitted.set_aside.select("file", "row").rows() == [
        ("a", 4),
        *[("b", i) for i in range(4)],
    ]
    assert admitted.set_aside["payload"].null_count() == 5


def test_equal_lines_of_different_weeks_are_no_duplicates() -> None:
    products = drops_of_week(date(2016, 12, 26))["products"]
    weeks = (date(2016, 12, 26), WEEK)
    files = [DropFile(name=str(w), week=w, rows=products, textual=False) for w in weeks]
    admitted = let_in(*files, contract=raw.PRODUCTS)
    assert admitted.frame.height == 2 * products.height
    assert admitted.set_aside.is_empty()


def test_a_later_row_supersedes_an_earlier_one_of_the_same_key() -> None:
    products = drops_of_week(date(2016, 12, 26))["products"]
    renamed = products.head(2).with_columns(category=pl.lit("TEA"))
    admitted = let_in(
        typed_file(products, name="1"), typed_file(renamed, name="2"), contract=raw.PRODUCTS
    )
    assert admitted.frame.height == products.height
    stated = dict(admitted.frame.select("product_id", "category").rows())
    assert [stated[p] for p in renamed["product_id"]] == ["TEA", "TEA"]
    assert admitted.set_aside.select("file", "row", "kind").rows() == [
        ("1", 0, SUPERSEDED),
        ("1", 1, SUPERSEDED),
    ]
    assert "a later row of this week states the same product_id" in admitted.set_aside["reason"][0]
    sent = [json.loads(p) for p in admitted.set_aside["payload"]]
    assert sent == products.head(2).to_dicts()


def test_what_is_set_aside_is_kept_as_it_was_sent() -> None:
    columns = put(lines_as_text(), "quantity", 1, "two")
    sent = json.loads(one_reason(let_in(text_file(columns)))["payload"])
    assert sent == {name: values[1] for name, values in columns.items()}


# -- nothing is lost -----------------------------------------------------------------------------

_SPOILED = st.sampled_from(
    [
        ("household_id", None),
        ("household_id", ""),
        ("product_id", None),
        ("quantity", "-3"),
        ("quantity", "many"),
        ("sales_value", "-0.5"),
        ("sales_value", "NaN"),
        ("sold_at", "2017-01-20 10:00:00"),
        ("sold_at", "tomorrow"),
        ("sold_at", None),
        ("store_id", "s" * 80),
        ("basket_id", " "),
    ]
)


@given(
    spoiled=st.lists(st.tuples(st.integers(0, 9), _SPOILED), max_size=12),
    repeated=st.lists(st.integers(0, 9), max_size=6),
    cut=st.integers(1, 9),
)
@settings(max_examples=60, deadline=None)
def test_every_row_is_loaded_or_set_aside(
    spoiled: list[tuple[int, tuple[str, str | None]]], repeated: list[int], cut: int
) -> None:
    columns = lines_as_text(10)
    for row, (column, value) in spoiled:
        columns[column][row] = value
    rows = pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))
    rows = pl.concat([rows, rows[repeated]])
    files = [
        DropFile(name="a", week=WEEK, rows=rows[:cut], textual=True),
        DropFile(name="b", week=WEEK, rows=rows[cut:], textual=True),
    ]
    bad = {row for row, _ in spoiled}
    try:
        admitted = let_in(*files)
    except RefusedDropsError:
        # Refused whole, and rightly: a file without one good row.
        assert set(range(cut)) <= bad or set(range(cut, 10)) <= bad
        return
    assert admitted.frame.height + admitted.set_aside.height == rows.height
    assert admitted.frame["basket_id"].sort().to_list() == sorted(
        f"b{i}" for i in range(10) if i not in bad
    )
    places = admitted.set_aside.select("file", "row")
    assert places.height == places.n_unique()
    assert validate(admitted.frame, raw.BASKET_LINES).passed
