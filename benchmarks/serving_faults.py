"""The service under load: a bad canary, killed workers, snapshots and models swapped."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import orjson
import polars as pl
import psutil

from benchmarks.serving_client import Result, request, run
from benchmarks.serving_world import BROKEN, FIRST, SECOND, World, publish
from bentos.arms import LEDGER_NAME
from bentos.ranker_model import read_booster
from bentos.server import RunningServer
from models.ranking.inputs import FEATURES
from resources.decision_files import log_files
from resources.incidents import list_incidents

CONCURRENCY = 4
SWAPS = 20
_CANARY_PERCENT = 50.0
_POLL_SECONDS = 0.01
_TRIAL_SECONDS = 20.0
# Without a bad answer for this long, the last one was the last: twice the longest way of the news.
_QUIET_SECONDS = 0.5


@dataclass
class Load:
    """What the load has seen so far.

    Attributes:
        answers: (time since the epoch, arm) of each answer.
        ids: Request ids of answers with status 200.
        wrong: Answers whose offers are not those of the versions they name.
        pairs: (snapshot, model) that answered.
        result: At the end.
    """

    answers: list[tuple[float, str]] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    wrong: int = 0
    pairs: Counter[tuple[str, str]] = field(default_factory=Counter)
    result: Result = field(default_factory=Result)


@contextmanager
def load(
    world: World, url: str, *, expected: dict[tuple[str, str], list[list[str]]] | None = None
) -> Iterator[Load]:
    """Ask in a thread while the block runs."""
    seen = Load()
    done = threading.Event()
    asked = [request("/rank_offers", body, key=world.key) for body in world.bodies]

    def look(place: int, status: int, body: bytes) -> None:
        if status != 200:  # noqa: PLR2004
            return
        reply = orjson.loads(body)
        seen.answers.append((time.time(), reply["arm"]))
        seen.ids.append(reply["request_id"])
        if expected is not None:
            pair = (reply["snapshot_version"], reply["model_version"])
            seen.pairs[pair] += 1
            offers = [offer["product_id"] for offer in reply["offers"]]
            seen.wrong += offers != expected[pair][place]

    def work() -> None:
        seen.result = run(url, asked, concurrency=CONCURRENCY, seen=look, until=done.is_set)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()


def rollbacks(world: World, url: str, *, trials: int) -> dict[str, Any]:
    """From the guard's breach to the last bad answer, over and over."""
    world.live(FIRST)
    seconds: list[float] = []
    bad: list[int] = []
    with load(world, url) as seen:
        for _ in range(trials):
            began, known = len(seen.answers), len(list_incidents(world.settings.incidents_dir))
            world.step(BROKEN, "canary", _CANARY_PERCENT)
            last = _end_of_canary(world, seen, began)
            breaches = list_incidents(world.settings.incidents_dir)
            first = min(
                datetime.fromisoformat(i["evidence"]["breached_at"]).replace(tzinfo=UTC).timestamp()
                for i in breaches[: len(breaches) - known]
            )
            seconds.append(max(last - first, 0.0))
            bad.append(sum(arm == "canary" for _, arm in seen.answers[began:]))
    return {
        "rollback_trials": trials,
        "rollback_p50_s": float(np.quantile(seconds, 0.5)),
        "rollback_p95_s": float(np.quantile(seconds, 0.95)),
        "rollback_max_s": max(seconds),
        "rollback_bad_answers_p50": float(np.median(bad)),
        "rollback_failed_requests": seen.result.failed,
        "rollback_requests": len(seen.result.latencies_ms),
    }


def _end_of_canary(world: World, seen: Load, began: int) -> float:
    """When the last answer of the canary came."""
    deadline = time.monotonic() + _TRIAL_SECONDS
    while time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
        times = [at for at, arm in seen.answers[began:] if arm == "canary"]
        gone = world.ledger.releases(LEDGER_NAME).canary is None
        if times and gone and time.time() - times[-1] > _QUIET_SECONDS:
            return times[-1]
    raise RuntimeError(f"the canary was not rolled back within {_TRIAL_SECONDS:g} s")


