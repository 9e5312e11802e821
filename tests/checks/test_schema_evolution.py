"""What becomes of a stored table when its contract changes: the decision alone."""

from __future__ import annotations

from datetime import date
from typing import Any

import pandera.polars as pa
import polars as pl
import pytest

from checks.contracts.contract import Contract, column
from checks.schema_evolution import BreakingSchemaChangeError, SchemaChange, compare

WEEKS = [date(2017, 1, 2), date(2017, 1, 9), date(2017, 1, 16)]


class Stock(pa.DataFrameModel):
    """Stock of a store."""

    week_start: pl.Date = column("Week")
    units: pl.Int64 = column("Units")
    shelf: str = column("Shelf", nullable=True)


STORED = {"week_start": "DATE", "units": "BIGINT", "shelf": "VARCHAR"}


def decide(**changes: Any) -> SchemaChange:
    contract = Contract(
        "test.stock",
        Stock,
        "team:test",
        version=changes.pop("version", 1),
        backfills=changes.pop("backfills", {}),
        partition_column=changes.pop("partition_column", "week_start"),
    )
    known: dict[str, Any] = {
        "declared": STORED,
        "stored": STORED,
        "stored_version": 1,
        "present": WEEKS,
        "replaced": WEEKS[:1],
    }
    return compare(contract=contract, **(known | changes))


def without(name: str) -> dict[str, str]:
    return {n: t for n, t in STORED.items() if n != name}


def test_the_same_columns_are_no_change() -> None:
    assert decide().kind == "none"


def test_the_order_of_columns_does_not_matter() -> None:
    assert decide(stored=dict(reversed(STORED.items()))).kind == "none"


def test_a_new_nullable_column_is_accepted_and_recorded() -> None:
    change = decide(stored=without("shelf"))
    assert (change.kind, change.added) == ("additive", ("shelf",))
    assert change.detail == "added shelf VARCHAR"


def test_a_raised_version_without_a_change_is_recorded() -> None:
    change = decide(version=2)
    assert (change.kind, change.version, change.added) == ("additive", 2, ())


BREAKING = [
    ({"stored": STORED | {"units": "VARCHAR"}}, "units: VARCHAR in the table, BIGINT in the"),
    ({"stored": without("units")}, "units: new and not nullable"),
    ({"stored": STORED | {"aisle": "VARCHAR"}}, "aisle: in the table, gone from the contract"),
]


@pytest.mark.parametrize(("change", "said"), BREAKING, ids=["re-typed", "required", "removed"])
class TestBreaking:
    def test_is_blocked_until_the_version_rises(self, change: dict, said: str) -> None:
        with pytest.raises(BreakingSchemaChangeError) as error:
            decide(**change)
        assert said in str(error.value)
        assert "Raise `version` to 2 and declare the backfill" in str(error.value)

    def test_is_blocked_until_a_backfill_is_declared(self, change: dict, said: str) -> None:
        with pytest.raises(
            BreakingSchemaChangeError, match=r"declares no backfill: add `backfills"
        ):
            decide(**change, version=2, replaced=WEEKS)

    def test_is_blocked_until_every_week_is_replaced(self, change: dict, said: str) -> None:
        with pytest.raises(BreakingSchemaChangeError) as error:
            decide(**change, version=2, backfills={2: "units are counted"}, replaced=WEEKS[1:])
        assert "leaves out 1 of 3 (2017-01-02 .. 2017-01-02)" in str(error.value)
        assert "Run the range 2017-01-02 .. 2017-01-16 in one backfill" in str(error.value)

    def test_then_rebuilds(self, change: dict, said: str) -> None:
        decided = decide(**change, version=2, backfills={2: "units are counted"}, replaced=WEEKS)
        assert (decided.kind, decided.version) == ("rebuilt", 2)
        assert said in decided.detail
        assert "units are counted" in decided.detail

    def test_of_an_empty_table_needs_no_week(self, change: dict, said: str) -> None:
        decided = decide(**change, version=2, backfills={2: "why"}, present=[], replaced=[])
        assert decided.kind == "rebuilt"

    def test_of_a_table_without_weeks_replaces_it_whole(self, change: dict, said: str) -> None:
        decided = decide(
            **change,
            version=2,
            backfills={2: "why"},
            partition_column=None,
            present=[],
            replaced=[],
        )
        assert decided.kind == "rebuilt"


def test_a_backfill_declared_for_another_version_does_not_count() -> None:
    with pytest.raises(BreakingSchemaChangeError, match="version 3 declares no backfill"):
        decide(stored=without("units"), version=3, backfills={2: "why"}, replaced=WEEKS)
