"""What the dbt project declares: agreement with the contracts, and how Dagster sees it."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster_dbt import DagsterDbtTranslator
from dagster_dbt.asset_utils import build_dbt_specs

from checks.contracts.contract import Contract
from checks.contracts.marts import MARTS
from checks.contracts.raw import RAW
from resources.dbt_process import PROJECT_DIR, dbt_environment, manifest_path
from resources.lake import sql_type


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    home = tmp_path_factory.mktemp("home")
    return dbt_environment(
        catalog=f"sqlite:{home / 'catalog.sqlite'}",
        data_path=str(home),
        lock_path=None,
        temp_directory=home,
    )


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project, so that other processes' manifest stays as it is."""
    copy = tmp_path_factory.mktemp("project") / "dbt"
    shutil.copytree(PROJECT_DIR, copy, ignore=shutil.ignore_patterns("target", "logs"))
    return copy


@pytest.fixture(scope="module")
def manifest(project: Path, environment: dict[str, str]) -> dict[str, Any]:
    return json.loads(manifest_path(environment=environment, project_dir=project).read_text())


def declared(contract: Contract, *, constraints: bool) -> dict[str, tuple]:
    return {
        c.name: (
            sql_type(c.dtype).lower(),
            c.description,
            c.privacy,
            c.unit,
            constraints and not c.nullable,
        )
        for c in contract.columns
    }


def documented(node: dict[str, Any]) -> dict[str, tuple]:
    return {
        name: (
            column["data_type"],
            column["description"],
            column["config"]["meta"]["privacy"],
            column["config"]["meta"].get("unit"),
            {"not_null"} == {c["type"] for c in column["constraints"]},
        )
        for name, column in node["columns"].items()
    }


def nodes(manifest: dict[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    return {
        f"{node['schema']}.{node['name']}": node
        for node in manifest["nodes"].values()
        if node["resource_type"] == "model" and node["config"]["materialized"] == kind
    }


def test_marts_and_their_contracts_agree(manifest: dict[str, Any]) -> None:
    models = nodes(manifest, "incremental")
    assert models.keys() == {c.table for c in MARTS}
    for contract in MARTS:
        node = models[contract.table]
        assert node["description"] == contract.description, contract.table
        assert documented(node) == declared(contract, constraints=True), contract.table
        assert node["contract"]["enforced"], contract.table
        assert node["config"]["partition_column"] == contract.partition_column, contract.table


def test_sources_staging_and_the_raw_contracts_agree(manifest: dict[str, Any]) -> None:
    sources = {f"raw.{s['name']}": s for s in manifest["sources"].values()}
    staging = {
        name.replace("staging.stg_", "raw."): node
        for name, node in nodes(manifest, "view").items()
        if name.startswith("staging.")
    }
    assert sources.keys() == staging.keys() == {c.table for c in RAW}
    for contract in RAW:
        expected = declared(contract, constraints=False)
        assert documented(sources[contract.table]) == expected, contract.table
        assert documented(staging[contract.table]) == expected, contract.table


def test_keys_of_the_contracts_are_tested_in_dbt(manifest: dict[str, Any]) -> None:
    tested = {
        (
            manifest["nodes"][node["attached_node"]]["name"],
            tuple(node["test_metadata"]["kwargs"]["columns"]),
        )
        for node in manifest["nodes"].values()
        if (node.get("test_metadata") or {}).get("name") == "unique_rows"
    }
    for contract in MARTS:
        if contract.key:
            assert (contract.table.removeprefix("marts."), contract.key) in tested


def test_dagster_sees_lake_tables_as_assets(manifest: dict[str, Any]) -> None:
    specs, checks = build_dbt_specs(
        translator=DagsterDbtTranslator(),
        manifest=manifest,
        select="fqn:*",
        exclude="",
        selector="",
        io_manager_key=None,
        project=None,
    )
    by_key = {spec.key: spec for spec in specs}
    assert {dg.AssetKey(c.table.split(".")) for c in MARTS} <= by_key.keys()
    assert {spec.group_name for spec in specs} == {"warehouse"}
    assert all(list(spec.owners) == ["team:data"] for spec in specs)
    lines = by_key[dg.AssetKey(["staging", "stg_basket_lines"])]
    assert {d.asset_key for d in lines.deps} == {dg.AssetKey(["raw", "basket_lines"])}
    # Data tests are checks; unit tests judge code and are none.
    assert "sold_in_its_week_fct_basket_line_sold_at" in {c.name for c in checks}
    assert not {c.name for c in checks} & {u["name"] for u in manifest["unit_tests"].values()}


def test_the_manifest_is_parsed_only_when_the_project_changed(
    project: Path, environment: dict[str, str], manifest: dict[str, Any]
) -> None:
    def ask() -> tuple[Path, int]:
        path = manifest_path(environment=environment, project_dir=project)
        return path, path.stat().st_mtime_ns

    path, parsed = ask()
    assert ask() == (path, parsed)

    model = project / "models" / "marts" / "dim_store.yml"
    good = model.read_text()
    model.write_text(good.replace("One row per version of a store.", "Changed."))
    with ThreadPoolExecutor(max_workers=2) as two:
        first, second = two.map(lambda _: ask(), range(2))
    assert first == second != (path, parsed)
    assert "Changed." in path.read_text()

    model.write_text("models: [")
    with pytest.raises(RuntimeError, match=r"(?s)cannot parse.*dim_store\.yml"):
        ask()
    # The last good manifest stays, and is not taken for the broken project's.
    assert "Changed." in path.read_text()
    model.write_text(good)
