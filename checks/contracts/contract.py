"""What a table contract is, and how a frame is validated against one.

A contract is a Pandera model plus what Pandera has no word for: the table's name in the lake, its
version, owner, key, partition column and freshness. Each table's own contract lives beside this
module, in the file of its schema.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import pandera.polars as pa
import polars as pl
from pandera.errors import SchemaErrors

Privacy = Literal["public", "internal", "pseudonymous", "sensitive"]

# Enough to recognise the fault, few enough to read.
EXAMPLES_PER_FAILURE = 5
# Rules about a column itself: the example is its type or its name, nobody's value.
_ABOUT_COLUMNS = ("dtype(", "column_in_dataframe", "column_in_schema")


def column(
    description: str,
    *,
    privacy: Privacy = "internal",
    unit: str | None = None,
    added_in: int = 1,
    **checks: Any,
) -> Any:
    """A contract column: Pandera's field with a description, a privacy class and a unit.

    Args:
        description: What the value means.
        privacy: Who may see it; ``sensitive`` columns never reach a model.
        unit: Unit of measure, where it has one.
        added_in: Contract version that introduced the column.
        **checks: Passed to ``pandera.Field`` (``ge``, ``isin``, ``nullable`` and so on).
    """
    metadata = {"privacy": privacy, "unit": unit, "added_in": added_in}
    return pa.Field(description=description, metadata=metadata, **checks)


@dataclass(frozen=True)
class ColumnSpec:
    """One column of a contract, as the UI, dbt and the exported YAML show it."""

    name: str
    dtype: pl.DataType
    nullable: bool
    description: str
    privacy: Privacy
    unit: str | None
    constraints: tuple[str, ...]


@dataclass(frozen=True)
class Failure:
    """One rule that rows broke.

    Attributes:
        column: Whose values broke it; ``*`` for the frame as a whole.
        check: The rule.
        rows: How many broke it.
        examples: Values, of a public column alone: reports reach logs and pages, and a bad value
            may be somebody's raw id.
    """

    column: str
    check: str
    rows: int
    examples: tuple[str, ...]

    def __str__(self) -> str:
        shown = f", e.g. {', '.join(self.examples)}" if self.examples else ""
        return f"{self.column}: {self.check} broken by {self.rows:,} row(s){shown}"


@dataclass(frozen=True)
class ContractReport:
    """What validation found in a frame."""

    table: str
    rows: int
    failures: tuple[Failure, ...] = ()
    bad_partitions: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        return not self.failures

    def __str__(self) -> str:
        if self.passed:
            return f"{self.table}: {self.rows:,} rows satisfy the contract"
        return f"{self.table}: " + "; ".join(map(str, self.failures))


@dataclass(frozen=True, eq=False)
class Contract:
    """The contract of one table.

    Attributes:
        table: ``schema.name`` in the lake.
        model: The Pandera model; its docstring describes the table.
        owner: ``team:…`` or an address, shown in the UI.
        key: Columns that identify a row; unique. Empty where duplicates are legal.
        partition_column: The week column; ``None`` for a table replaced whole.
        version: Raised by a breaking change.
        freshness_days: Longest allowed age of the newest event, in days.
        backfills: Version to reason: declares that a breaking version rebuilds every week.
    """

    table: str
    model: type[pa.DataFrameModel]
    owner: str
    key: tuple[str, ...] = ()
    partition_column: str | None = "week_start"
    version: int = 1
    freshness_days: int | None = None
    backfills: Mapping[int, str] = field(default_factory=dict)

    @property
    def description(self) -> str:
        return (self.model.__doc__ or "").strip()

    @cached_property
    def schema(self) -> pa.DataFrameSchema:
        # Pandera keeps one schema per model; contracts that share a model must not share a key.
        schema = copy.deepcopy(self.model.to_schema())
        schema.strict = True
        schema.ordered = False
        if self.key:
            schema.unique = list(self.key)
        return schema

    @cached_property
    def columns(self) -> tuple[ColumnSpec, ...]:
        specs = []
        for name, col in self.schema.columns.items():
            metadata = col.metadata or {}
            specs.append(
                ColumnSpec(
                    name=name,
                    dtype=col.dtype.type,
                    nullable=col.nullable,
                    description=col.description or "",
                    privacy=metadata.get("privacy", "internal"),
                    unit=metadata.get("unit"),
                    constraints=tuple(str(c.error or c.name) for c in col.checks),
                )
            )
        return tuple(specs)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(c.name for c in self.columns)

    def empty(self) -> pl.DataFrame:
        """A frame of the contract's schema without rows."""
        return pl.DataFrame(schema={c.name: c.dtype for c in self.columns})


def validate(frame: pl.DataFrame, contract: Contract) -> ContractReport:
    """Check ``frame`` against ``contract`` on its values.

    Args:
        frame: Collected frame; Pandera checks only the schema of a lazy one, so that is refused.
        contract: What must hold.

    Returns:
        The report; it never raises for bad data.

    Raises:
        TypeError: ``frame`` is not a ``polars.DataFrame``.
    """
    if not isinstance(frame, pl.DataFrame):
        raise TypeError(
            f"{contract.table}: validate() needs a collected polars.DataFrame, "
            f"got {type(frame).__name__}; call .collect() first"
        )
    try:
        contract.schema.validate(frame, lazy=True)
    except SchemaErrors as error:
        cases = error.failure_cases
        return ContractReport(
            table=contract.table,
            rows=frame.height,
            failures=_failures(cases, contract),
            bad_partitions=_bad_partitions(frame, cases, contract.partition_column),
        )
    return ContractReport(table=contract.table, rows=frame.height)


def _failures(cases: pl.DataFrame, contract: Contract) -> tuple[Failure, ...]:
    public = {c.name for c in contract.columns if c.privacy == "public"}
    grouped = (
        cases.with_columns(pl.col("failure_case").cast(pl.String), pl.col("column").fill_null("*"))
        .group_by("column", "check", maintain_order=True)
        .agg(pl.len().alias("rows"), pl.col("failure_case").head(EXAMPLES_PER_FAILURE))
    )
    return tuple(
        Failure(
            column=c,
            check=k,
            rows=n,
            examples=tuple(str(e) for e in examples)
            if c in public or k.startswith(_ABOUT_COLUMNS)
            else (),
        )
        for c, k, n, examples in grouped.select("column", "check", "rows", "failure_case").rows()
    )


def _bad_partitions(
    frame: pl.DataFrame, cases: pl.DataFrame, partition_column: str | None
) -> tuple[str, ...]:
    if partition_column is None or partition_column not in frame.columns:
        return ()
    index = cases["index"].cast(pl.Int64, strict=False)
    # A schema-level failure (a missing or re-typed column) has no row: every partition is bad.
    bad = frame[partition_column] if index.null_count() else frame[partition_column].gather(index)
    return tuple(str(v) for v in bad.unique().sort().to_list())
