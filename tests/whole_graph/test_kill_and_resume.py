"""Killed at any stage: nothing half-written is seen, and the next run gives the same bytes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

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


@pytest.mark.parametrize("stage", list(STAGES))
def test_a_killed_stage_leaves_only_whole_partitions(
    request: pytest.FixtureRequest, killed: Installation, stage: str
) -> None:
    said, after_s = STAGES[stage]
    killed.kill_when(said, "run", after_s=after_s)
    left = killed.content()
    # Asked for only now: another test process may be building it.
    whole = request.getfixturevalue("uninterrupted").content
    other = left.join(whole, on=["table", "week", "rows", "hash"], how="anti")
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
