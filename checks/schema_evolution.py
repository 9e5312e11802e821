"""Schema evolution: what a table's stored columns and its declared contract differ in.

Additive (a new nullable column) is accepted and recorded. Breaking (a column re-typed, removed,
or added as required) is blocked until the contract's version is raised, the contract declares the
backfill, and the run replaces every partition that holds rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

from checks.contracts.contract import Contract

TABLE_PROPERTIES_DDL = """
CREATE TABLE IF NOT EXISTS lake.quality.schema_changes (
    table_name VARCHAR, contract_version INTEGER, kind VARCHAR, detail VARCHAR,
    recorded_at TIMESTAMP
)
"""


class BreakingSchemaChangeError(Exception):
    """A contract differs from its stored table in a way that old rows cannot satisfy."""


@dataclass(frozen=True)
class SchemaChange:
    """What has to happen to the stored table."""

    kind: Literal["none", "created", "additive", "rebuilt"]
    version: int
    added: tuple[str, ...] = ()
    detail: str = ""


def compare(
    *,
    contract: Contract,
    declared: dict[str, str],
    stored: dict[str, str],
    stored_version: int,
    present: Sequence[date],
    replaced: Sequence[date],
) -> SchemaChange:
    """Decide how the stored table comes to the declared schema.

    Args:
        contract: The declared contract.
        declared: Column name to SQL type, as the contract declares it.
        stored: Column name to SQL type, as the table has it.
        stored_version: Contract version the table was last written with.
        present: Partitions that hold rows (empty for a table without partitions).
        replaced: Partitions the run replaces.

    Raises:
        BreakingSchemaChangeError: The change is not declared, or not wholly backfilled.
    """
    added = tuple(n for n in declared if n not in stored)
    removed = [n for n in stored if n not in declared]
    retyped = [n for n in declared if n in stored and declared[n] != stored[n]]
    nullable = {c.name for c in contract.columns if c.nullable}
    required = [n for n in added if n not in nullable]

    breaking = [f"{n}: {stored[n]} in the table, {declared[n]} in the contract" for n in retyped]
    breaking += [f"{n}: in the table, gone from the contract" for n in removed]
    breaking += [f"{n}: new and not nullable" for n in required]
    if not breaking:
        if contract.version > stored_version and not added:
            return SchemaChange(
                kind="additive", version=contract.version, detail=f"version {contract.version}"
            )
        if not added:
            return SchemaChange(kind="none", version=stored_version)
        return SchemaChange(
            kind="additive",
            version=contract.version,
            added=added,
            detail="added " + ", ".join(f"{n} {declared[n]}" for n in added),
        )

    what = f"{contract.table}: breaking change ({'; '.join(breaking)})"
    if contract.version <= stored_version:
        raise BreakingSchemaChangeError(
            f"{what}. The table was written under contract version {stored_version}. Raise "
            f"`version` to {stored_version + 1} and declare the backfill "
            f"(`backfills={{{stored_version + 1}: 'why'}}`) in its contract, then run every week"
        )
    if contract.version not in contract.backfills:
        raise BreakingSchemaChangeError(
            f"{what}. Contract version {contract.version} declares no backfill: add "
            f"`backfills={{{contract.version}: 'why'}}` to it, then run every week"
        )
    left_out = sorted(set(present) - set(replaced))
    if left_out and contract.partition_column:
        raise BreakingSchemaChangeError(
            f"{what}. The declared backfill must replace every week that holds rows: this run "
            f"leaves out {len(left_out)} of {len(present)} ({left_out[0]} .. {left_out[-1]}). "
            f"Run the range {min(present)} .. {max(present)} in one backfill"
        )
    return SchemaChange(
        kind="rebuilt",
        version=contract.version,
        detail=f"{'; '.join(breaking)} ({contract.backfills[contract.version]})",
    )
