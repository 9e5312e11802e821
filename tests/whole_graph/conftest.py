"""A whole installation of the tiny retailer, run as people run it: by ``python -m liftgraph``."""

from __future__ import annotations

import os
import shutil
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
from filelock import FileLock

from checks.contracts.registry import CONTRACTS
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
            # Unbuffered: dbt's lines come by standard output, and are to be heard at once.
            env=self.environment | {"PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        lines = []
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if said in line:
                break
        else:
            process.wait(timeout=30)
            raise AssertionError(f"{said!r} was never said:\n{''.join(lines)[-4000:]}")
        time.sleep(after_s)
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=30)
        process.stdout.close()
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

    def content(self) -> pl.DataFrame:
        """``table, week, rows, hash`` of what the lake holds, whatever the order of rows."""
        found = []
        for table, contract in CONTRACTS.items():
            week = pl.col(contract.partition_column) if contract.partition_column else pl.lit("")
            rows = self.lake.scan(contract).collect()
            hashed = rows.select(
                pl.lit(table).alias("table"),
                week.cast(pl.String).alias("week"),
                pl.struct(pl.all()).hash(seed=1).alias("hash"),
            )
            found.append(
                hashed.group_by("table", "week").agg(pl.len().alias("rows"), pl.col("hash").sum())
            )
        return pl.concat(found).sort("table", "week")

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


@dataclass(frozen=True)
class Uninterrupted:
    """What a build without interruption came to.

    Attributes:
        content: As of ``Installation.content``.
        versions: ``asset, week, version``.
        model: The booster's file.
    """

    content: pl.DataFrame
    versions: pl.DataFrame
    model: bytes


def versions_frame(installation: Installation) -> pl.DataFrame:
    """``asset, week, version`` of ``Installation.versions``."""
    rows = [(asset, str(week), v) for (asset, week), v in installation.versions().items()]
    return pl.DataFrame(rows, schema=["asset", "week", "version"], orient="row").sort(
        "asset", "week"
    )


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``built``, and what it came to when it was; one for all test processes."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "whole"
    folder.mkdir(exist_ok=True)
    with FileLock(folder / "lock"):
        if not (folder / "model.ubj").exists():
            _build(folder)
    return folder


def _build(folder: Path) -> None:
    # Left by a build that failed in another process.
    shutil.rmtree(folder / "built", ignore_errors=True)
    installation = new_installation(folder / "built")
    installation.liftgraph("run", check=False)
    # So few households prove nothing: the gates of the ranker block, and nothing else fails.
    failed = {asset for (asset, _), s in installation.statuses().items() if not s.passed}
    assert failed == {"evaluation.ranking"}
    assert {"ranking.candidates", "actions.plan", "evaluation.demand", "models.response"} <= {
        asset for asset, _ in installation.statuses()
    }
    installation.content().write_parquet(folder / "content.parquet")
    versions_frame(installation).write_parquet(folder / "versions.parquet")
    close(installation.lake)
    (folder / "model.ubj").write_bytes(installation.model)


@pytest.fixture(scope="session")
def uninterrupted(whole: Path) -> Uninterrupted:
    return Uninterrupted(
        pl.read_parquet(whole / "content.parquet"),
        pl.read_parquet(whole / "versions.parquet"),
        (whole / "model.ubj").read_bytes(),
    )


@pytest.fixture(scope="session")
def built(whole: Path) -> Iterator[Installation]:
    """Built without interruption; tests of one file alone, which change it, may use it."""
    installation = Installation(whole / "built")
    yield installation
    close(installation.lake)
