"""Killed at any stage: nothing half-written is seen, and the next run gives the same bytes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from resources.lake_database import close
from tests.whole_graph.conftest import (
    Installation,
    Uninterrupted,
    new_installation,
    versions_frame,
)

pytestmark = pytest.mark.slow

# What is said when a stage is under way, and how much later to kill: in the middle of it.
STAGES = {
    "ingest": ("raw.basket_lines", 0.1),
    "dbt": ("START sql incremental model marts.fct_basket_line", 0.0),
    "features": ("features.household:", 0.05),
    "training": ("tuning: trial 1", 0.0),
}


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """One installation, killed at each stage in turn."""
    installation = new_installation(tmp_path_factory.mktemp("killed"))
    yield installation
    close(installation.lake)


@pytest.fixture(scope="module")
def left_by() -> dict[str, pl.DataFrame]:
    """By stage, what the lake held when it had been killed there."""
    return {}


@pytest.mark.parametrize("stage", list(STAGES))
def test_after_a_kill_the_lake_is_readable(
    killed: Installation, left_by: dict[str, pl.DataFrame], stage: str
) -> None:
    said, after_s = STAGES[stage]
    killed.kill_when(said, "run", after_s=after_s)
    left_by[stage] = killed.content()
    assert left_by[stage].height >= max(f.height for f in left_by.values())


# Asked for only now, as another test process may still be building what these compare with.


@pytest.mark.parametrize("stage", list(STAGES))
def test_a_killed_stage_leaves_only_whole_partitions(
    uninterrupted: Uninterrupted, left_by: dict[str, pl.DataFrame], stage: str
) -> None:
    if stage not in left_by:
        pytest.skip("it was not killed; the test of that says why")
    whole = uninterrupted.content
    other = left_by[stage].join(whole, on=["table", "week", "rows", "hash"], how="anti")
    assert other.is_empty(), f"half-written:\n{other}"


def test_the_next_run_completes_to_the_same_content(
    uninterrupted: Uninterrupted, killed: Installation
) -> None:
    killed.liftgraph("run", check=False)
    assert_frame_equal(versions_frame(killed), uninterrupted.versions)
    assert not list(Path(killed.home / "lake" / "staging").glob("*/*")), "left in staging"


def test_two_builds_train_the_same_model_to_the_byte(
    uninterrupted: Uninterrupted, killed: Installation
) -> None:
    assert killed.model == uninterrupted.model


def test_no_killed_run_holds_the_queue(killed: Installation) -> None:
    done = killed.liftgraph("reap")
    assert "0 dead run(s)" in done.stderr
