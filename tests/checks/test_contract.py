"""Contracts: what they describe, and what validation says of frames that break them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime

import pandera.polars as pa
import polars as pl
import pytest

from checks.contracts.contract import EXAMPLES_PER_FAILURE, Contract, column, validate
from checks.contracts.decisions import EVENTS
from checks.contracts.quarantine import QUARANTINE
from checks.contracts.raw import BASKET_LINES, CAMPAIGNS, PRODUCTS, RAW
from checks.contracts.registry import CONTRACTS, contract_of
from tests.tiny_retailer import drops_of_week

FIRST, SECOND = date(2017, 1, 2), date(2017, 1, 9)


class Sales(pa.DataFrameModel):
    """Units per store and week."""

    week_start: pl.Date = column("Week", privacy="public")
    store_id: str = column("Store", privacy="public", str_length={"min_value": 1})
    units: pl.Int64 = column("Units", unit="units", ge=0)
    note: str = column("Note", nullable=True, str_length={"max_value": 3})

    @pa.dataframe_check(error="store 9 sells nothing")
    def store_nine_is_closed(cls, data: pa.PolarsData) -> pl.LazyFrame:  # noqa: N805
        return data.lazyframe.select((pl.col("store_id") != "9") | (pl.col("units") == 0))


SALES = Contract("test.sales", Sales, "team:test", key=("week_start", "store_id"))


def sales(**columns: object) -> pl.DataFrame:
    good = {
        "week_start": [FIRST, FIRST, SECOND],
        "store_id": ["1", "2", "1"],
        "units": [1, 2, 3],
        "note": [None, "ok", None],
    }
    return pl.DataFrame(
        good | columns,
        schema_overrides={"note": pl.String},
    )


def test_a_good_frame_passes() -> None:
    report = validate(sales(), SALES)
    assert report.passed
    assert str(report) == "test.sales: 3 rows satisfy the contract"


def test_an_empty_frame_of_the_schema_passes() -> None:
    for contract in CONTRACTS.values():
        assert validate(contract.empty(), contract).passed, contract.table


@pytest.mark.parametrize(
    ("change", "column_name", "check", "bad_week"),
    [
        ({"units": [1, 2, -3]}, "units", "greater_than_or_equal_to(0)", SECOND),
        ({"units": [1, None, 3]}, "units", "not_nullable", FIRST),
        # Nulls come before the bad row: the row found must still be the third.
        ({"note": [None, None, "long"]}, "note", "str_length(None, 3)", SECOND),
        ({"store_id": ["1", "2", "9"]}, "Sales", "store 9 sells nothing", SECOND),
        ({"store_id": ["1", "2", ""]}, "store_id", "str_length(1, None)", SECOND),
    ],
)
def test_a_bad_value_names_column_check_and_week(
    change: dict, column_name: str, check: str, bad_week: date
) -> None:
    report = validate(sales(**change), SALES)
    assert not report.passed
    (failure,) = report.failures
    assert (failure.column, failure.check, failure.rows) == (column_name, check, 1)
    assert report.bad_partitions == (str(bad_week),)
    assert f"{check} broken by 1 row(s)" in str(report)


def test_a_repeated_key_is_a_failure_of_its_week() -> None:
    report = validate(sales(store_id=["1", "1", "1"]), SALES)
    assert not report.passed
    assert report.bad_partitions == (str(FIRST),)


def test_every_broken_rule_is_reported_at_once() -> None:
    report = validate(sales(units=[-1, 2, 3], note=["long", None, "longer"]), SALES)
    assert {f.column: f.rows for f in report.failures} == {"units": 1, "note": 2}
    assert report.bad_partitions == (str(FIRST), str(SECOND))


def test_examples_are_few_and_only_of_public_columns() -> None:
    many = pl.concat([sales(units=[-1, -2, -3], store_id=[""] * 3)] * 40)
    report = validate(many, Contract("test.sales", Sales, "team:test"))
    failures = {f.column: f for f in report.failures}
    assert failures["store_id"].rows == failures["units"].rows == 120
    assert len(failures["store_id"].examples) == EXAMPLES_PER_FAILURE
    assert failures["units"].examples == ()
    assert str(failures["units"]).endswith("broken by 120 row(s)")


def test_a_raw_household_id_is_in_no_report() -> None:
    raw = "RAW-HOUSEHOLD-4711"
    frame = EVENTS.empty()
    row = {c: [raw if c == "household_id" else None] for c in frame.columns}
    report = validate(pl.DataFrame(row, schema=frame.schema), EVENTS)
    assert "household_id" in {f.column for f in report.failures}
    assert raw not in str(report)
    assert raw not in repr(report)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda f: f.drop("units"),
        lambda f: f.with_columns(pl.col("units").cast(pl.Float64)),
        lambda f: f.with_columns(extra=pl.lit(1)),
    ],
    ids=["missing", "re-typed", "extra"],
)
def test_a_wrong_schema_makes_every_week_bad(
    spoil: Callable[[pl.DataFrame], pl.DataFrame],
) -> None:
    report = validate(spoil(sales()), SALES)
    assert not report.passed
    assert report.bad_partitions == (str(FIRST), str(SECOND))


def test_contracts_that_share_a_model_keep_their_own_keys() -> None:
    twice = pl.concat([sales(), sales()])
    assert not validate(twice, SALES).passed
    assert validate(twice, Contract("test.other", Sales, "team:test")).passed


def test_a_lazy_frame_is_refused() -> None:
    with pytest.raises(TypeError, match=r"test.sales: .* call .collect\(\) first"):
        validate(sales().lazy(), SALES)  # type: ignore[arg-type]


def test_columns_carry_what_people_need() -> None:
    units = next(c for c in SALES.columns if c.name == "units")
    assert (units.dtype, units.nullable, units.unit, units.privacy) == (
        pl.Int64,
        False,
        "units",
        "internal",
    )
    assert units.constraints
    assert SALES.names == ("week_start", "store_id", "units", "note")


# -- the project's contracts ---------------------------------------------------------------------


def test_every_column_is_described_and_every_table_has_an_owner() -> None:
    for contract in CONTRACTS.values():
        assert contract.description, contract.table
        assert contract.owner, contract.table
        assert all(c.description for c in contract.columns), contract.table


def test_every_table_says_when_a_row_was_known() -> None:
    for contract in (*RAW, *QUARANTINE.values()):
        assert {"week_start", "known_at"} <= set(contract.names), contract.table


def test_demographics_are_sensitive() -> None:
    households = contract_of("raw.households")
    classes = {c.name: c.privacy for c in households.columns}
    demographics = set(classes) - {"household_id", "week_start", "known_at"}
    assert len(demographics) == 7
    assert {classes[d] for d in demographics} == {"sensitive"}


def test_an_unknown_table_says_where_to_declare_it() -> None:
    with pytest.raises(KeyError, match=r"raw.tills; add one in checks/contracts/"):
        contract_of("raw.tills")


def raw_lines() -> pl.DataFrame:
    lines = drops_of_week(FIRST)["basket_lines"].head(5)
    return lines.with_columns(
        household_id=pl.lit("0123456789ab"),
        week_start=pl.lit(FIRST),
        known_at=pl.lit(SECOND).cast(pl.Datetime("us")),
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("household_id", "RAW-HOUSEHOLD-0001"),  # a raw id is not 12 characters long
        ("quantity", -1),
        ("sales_value", -0.01),
        ("week_start", date(2017, 1, 3)),
        ("store_id", ""),
    ],
)
def test_basket_lines_refuse(name: str, value: object) -> None:
    assert validate(raw_lines(), BASKET_LINES).passed
    assert not validate(raw_lines().with_columns(pl.lit(value).alias(name)), BASKET_LINES).passed


def test_a_campaign_must_not_end_before_it_starts() -> None:
    known = {"week_start": FIRST, "known_at": datetime.fromisoformat("2017-01-09")}
    campaign = {"campaign_id": "1", "campaign_type": None, "channel": None} | known
    row = campaign | {"start_date": SECOND, "end_date": FIRST}
    schema = {c.name: c.dtype for c in CAMPAIGNS.columns}
    report = validate(pl.DataFrame([row], schema=schema), CAMPAIGNS)
    assert [f.check for f in report.failures] == ["end_date is not before start_date"]


def test_a_product_has_one_row_a_week() -> None:
    products = drops_of_week(date(2016, 12, 26))["products"].with_columns(
        week_start=pl.lit(FIRST), known_at=pl.lit(SECOND).cast(pl.Datetime("us"))
    )
    assert validate(products, PRODUCTS).passed
    assert not validate(pl.concat([products, products.head(1)]), PRODUCTS).passed
