"""The I/O manager of the lake: lazy frames in, validated partitions out.

It loads exactly the partitions that the mapping allows, and writes only what has been validated
against its contract: whole partitions, in one transaction with their health.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import dagster as dg
import polars as pl

from checks.contracts.contract import Contract, ContractReport
from checks.contracts.registry import contract_of
from models.monitoring.week_bars import week_bars
from resources import partition_status
from resources.content_version import PartitionVersion
from resources.lake import Lake, Staged
from resources.partition_status import PartitionStatus


@dataclass(frozen=True)
class Provenance:
    """What made a partition: recorded beside it, and compared when planning."""

    code_version: str
    run_id: str
    seconds: float
    inputs: Mapping[date | None, Mapping[str, str]]


@dataclass(frozen=True)
class Validated:
    """Rows that satisfied their contract, held in memory or staged as Parquet.

    Raises:
        ValueError: A report is missing or failed: unvalidated rows cannot be wrapped.
    """

    contract: Contract
    parts: Sequence[pl.DataFrame | Staged]
    reports: Sequence[ContractReport]
    weeks: Sequence[date] | None
    provenance: Provenance
    sizes: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.reports) != len(self.parts) or not all(
            r.passed and r.table == self.contract.table for r in self.reports
        ):
            raise ValueError(
                f"{self.contract.table}: rows reach the lake only with a passed contract report "
                "for each part; build the asset with assets.lake_asset"
            )


def table_of(key: dg.AssetKey) -> str:
    """``schema.name`` of an asset key."""
    return ".".join(key.path)


def write_validated(lake: Lake, validated: Validated) -> dict[str, Any]:
    """Replace the partitions of ``validated`` and record their health, all or nothing.

    Returns:
        What was written, for the asset's metadata.
    """
    started = time.perf_counter()
    contract, provenance = validated.contract, validated.provenance
    with lake.write() as connection:
        versions = lake.replace(connection, contract, validated.parts, weeks=validated.weeks)
        share = provenance.seconds / len(versions)
        partition_status.record(
            connection,
            [
                PartitionStatus(
                    asset=contract.table,
                    week=v.week,
                    status="passed",
                    rows=v.rows,
                    data_version=v.data_version,
                    contract_version=contract.version,
                    code_version=provenance.code_version,
                    inputs=provenance.inputs.get(v.week, {}),
                    run_id=provenance.run_id,
                    seconds=share,
                )
                for v in versions
            ],
        )
    rows = sum(v.rows for v in versions)
    metadata: dict[str, Any] = {
        "dagster/row_count": rows,
        "bytes": lake.table_bytes(contract.table),
        "snapshot_id": lake.snapshot_id(),
        "data_version": versions[0].data_version if len(versions) == 1 else _combined(versions),
        "contract_version": contract.version,
        "seconds": round(provenance.seconds + time.perf_counter() - started, 3),
        "write_seconds": round(time.perf_counter() - started, 3),
    }
    by_week = {v.week: v.rows for v in versions if v.week is not None}
    if len(by_week) > 1:
        picture = base64.b64encode(week_bars(by_week, title=contract.table).encode()).decode()
        metadata["rows_by_week"] = dg.MetadataValue.md(
            f"![rows by week](data:image/svg+xml;base64,{picture})"
        )
    return metadata


def _combined(versions: Sequence[PartitionVersion]) -> str:
    text = "|".join(f"{v.week}:{v.data_version}" for v in versions)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class LakeIOManager(dg.IOManager):
    """Hands assets lazy Polars frames of the lake, and takes only ``Validated`` rows."""

    def __init__(self, lake: Lake) -> None:
        self.lake = lake

    def handle_output(self, context: dg.OutputContext, obj: object) -> None:
        if not isinstance(obj, Validated):
            raise dg.DagsterInvariantViolationError(
                f"{table_of(context.asset_key)}: the lake takes only rows that passed their "
                f"contract, got {type(obj).__name__}; build the asset with assets.lake_asset"
            )
        context.add_output_metadata(write_validated(self.lake, obj))

    def load_input(self, context: dg.InputContext) -> pl.LazyFrame:
        contract = contract_of(table_of(context.asset_key))
        if not context.has_asset_partitions:
            return self.lake.scan(contract)
        keys = context.asset_partition_keys
        if not keys:
            return contract.empty().lazy()
        return self.lake.scan(
            contract, first=date.fromisoformat(min(keys)), last=date.fromisoformat(max(keys))
        )
