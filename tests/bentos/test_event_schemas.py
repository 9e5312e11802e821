"""What an event may hold is what the contract of basket lines admits."""

from __future__ import annotations

import polars as pl
import pytest
from pydantic import ValidationError

from bentos.event_schemas import BasketLine, EventRequest
from checks.contracts.contract import validate
from checks.contracts.raw import MAX_MONEY, MAX_QUANTITY, RAW

CONTRACT = next(c for c in RAW if c.table == "raw.basket_lines")
GOOD = {
    "household_id": "0123456789ab",
    "basket_id": "b",
    "store_id": "s",
    "product_id": "p",
    "quantity": 1,
    "sales_value": 1.0,
    "retail_disc": 0.0,
    "coupon_disc": 0.0,
    "coupon_match_disc": 0.0,
    "sold_at": "2018-01-02T15:00:00",
    "week_start": "2018-01-01",
    "known_at": "2018-01-08T05:00:00",
}
MONEY = ("sales_value", "retail_disc", "coupon_disc", "coupon_match_disc")


@pytest.mark.parametrize(
    ("column", "value"),
    [
        *[(name, value) for name in MONEY for value in (0.0, MAX_MONEY, -0.01, MAX_MONEY + 1)],
        *[("quantity", value) for value in (0, MAX_QUANTITY, -1, MAX_QUANTITY + 1)],
        *[
            (name, value)
            for name in ("basket_id", "store_id", "product_id")
            for value in ("x" * 64, "x" * 65, "")
        ],
    ],
)
def test_both_admit_the_same(column: str, value: object) -> None:
    row = GOOD | {column: value}
    frame = pl.DataFrame([row]).with_columns(
        pl.col("sold_at", "known_at").str.to_datetime(time_unit="us"),
        pl.col("week_start").str.to_date(),
    )
    admitted = validate(frame.select(CONTRACT.names), CONTRACT).passed
    sent = {n: v for n, v in row.items() if n not in {"household_id", "week_start", "known_at"}}
    try:
        BasketLine.model_validate(sent)
    except ValidationError:
        assert not admitted
    else:
        assert admitted


@pytest.mark.parametrize("sold_at", ["0001-01-01T00:00:00+10:00", "9999-12-31T23:59:59-10:00"])
@pytest.mark.parametrize("shape", ["lines", "baskets"])
def test_a_sale_outside_the_years_that_there_are_in_utc_is_refused(
    sold_at: str, shape: str
) -> None:
    line = {"product_id": "1", "quantity": 1, "sales_value": 1.0}
    receipt = {"basket_id": "b", "store_id": "s", "sold_at": sold_at}
    sent = (
        {"lines": [line | receipt]}
        if shape == "lines"
        else {"baskets": [receipt | {"lines": [line]}]}
    )
    with pytest.raises(ValidationError, match="outside the years 1 to 9999"):
        EventRequest.model_validate({"event_id": "e", "household_id": "1", **sent})
