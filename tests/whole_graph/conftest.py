"""A whole installation of the tiny retailer, run as people run it: by ``python -m liftgraph``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from resources import partition_status
from resources.lake import Lake
from resources.lake_database import close
from resources.partition_status import PartitionStatus
from tests.tiny_retailer import weeks_from_first, write_drops

ROOT = Path(__file__).resolve().parents[2]

# The shortest history that leaves the ranker weeks to learn from and to be judged on.
WEEKS = 18
# A gate wants thirty households.
HOUSEHOLDS = 36
PUBLIC_KEY = "a key of the tests, not a secret"


@dataclass(frozen=True)
class Installation:
    """One home, and the command line on it."""

    home: Path

    @property
    def landing(self) -> Path:
        return self.home / "landing"

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {
            "LIFTGRAPH_HOME": str(self.home),
            "LIFTGRAPH_LANDING": str(self.landing),
            "LIFTGRAPH_REPORTS": str(self.home / "reports"),
            "LIFTGRAPH_SOURCE": "own",
            "LIFTGRAPH_PSEUDONYM_KEY": PUBLIC_KEY,
            "LIFTGRAPH_LAST_WEEK": str(weeks_from_first(WEEKS)[-1]),
            "LIFTGRAPH_TRIALS": "2",
            "DAGSTER_HOME": str(self.home / "dagster"),
            "LIFTGRAPH_EVENTS": str(self.home / "dagster" / "events"),
            "BENTOML_HOME": str(self.home / "bentoml"),
            "PYTHONPATH": str(ROOT),
        }

    @property
    def lake(self) -> Lake:
        return Lake(
            catalog=f"sqlite:{self.home / 'lake' / 'catalog.sqlite'}",
            data_path=str(self.home / "lake" / "data"),
            lock_path=self.home / "lake" / "write.lock",
        )

    def liftgraph(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "liftgraph", *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        if check:
            assert done.returncode == 0, done.stderr[-4000:]
        return done

    def run_weeks(self, group: str, weeks: Sequence[date]) -> subprocess.CompletedProcess[str]:
        """Run a group's assets one week at a time."""
        return subprocess.run(
            [sys.executable, "-m", "tests.whole_graph.single_weeks", group, *map(str, weeks)],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )

    def kill_when(self, said: str, *arguments: str, after_s: float = 0.0) -> str:
        """Start ``liftgraph``, SIGKILL it once it has said something, and return what it said."""
        process = subprocess.Popen(
            [sys.executable, "-m", "liftgraph", *arguments],
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        lines = []
        assert process.stderr is not None
        for line in process.stderr:
            lines.append(line)
            if said in line:
                break
        else:
            process.wait(timeout=30)
            raise AssertionError(f"{said!r} was never said:\n{''.join(lines)[-4000:]}")
        time.sleep(after_s)
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=30)
        process.stderr.close()
        assert process.returncode == -signal.SIGKILL, "it had ended before it was killed"
        return "".join(lines)

    def statuses(self) -> Mapping[tuple[str, date | None], PartitionStatus]:
        return partition_status.current(self.lake)

    def versions(self) -> dict[tuple[str, date | None], str]:
        """Content version of every partition of every table."""
        return {
            key: s.data_version
            for key, s in self.statuses().items()
            if not key[0].startswith(("landing.", "evaluation."))
        }

    def log(self) -> pl.DataFrame:
        with self.lake.read() as connection:
            return connection.sql("SELECT * FROM lake.quality.partition_log").pl()

    @property
    def model(self) -> bytes:
        latest = self.home / "models" / "offer_ranker" / "LATEST"
        return (latest.parent / latest.read_text() / "model.ubj").read_bytes()


def new_installation(home: Path) -> Installation:
    write_drops(home / "landing", weeks=WEEKS, households=HOUSEHOLDS, products=30)
    return Installation(home=home)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Built once without interruption; tests that change it put up with what others changed."""
    installation = new_installation(tmp_path_factory.mktemp("built"))
    installation.liftgraph("run", check=False)
    # So few households prove nothing: the gates of the ranker block, and nothing else fails.
    failed = {asset for (asset, _), s in installation.statuses().items() if not s.passed}
    assert failed == {"evaluation.ranking"}
    yield installation
    close(installation.lake)