def kills(world: World, running: RunningServer, *, kills: int) -> Load:
    """SIGKILL a worker under load, wait until there are as many again, and so on."""
    with load(world, running.url) as seen:
        for i in range(kills):
            workers = _workers(running)
            many = len(workers)
            time.sleep(0.5)
            os.kill(workers[i % many], signal.SIGKILL)
            _wait_for(running, many, without=workers[i % many], seen=seen)
    return seen


def lost(world: World, seen: Load) -> dict[str, Any]:
    """After the service has ended: what was acknowledged and is not in the log, once and whole."""
    logged: Counter[str] = Counter()
    broken = 0
    for file in log_files(world.settings.decisions_dir):
        for line in file.read_bytes().splitlines(keepends=True):
            if not line.endswith(b"\n"):
                broken += 1
                continue
            decision = orjson.loads(line)
            if decision["kind"] == "decision":
                logged[decision["request_id"]] += 1
    return {
        "kill_acknowledged": len(seen.ids),
        "kill_lost": sum(logged[i] == 0 for i in seen.ids),
        "kill_duplicated": sum(n > 1 for n in logged.values()),
        "kill_torn_lines": broken,
        "kill_server_errors": seen.result.server_errors,
        "kill_connections_broken": seen.result.broken,
    }


def swaps(world: World, url: str) -> dict[str, Any]:
    """Snapshots and live models change under load; every answer must be of one pair."""
    world.live(FIRST)
    weeks = [world.rows, _other_week(world.rows)]
    expected: dict[tuple[str, str], list[list[str]]] = {}
    for rows in weeks:
        version = publish(world.home, rows).version
        for model in (FIRST, SECOND):
            expected[version, model] = _best(world, model, rows)
    with load(world, url, expected=expected) as seen:
        for i in range(SWAPS):
            publish(world.home, weeks[i % 2])
            world.live((SECOND, FIRST)[i % 2])
            time.sleep(0.7)
    publish(world.home, world.rows)
    return {
        "swaps": SWAPS,
        "swap_failed_requests": seen.result.failed,
        "swap_mixed_answers": seen.wrong,
        "swap_pairs_seen": len(seen.pairs),
        "swap_requests": len(seen.result.latencies_ms),
        "swap_p99_ms": seen.result.quantile(0.99),
        "swap_max_ms": max(seen.result.latencies_ms),
    }


def _other_week(rows: pl.DataFrame) -> pl.DataFrame:
    """The same products with the features of the next one."""
    return rows.with_columns(pl.col(FEATURES.names).shift(1).fill_null(strategy="backward"))


def _best(world: World, model: str, rows: pl.DataFrame, k: int = 10) -> list[list[str]]:
    booster = read_booster(world.files[model], name=model)
    floats = rows.select(pl.col(FEATURES.names).cast(pl.Float32).fill_null(float("nan")))
    scores = booster.inplace_predict(np.ascontiguousarray(floats.to_numpy(), dtype=np.float32))
    size = len(rows) // len(world.bodies)
    products = np.array(rows["product_id"].to_list()).reshape(-1, size)
    order = np.argsort(-scores.reshape(-1, size), axis=1, kind="stable")[:, :k]
    return np.take_along_axis(products, order, axis=1).tolist()


def _workers(running: RunningServer) -> list[int]:
    """The processes that answer: children of the supervisor that serve."""
    found = []
    for child in psutil.Process(running.process.pid).children(recursive=True):
        try:
            if any("_bentoml_impl.worker" in part for part in child.cmdline()):
                found.append(child.pid)
        except psutil.NoSuchProcess:
            continue
    return sorted(found)


def _wait_for(running: RunningServer, many: int, *, without: int, seen: Load) -> None:
    deadline = time.monotonic() + 60.0
    answered = len(seen.ids)
    while time.monotonic() < deadline:
        now = _workers(running)
        if len(now) == many and without not in now and len(seen.ids) > answered:
            return
        time.sleep(0.1)
    raise RuntimeError("the killed worker was not replaced within a minute")
