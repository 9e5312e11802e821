"""Contracts in the Open Data Contract Standard (ODCS 3), for people and tools outside the graph."""

from __future__ import annotations

import polars as pl
import yaml

from checks.contracts.contract import ColumnSpec, Contract

_LOGICAL = {
    pl.String: "string",
    pl.Boolean: "boolean",
    pl.Date: "date",
    pl.Datetime: "timestamp",
}


def to_odcs(contract: Contract) -> str:
    """One contract as ODCS YAML."""
    schema, name = contract.table.split(".")
    document = {
        "apiVersion": "v3.0.2",
        "kind": "DataContract",
        "id": f"liftgraph.{contract.table}",
        "name": contract.table,
        "version": f"{contract.version}.0.0",
        "status": "active",
        "domain": schema,
        "description": {"purpose": contract.description},
        "team": [{"username": contract.owner, "role": "owner"}],
        "schema": [
            {
                "name": name,
                "physicalName": f"lake.{contract.table}",
                "physicalType": "table",
                "description": contract.description,
                "properties": [_property(contract, c) for c in contract.columns],
            }
        ],
    }
    if contract.freshness_days:
        document["slaProperties"] = [
            {"property": "latency", "value": contract.freshness_days, "unit": "d"}
        ]
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100)


def _property(contract: Contract, column: ColumnSpec) -> dict:
    logical = next((v for k, v in _LOGICAL.items() if column.dtype == k), None)
    if logical is None:
        logical = "integer" if column.dtype.is_integer() else "number"
    found = {
        "name": column.name,
        "logicalType": logical,
        "physicalType": str(column.dtype),
        "required": not column.nullable,
        "description": column.description + (f" [{column.unit}]" if column.unit else ""),
        "classification": column.privacy,
    }
    if column.name in contract.key:
        found["primaryKey"] = True
        found["primaryKeyPosition"] = contract.key.index(column.name) + 1
    if column.name == contract.partition_column:
        found["partitioned"] = True
    if column.constraints:
        found["quality"] = [{"type": "text", "description": c} for c in column.constraints]
    return found
