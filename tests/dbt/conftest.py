"""One tiny lake, built once by dbt; its tests put back what they change."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# Under pytest's importlib mode a test's folder is not on the path.
sys.path.insert(0, str(Path(__file__).parent))

from tiny_lake import TinyLake


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TinyLake]:
    """A lake whose first build, unit tests and data tests included, has passed."""
    tiny = TinyLake.make(tmp_path_factory.mktemp("dbt lake"))  # a path with a space, on purpose
    tiny.put_year()
    done = tiny.dbt("build")
    assert "PASS dim_product::a_version_opens_when_an_attribute_changes" in done.output
    yield tiny
    tiny.forks.close()
