"""Kill the service and the ingestion, again and again: is anything lost, is anything there twice?

``python -m benchmarks.decision_log --json FILE``. On a copy of the installation's online files: the
service from source answers and takes events under load; its worker is killed in the middle; what
callers were answered must be in the log once. Then the log is ingested by processes that are killed
too, and the lake must hold each line once. At the end every decision is replayed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from benchmarks.arguments import positive
from benchmarks.report import write_result
from bentos.server import RunningServer, start, wait_until_ready
from resources.settings import PROJECT, get_settings

CLIENTS = 4
# Of a round: how long callers ask before the worker is killed.
LOAD_SECONDS = 1.5
EVENTS_PER_CLIENT = 1 / 20
# Ingestions that are killed, each a little later than the one before.
INGEST_KILLS = 6


@dataclass
class Answered:
    """What callers were answered."""

    decisions: list[str] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    event_ms: list[float] = field(default_factory=list)
    refused: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


def load(url: str, answered: Answered, stop: threading.Event, client: int, round_: int) -> None:
    """Ask for offers, and tell of a purchase now and then, until told to stop."""
    rng = np.random.default_rng(client * 1_000 + round_)
    with httpx.Client(base_url=url, timeout=5) as session:
        while not stop.is_set():
            household = str(int(rng.integers(1, 2_500)))
            try:
                if rng.random() < EVENTS_PER_CLIENT:
                    _tell(
                        session, answered, household, f"{round_}-{client}-{rng.integers(1 << 60)}"
                    )
                else:
                    reply = session.post("/rank_offers", json={"household_id": household, "k": 10})
                    if reply.status_code == httpx.codes.OK:
                        with answered.lock:
                            answered.decisions.append(reply.json()["request_id"])
            except httpx.HTTPError:
                with answered.lock:
                    answered.refused += 1
                time.sleep(0.05)


def _tell(session: httpx.Client, answered: Answered, household: str, event_id: str) -> None:
    body = {
        "event_id": event_id,
        "household_id": household,
        "lines": [
            {
                "basket_id": event_id[:60],
                "store_id": "367",
                "sold_at": "2018-01-02T15:04:05Z",
                "product_id": "1082185",
                "quantity": 1,
                "sales_value": 0.99,
            }
        ],
    }
    started = time.perf_counter()
    reply = session.post("/events", json=body)
    if reply.status_code == httpx.codes.OK:
        with answered.lock:
            answered.events.append(event_id)
            answered.event_ms.append((time.perf_counter() - started) * 1e3)


def killed_rounds(home: Path, *, kills: int) -> Answered:
    """Serve, load and kill, ``kills`` times."""
    answered = Answered()
    for round_ in range(kills):
        server = start(
            "bentos.service:LiftGraph",
            home=home,
            environment={"LIFTGRAPH_SERVE_AUTH": "off"},
        )
        try:
            wait_until_ready(server)
            stop = threading.Event()
            threads = [
                threading.Thread(target=load, args=(server.url, answered, stop, c, round_))
                for c in range(CLIENTS)
            ]
            for thread in threads:
                thread.start()
            time.sleep(LOAD_SECONDS)
            _kill_all(server)
            stop.set()
            for thread in threads:
                thread.join()
        finally:
            server.stop()
        print(
            f"kill {round_ + 1}: {len(answered.decisions):,} decisions and "
            f"{len(answered.events):,} events were answered",
            flush=True,
        )
    return answered


def _kill_all(server: RunningServer) -> None:
    """SIGKILL of supervisor and workers at once: they are a process group of their own."""
    os.killpg(server.process.pid, signal.SIGKILL)


def ingest_with_kills(home: Path) -> int:
    """Ingest in processes that are killed, then to the end; returns how many were killed."""
    killed = 0
    for attempt in range(INGEST_KILLS + 1):
        child = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.decision_log", "--ingest"],
            cwd=PROJECT,
            env={**os.environ, "LIFTGRAPH_HOME": str(home)},
            stdout=subprocess.PIPE,
        )
        if child.stdout is None:
            raise RuntimeError("the ingestion has no output")
        child.stdout.readline()
        if attempt < INGEST_KILLS:
            time.sleep(0.15 * (attempt + 1))
            if child.poll() is None:
                child.kill()
                killed += 1
        child.stdout.read()
        code = child.wait()
        if attempt == INGEST_KILLS and code:
            raise RuntimeError(f"the last ingestion ended with {code}")
    return killed


def ingest_here() -> None:
    """What a child does."""
    from assets.serving.logs import LOGS, folder_of
    from resources.lake import Lake
    from resources.log_ingest import ingest

    settings = get_settings()
    lake = Lake.of(settings)
    print("up", flush=True)
    for contract, rows_of in LOGS.items():
        ingest(
            lake,
            folder_of(settings, contract),
            contract=contract,
            rows_of=rows_of,
            time_zone=settings.time_zone,
            # Small, so that there are many transactions to be killed in.
            chunk_bytes=1 << 18,
        )


def figures_of(answered: Answered, *, kills: int, killed: int) -> dict[str, Any]:
    """Count what is in the lake against what callers were answered, and replay everything."""
    import polars as pl

    from bentos.ranker_model import load_ranker
    from bentos.replay import Replay
    from checks.contracts.decisions import DECISIONS, EVENTS
    from resources.lake import Lake

    settings = get_settings()
    lake = Lake.of(settings)
    decisions = lake.scan(DECISIONS).filter(pl.col("kind") == "decision").collect()
    stored = Counter(decisions["request_id"].to_list())
    events = Counter(lake.scan(EVENTS).filter(pl.col("line") == 1).collect()["event_id"].to_list())
    with lake.read() as connection:
        found = connection.execute("SELECT count(*) FROM lake.serving.rejected_lines").fetchone()
    replay = Replay(settings.online_dir, load_model=load_ranker)
    outcomes = Counter(r.outcome for r in replay.all(decisions.iter_rows(named=True)))
    ms = np.array(answered.event_ms)
    return {
        "service_kills": kills,
        "ingestion_kills": killed,
        "decisions_answered": len(answered.decisions),
        "decisions_stored": decisions.height,
        "decisions_lost": sum(stored[r] == 0 for r in answered.decisions),
        "decisions_twice": sum(n > 1 for n in stored.values()),
        "events_answered": len(answered.events),
        "events_stored": sum(events.values()),
        "events_lost": sum(events[e] == 0 for e in answered.events),
        "events_twice": sum(n > 1 for n in events.values()),
        "lines_set_aside": found[0] if found else None,
        "fresh_decisions": int(decisions["fresh"].sum()),
        "replayed": dict(outcomes),
        "event_ms_p50": round(float(np.percentile(ms, 50)), 1) if len(ms) else None,
        "event_ms_p99": round(float(np.percentile(ms, 99)), 1) if len(ms) else None,
    }


def copied_home(source: Path, target: Path) -> None:
    """What the service reads, without the lake and the logs."""
    for name in ("online", "online_history", "bentoml", "secrets"):
        if (source / name).exists():
            shutil.copytree(source / name, target / name)
    (target / "lake" / "data").mkdir(parents=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.decision_log", description=__doc__)
    parser.add_argument("--kills", type=positive, default=20, help="of the service; default 20")
    parser.add_argument("--ingest", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    given = parser.parse_args()
    if given.ingest:
        ingest_here()
        return
    with tempfile.TemporaryDirectory(prefix="liftgraph-kills-") as folder:
        home = Path(folder) / "home"
        copied_home(get_settings().home, home)
        os.environ |= {"LIFTGRAPH_HOME": str(home), "BENTOML_HOME": str(home / "bentoml")}
        get_settings.cache_clear()
        answered = killed_rounds(home, kills=given.kills)
        killed = ingest_with_kills(home)
        figures = figures_of(answered, kills=given.kills, killed=killed)
    for name, value in figures.items():
        print(f"{name:20} {value}")
    if given.json:
        write_result(given.json, benchmark="decision_log", figures=figures, ratios={})
    clean = ("decisions_lost", "decisions_twice", "events_lost", "events_twice")
    sys.exit(1 if any(figures[name] for name in clean) else 0)


if __name__ == "__main__":
    main()
