"""Killed at any stage: nothing half-written is seen, and the next run gives the same bytes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from checks.contracts.registry import CONTRACTS
from resources.lake_database import close
from tests.whole_graph.conftest import Installation, new_installation

pytestmark = pytest.mark.slow

# What is said when a stage is under way, and how much later to kill: in the middle of it.
STAGES = {
    "ingest": ("raw.basket_lines", 0.1),
    "dbt": ("dbt: building", 3.0),
    "features": ("features.household:", 0.05),
    "training": ("tuning: trial 1", 0.0),
}


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """One installation, killed at each stage in turn."""
    installation = new_installation(tmp_path_factory.mktemp("killed"))
    yield installation
    close(installation.lake)


def content_by_week(installation: Installation) -> dict[str, dict[object, tuple[int, int]]]:
    """Per table and week, how many rows there are and a hash over them, whatever their order."""
    found = {}
    for table, contract in CONTRACTS.items():
        week = pl.col(contract.partition_column) if contract.partition_column else pl.lit(0)
        rows = installation.lake.scan(contract).collect()
        hashed = rows.select(week.alias("week"), pl.struct(pl.all()).hash(seed=1).alias("row"))
        counts = hashed.group_by("week").agg(pl.len(), pl.col("row").sum().alias("content"))
        found[table] = {w: (rows, content) for w, rows, content in counts.rows()}
    return found


@pytest.mark.parametrize("stage", list(STAGES))
def test_a_killed_stage_leaves_only_whole_partitions(
    built: Installation, killed: Installation, stage: str
) -> None:
    said, after_s = STAGES[stage]
    killed.kill_when(said, "run", after_s=after_s)
    whole = content_by_week(built)
    for table, weeks in content_by_week(killed).items():
        for week, content in weeks.items():
            assert content == whole[table].get(week), f"{table} {week} is half-written"


def test_the_next_run_completes_to_the_same_content(
    built: Installation, killed: Installation
) -> None:
    killed.liftgraph("run", check=False)
    assert killed.versions() == built.versions()
    assert not list(Path(killed.home / "lake" / "staging").glob("*/*")), "left in staging"


def test_two_builds_train_the_same_model_to_the_byte(
    built: Installation, killed: Installation
) -> None:
    assert killed.model == built.model


def test_no_killed_run_holds_the_queue(killed: Installation) -> None:
    done = killed.liftgraph("reap")
    assert "0 dead run(s)" in done.stderr
