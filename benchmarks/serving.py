"""The offer service, next to what could serve the model with less: FastAPI, MLflow, a bare call.

A made-up week of the real shape (1,000 households, 100 candidates each, the graph's features) is
served from source with everything on: API key, rate limit, look-up, reasons, guard, decision log.
The client is this process; servers are its children, all measured in the same run, in turns.

    python benchmarks/serving.py [--json FILE] [--requests N] [--trials N] [--kills N] [--cases N]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson
import psutil
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import serving_bare as bare
from benchmarks import serving_faults as faults
from benchmarks import serving_world
from benchmarks.arguments import positive
from benchmarks.openapi_cases import fuzz
from benchmarks.report import write_result
from benchmarks.serving_client import Result, request, run
from benchmarks.serving_world import FIRST, World
from bentos.server import RunningServer, start, wait_until_ready
from models.ranking.inputs import FEATURES
from resources.online_snapshot import open_snapshot

SERVICE = "bentos.service:LiftGraph"
BLOCKS = 10
CONCURRENCY = 8
WORKERS = 2
MOST_P99_VS_FASTAPI = 1.5
LEAST_VS_BARE = 0.6
LEAST_VS_MLFLOW = 3.0
LOOKUPS = 20_000
_STALL_MS = 25.0

console = Console(stderr=True, highlight=False)


@contextmanager
def served(world: World, **environment: str) -> Iterator[RunningServer]:
    """Run the service from source, as ``bentos.server`` does."""
    running = start(SERVICE, home=world.home, environment=environment)
    try:
        wait_until_ready(running)
        yield running
    finally:
        running.stop()


def sound(result: Result, name: str) -> Result:
    """Refuse to compare with a server that does not answer.

    Raises:
        RuntimeError: An answer was no 200.
    """
    if result.failed:
        raise RuntimeError(f"{name} answered {result.statuses}, {result.broken} broke off")
    return result


def requests_of(world: World) -> list[bytes]:
    return [request("/rank_offers", body, key=world.key) for body in world.bodies]


def warm(url: str, asked: list[bytes]) -> None:
    """Every household once, twice: what is told of offers is kept per worker."""
    for _ in range(2):
        run(url, asked, count=len(asked), concurrency=CONCURRENCY)


def latency(world: World, *, count: int) -> tuple[dict[str, Any], float]:
    """One client, one request at a time, in turns with the bare app."""
    asked = requests_of(world)
    plain = [request("/rank_offers", body) for body in world.bodies]
    ours, theirs = Result(), Result()
    block = max(count // BLOCKS, 1)
    with served(world) as liftgraph, bare.fastapi(world.files[FIRST], world.matrices) as fastapi:
        first = run(liftgraph.url, asked, count=len(asked))
        warm(liftgraph.url, asked)
        run(fastapi, plain, count=len(plain))
        for _ in range(BLOCKS):
            ours.add(sound(run(liftgraph.url, asked, count=block), "liftgraph"))
            theirs.add(sound(run(fastapi, plain, count=block), "the bare app"))
    figures = {
        **_latencies("liftgraph", ours),
        **_latencies("fastapi", theirs),
        "first_answers_p50_ms": first.quantile(0.5),
        "first_answers_p99_ms": first.quantile(0.99),
        "stalls_over_25_ms": sum(ms > _STALL_MS for ms in ours.latencies_ms),
        "server_errors": ours.server_errors,
        "requests": len(ours.latencies_ms),
    }
    return figures, ours.quantile(0.99) / theirs.quantile(0.99)


def _latencies(name: str, result: Result) -> dict[str, float]:
    return {
        f"{name}_p50_ms": result.quantile(0.5),
        f"{name}_p99_ms": result.quantile(0.99),
        f"{name}_max_ms": max(result.latencies_ms),
    }


def throughput(world: World, *, count: int) -> tuple[dict[str, Any], dict[str, float]]:
    """Eight connections: ours, MLflow's server, and calls without any server."""
    asked, block = requests_of(world), max(count // BLOCKS, 1)
    invoked = [request("/invocations", body) for body in _frames(world)]
    with served(world, LIFTGRAPH_SERVE_WORKERS=str(WORKERS)) as liftgraph:
        warm(liftgraph.url, asked)
        used, ours, calls = [0.0, 0.0], Result(), []
        for _ in range(BLOCKS):
            # In turns, so that whatever else the machine does hits both alike.
            before = _used(world, liftgraph)
            ours.add(run(liftgraph.url, asked, count=block, concurrency=CONCURRENCY))
            after = _used(world, liftgraph)
            used = [sum(u) - b for *u, b in zip(used, after, before, strict=True)]
            calls.append([_called(world, block, callers) for callers in (1, CONCURRENCY)])
        sound(ours, "liftgraph")
    with bare.mlflow(world.files[FIRST], workers=WORKERS) as mlflow:
        run(mlflow, invoked, count=50, concurrency=CONCURRENCY)
        theirs = run(mlflow, invoked, count=max(count // 10, 1), concurrency=CONCURRENCY)
        sound(theirs, "mlflow")
    # Of as many calls each: the harmonic mean is all calls over all seconds.
    alone, together = (BLOCKS / sum(1 / c[i] for c in calls) for i in (0, 1))
    thousands = len(ours.latencies_ms) / 1e3
    figures = {
        "throughput_per_s": ours.per_second,
        "throughput_p99_ms": ours.quantile(0.99),
        "throughput_server_errors": ours.server_errors,
        "mlflow_per_s": theirs.per_second,
        "bare_one_caller_per_s": alone,
        "bare_eight_callers_per_s": together,
        "workers": WORKERS,
        "concurrency": CONCURRENCY,
        "cpu_s_per_1000": used[0] / thousands,
        "log_bytes_per_1000": used[1] / thousands,
    }
    ratios = {
        "throughput_vs_bare": ours.per_second / alone,
        "throughput_vs_bare_eight_callers": ours.per_second / together,
        "throughput_vs_mlflow": ours.per_second / theirs.per_second,
    }
    return figures, ratios


def _called(world: World, count: int, callers: int) -> float:
    return bare.calls_per_second(world.files[FIRST], world.matrices, count=count, callers=callers)


def _frames(world: World) -> list[bytes]:
    """Matrices as MLflow's server takes them; it needs the features' names."""
    return [
        orjson.dumps(
            {"dataframe_split": {"columns": FEATURES.names, "data": matrix.astype(float)}},
            option=orjson.OPT_SERIALIZE_NUMPY,
        )
        for matrix in world.matrices[:50]
    ]


def _used(world: World, running: RunningServer) -> tuple[float, int]:
    """CPU seconds of all its processes, and bytes of the decision log."""
    family = [running.process.pid]
    family += [c.pid for c in psutil.Process(running.process.pid).children(recursive=True)]
    seconds = sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in family)
    files = world.settings.decisions_dir.glob("*.jsonl*")
    return seconds, sum(file.stat().st_size for file in files)


def lookup(world: World) -> dict[str, float]:
    """Features of 100 products of one household, as a request finds them."""
    snapshot = open_snapshot(world.settings.online_dir)
    names = [raw.decode() for raw in snapshot.arrays.households.tolist()]
    order = np.random.default_rng(1).integers(len(names), size=LOOKUPS)
    took = np.empty(LOOKUPS)
    for place, i in enumerate(order.tolist()):
        started = time.perf_counter()
        snapshot.lookup(names[i])
        took[place] = time.perf_counter() - started
    return {f"lookup_p{q}_ms": float(np.quantile(took, q / 100) * 1e3) for q in (50, 99)}


def measure(arguments: argparse.Namespace, home: Path) -> tuple[dict[str, Any], dict[str, float]]:
    """All of it, one after the other."""
    figures: dict[str, Any] = {}
    ratios: dict[str, float] = {}
    console.print("making a week, two models and a broken one")
    world = serving_world.make(home)
    figures |= lookup(world)
    console.print("latency, one at a time")
    found, ratios["p99_vs_fastapi"] = latency(world, count=arguments.requests)
    figures |= found
    console.print(_said(figures))
    console.print("throughput, eight at a time")
    found, more = throughput(world, count=arguments.requests)
    figures |= found
    ratios |= more
    console.print("hot swaps of snapshot and model under load")
    with served(world, LIFTGRAPH_SERVE_WORKERS=str(WORKERS)) as running:
        figures |= faults.swaps(world, running.url)
    console.print("rollbacks under load")
    with served(world, LIFTGRAPH_SERVE_WORKERS=str(WORKERS)) as running:
        figures |= faults.rollbacks(world, running.url, trials=arguments.trials)
    console.print("killed workers under load")
    with served(world, LIFTGRAPH_SERVE_WORKERS=str(WORKERS)) as running:
        answered = faults.kills(world, running, kills=arguments.kills)
    figures |= faults.lost(world, answered)
    console.print("arbitrary requests")
    with served(world) as running, httpx.Client(base_url=running.url, timeout=30) as client:
        figures |= fuzz(client, key=world.key, cases=arguments.cases, seed=1)
    return figures, ratios


def _said(figures: dict[str, Any]) -> str:
    return ", ".join(
        f"{k} {v:.3f}" if isinstance(v, float) else f"{k} {v}" for k, v in figures.items()
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", type=Path, help="write the result to this file")
    parser.add_argument("--requests", type=positive, default=10_000, help="of each measurement")
    parser.add_argument("--trials", type=positive, default=50, help="rollbacks")
    parser.add_argument("--kills", type=positive, default=20, help="killed workers")
    parser.add_argument("--cases", type=positive, default=5_000, help="arbitrary requests")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory(prefix="liftgraph-serving-") as folder:
        figures, ratios = measure(arguments, Path(folder) / "home")

    table = Table(title=f"{serving_world.CANDIDATES} candidates, {serving_world.TREES} trees")
    table.add_column("figure")
    table.add_column("value", justify="right")
    for name, value in {**figures, **ratios}.items():
        table.add_row(name, f"{value:,.3f}" if isinstance(value, float) else str(value))
    Console().print(table)
    print(
        f"p99_vs_fastapi {ratios['p99_vs_fastapi']:.2f} (at most {MOST_P99_VS_FASTAPI}), "
        f"throughput_vs_bare {ratios['throughput_vs_bare']:.2f} (at least {LEAST_VS_BARE}), "
        f"throughput_vs_mlflow {ratios['throughput_vs_mlflow']:.2f} (at least {LEAST_VS_MLFLOW})"
    )
    if arguments.json:
        write_result(arguments.json, benchmark="serving", figures=figures, ratios=ratios)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
