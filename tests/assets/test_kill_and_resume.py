"""SIGKILL in the middle of a stage: the lake stays whole, and the next run completes.

Each stage is killed at random moments and inside a write transaction. After every kill each week
of each table must hold one generation of its rows, the old or the new, and agree with its recorded
state. To add a stage: name it here, and give ``stage_child.py`` its part of the graph.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
import pytest

from checks.contracts.registry import contract_of
from models.calendar import weeks_between
from resources import partition_status
from resources.content_version import contents, versions
from tests.conftest import Home
from tests.tiny_retailer import FIRST_WEEK, drops_of_week, weeks_from_first, write_drop

PROJECT = Path(__file__).parents[2]
WEEKS = weeks_from_first(4)
# Four weeks of data and the coming one: a short calendar of the child's own.
CALENDAR = weeks_between(FIRST_WEEK, WEEKS[-1])
READY_S = 120.0
DONE_S = 240.0
RANDOM_KILLS = 2


@dataclass
class Stage:
    """One stage's tables, and where to stop it inside a transaction."""

    name: str
    tables: tuple[str, ...]
    pause_in: str


STAGES = [
    Stage("ingest", ("raw.basket_lines", "raw.products", "raw.stores"), "raw.basket_lines"),
]


@dataclass
class Child:
    """A process that works on a stage."""

    process: subprocess.Popen[str]
    started: float = field(default_factory=time.monotonic)

    def wait_for(self, word: str) -> str:
        """The next line that begins with ``word``.

        Raises:
            AssertionError: The process ended without it.
        """
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(word):
                return line
        raise AssertionError(f"the child ended without {word!r}: {self.stderr()}")

    def stderr(self) -> str:
        assert self.process.stderr is not None
        return self.process.stderr.read()[-4000:]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def short(home: Home, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A home whose children have a calendar of a few weeks."""
    monkeypatch.setenv("LIFTGRAPH_LAST_WEEK", str(WEEKS[-1]))
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")
    return home


@pytest.fixture
def children() -> Iterator[list[Child]]:
    """Children that are certainly gone afterwards."""
    made: list[Child] = []
    yield made
    for child in made:
        child.kill()


def start(children: list[Child], *arguments: str) -> Child:
    child = Child(
        subprocess.Popen(
            [sys.executable, "-m", "tests.assets.stage_child", *arguments],
            cwd=PROJECT,
            env=os.environ.copy(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    )
    children.append(child)
    return child


def finish(children: list[Child], stage: Stage) -> float:
    """Run a stage to its end; returns the seconds its work took."""
    child = start(children, stage.name)
    child.wait_for("ready")
    began = time.monotonic()
    outcome = json.loads(child.wait_for("{"))
    seconds = time.monotonic() - began
    child.process.wait()
    assert outcome["success"], outcome
    assert outcome["unfinished"] == 0, "a dead run still holds the queue"
    return seconds


def send(home: Home, generation: int) -> None:
    """Drops in which every row of a week tells which generation it is of."""
    for week in WEEKS:
        frames = drops_of_week(week, households=4 + generation)
        lines = frames["basket_lines"].with_columns(quantity=pl.lit(generation, dtype=pl.Int64))
        brand = pl.lit(f"generation {generation}")
        products = frames["products"].with_columns(brand=brand)
        write_drop(home.landing, table="basket_lines", week=week, frame=lines)
        write_drop(home.landing, table="products", week=week, frame=products)
        if "stores" in frames:
            stores = frames["stores"].with_columns(region=brand)
            write_drop(home.landing, table="stores", week=week, frame=stores)


MARKS = {"raw.basket_lines": "quantity", "raw.products": "brand", "raw.stores": "region"}


def generations(home: Home, table: str) -> dict[object, set[int]]:
    """Week to the generations its rows are of; the rows are as many as that one has."""
    frame = home.lake.scan(contract_of(table)).collect()
    mark = pl.col(MARKS[table]).cast(pl.String).str.extract(r"(\d+)$").cast(pl.Int64)
    found = {}
    for (week,), part in frame.partition_by("week_start", as_dict=True).items():
        marks = set(part.select(mark).to_series().unique().to_list())
        found[week] = marks
        for generation in marks:
            name = table.removeprefix("raw.")
            sent = drops_of_week(week, households=4 + generation)[name]
            assert part.height == sent.height, f"{table} {week} is not whole"
    return found


def assert_whole(home: Home, stage: Stage, *, possible: set[int]) -> None:
    """No week is mixed, and the recorded state is that of the rows."""
    statuses = partition_status.current(home.lake)
    for table in stage.tables:
        for week, marks in generations(home, table).items():
            assert len(marks) == 1, f"{table} {week} holds parts of {marks}"
            assert marks <= possible
        recorded = {w: s for (a, w), s in statuses.items() if a == table}
        if not recorded:
            assert not home.lake.exists(table)
            continue
        contract = contract_of(table)
        there = versions([contents(home.lake.scan(contract).collect(), contract)], list(recorded))
        assert {v.week: (v.rows, v.data_version) for v in there} == {
            w: (s.rows, s.data_version) for w, s in recorded.items()
        }


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES, ids=lambda s: s.name)
def test_a_killed_stage_leaves_the_lake_whole_and_the_next_run_completes(
    short: Home, children: list[Child], stage: Stage
) -> None:
    send(short, 0)
    seconds = finish(children, stage)
    assert_whole(short, stage, possible={0})
    chance = random.Random(20170101)  # noqa: S311  (a repeatable moment, no secret)
    whole = 0
    for generation in range(1, RANDOM_KILLS + 2):
        send(short, generation)
        if generation <= RANDOM_KILLS:
            child = start(children, stage.name)
            child.wait_for("ready")
            time.sleep(chance.uniform(0.1, 0.9) * seconds)
        else:
            child = start(children, stage.name, stage.pause_in)
            child.wait_for("paused")
        child.kill()
        # Weeks of an earlier generation may still stand where the kills before came too early.
        assert_whole(short, stage, possible=set(range(whole, generation + 1)))
        if generation > RANDOM_KILLS:
            marks = generations(short, stage.pause_in)
            assert all(m != {generation} for m in marks.values()), "it had not committed"
    finish(children, stage)
    assert_whole(short, stage, possible={RANDOM_KILLS + 1})
    left = short.settings.lake_dir / "staging"
    assert not list(left.rglob("*.parquet")), "the dead runs' staged rows are swept"
    assert list((short.path / "runs").glob("*.lock")) == []
