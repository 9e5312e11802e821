"""What the graph costs over its bare functions, one new week over the year, a range over weeks.

Everything runs on lakes of its own in a temporary folder, with the bundled year's drops laid down
once and shared. *Bare* is one script that calls the same functions in the same order on the same
kind of lake: admission, the real dbt build, validation and writing included; Dagster, its event log
and its checks left out. *Increment* is the weekly job as its schedule asks for it, after the last
week's drop has arrived: from that week's raw data to the scores of the coming week.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
FEATURE_SET = "features.household"
# The graph is built up to the last week but one; then the last one arrives.
BUILT, ARRIVING, COMING = "2017-12-18", "2017-12-25", "2018-01-01"
# As many weeks as a year has, all with data before them.
YEAR = ("2017-01-02", "2017-12-25")

console = Console(stderr=True, highlight=False)


def _environment(home: Path, landing: Path, last_week: str) -> dict[str, str]:
    return os.environ | {
        "LIFTGRAPH_LAST_WEEK": last_week,
        "LIFTGRAPH_HOME": str(home),
        "LIFTGRAPH_LANDING": str(landing),
        "LIFTGRAPH_REPORTS": str(home / "reports"),
        "DAGSTER_HOME": str(home / "dagster"),
        "LIFTGRAPH_EVENTS": str(home / "dagster" / "events"),
        "BENTOML_HOME": str(home / "bentoml"),
        "DAGSTER_EVENT_BATCH_SIZE": "1000",
        "PYTHONPATH": str(ROOT),
    }


def _step(
    name: str, *arguments: str, home: Path, landing: Path, last_week: str = ARRIVING
) -> dict[str, Any]:
    """One step in a process of its own; its figures are the last line it prints."""
    console.print(f"{name} ...")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.orchestration_steps", *arguments],
        cwd=ROOT,
        env=_environment(home, landing, last_week),
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{name} failed, see above")
    figures = json.loads(done.stdout.strip().splitlines()[-1])
    console.print(f"  {figures['seconds']:.1f} s, {figures['peak_mb']:,.0f} MB")
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--single-runs", type=int, default=52, help="weeks of the range")
    given = parser.parse_args()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="liftgraph_bench_") as folder:
        figures, ratios = _measure(Path(folder), single_runs=given.single_runs)
    figures["benchmark_s"] = round(time.perf_counter() - started, 1)
    table = Table(title="Orchestration")
    table.add_column("figure")
    table.add_column("value", justify="right")
    for name, value in (figures | ratios).items():
        table.add_row(name, f"{value:,.3f}" if isinstance(value, float) else str(value))
    Console().print(table)
    if given.json:
        from benchmarks.report import write_result

        write_result(given.json, benchmark="orchestration", figures=figures, ratios=ratios)


def _measure(folder: Path, *, single_runs: int) -> tuple[dict[str, Any], dict[str, float]]:
    landing, graph_home, bare_home = folder / "landing", folder / "graph", folder / "bare"
    for home in (graph_home, bare_home):
        home.mkdir()
    _step("laying down the drops", "landing", home=folder / "laying", landing=landing)
    bare = _step(
        "bare functions, whole year", "bare", home=bare_home, landing=landing, last_week=BUILT
    )
    graph = _step("graph, whole year", "graph", home=graph_home, landing=landing, last_week=BUILT)
    increment = _step(
        "graph, one new week", "increment", ARRIVING, COMING, home=graph_home, landing=landing
    )
    shutil.rmtree(bare_home)
    many = _step(
        f"{FEATURE_SET}, {single_runs} single runs",
        "singles",
        FEATURE_SET,
        YEAR[0],
        str(single_runs),
        home=graph_home,
        landing=landing,
    )
    one = _step(
        f"{FEATURE_SET}, one range run of {single_runs} weeks",
        "range",
        FEATURE_SET,
        YEAR[0],
        str(single_runs),
        home=graph_home,
        landing=landing,
    )
    figures = {
        "graph_s": graph["seconds"],
        "bare_s": bare["seconds"],
        "graph_peak_mb": graph["peak_mb"],
        "bare_peak_mb": bare["peak_mb"],
        "increment_s": increment["seconds"],
        "range_s": one["seconds"],
        "single_runs_s": many["seconds"],
        "single_runs": single_runs,
        "rows_equal": one["hash"] == many["hash"],
    }
    for name, seconds in graph.get("stages", {}).items():
        figures[f"graph_{name}_s"] = seconds
    for name, seconds in bare.get("stages", {}).items():
        figures[f"bare_{name}_s"] = seconds
    ratios = {
        "graph_over_bare": graph["seconds"] / bare["seconds"],
        "increment_over_full": increment["seconds"] / graph["seconds"],
        "range_over_single_runs": one["seconds"] / many["seconds"],
    }
    return figures, ratios


if __name__ == "__main__":
    main()
