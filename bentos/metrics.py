"""What Prometheus scrapes: few series, whatever callers send, added up over the workers.

BentoML's own metrics label by raw path, so that unknown paths would make a series each; they are
switched off. ``prometheus_client`` is imported where it is used: it looks at the environment, which
``prepare_folder`` sets, when it is imported.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prometheus_client.metrics import MetricWrapperBase

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
NAMESPACE = "liftgraph"
OTHER_ROUTE = "other"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# Seconds. A decision takes about one millisecond.
BUCKETS = (0.0005, 0.001, 0.0015, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)


def prepare_folder(parent: Path) -> Path:
    """One folder for the workers of one supervisor; those of ended supervisors are removed.

    Call it before ``prometheus_client`` is imported.
    """
    mine = parent / str(os.getppid())
    mine.mkdir(parents=True, exist_ok=True)
    for folder in parent.iterdir():
        if folder.name.isdigit() and not Path(f"/proc/{folder.name}").exists():
            shutil.rmtree(folder, ignore_errors=True)
    os.environ[FOLDER] = str(mine)
    from prometheus_client import multiprocess

    # An ended worker may have had this process's id.
    multiprocess.mark_process_dead(os.getpid(), str(mine))
    forget_ended()
    return mine


def forget_ended() -> None:
    """Remove the state of ended workers; what they counted stays in the sums."""
    folder = os.environ.get(FOLDER)
    if folder is None:
        return
    from prometheus_client import multiprocess

    for file in Path(folder).glob("gauge_live*.db"):
        pid = file.stem.rpartition("_")[2]
        if not Path(f"/proc/{pid}").exists():
            # Another worker may be at it.
            with contextlib.suppress(FileNotFoundError):
                multiprocess.mark_process_dead(int(pid), folder)


class Metrics:
    """The series of one process. One object a process, or the numbers would be kept apart."""

    def __init__(self) -> None:
        self._children: dict[tuple, Any] = {}
        # What starting took is no cost of a request.
        self._started_with = time.process_time()

    def decision(self, arm: str, fallback: str | None, seconds: float, *, failed: bool) -> None:
        """One request that reached a decision, or failed on the way."""
        kinds = ("decision", arm, fallback or "none", "yes" if failed else "no")
        child = self._children.get(kinds)
        if child is None:
            child = _series().decisions.labels(*kinds[1:])
            self._children[kinds] = child
        child.inc()
        timed = self._children.get(("seconds", arm))
        if timed is None:
            timed = self._children["seconds", arm] = _series().decision_seconds.labels(arm)
        timed.observe(seconds)

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """One answered request by its route's template; unknown paths are one series."""
        labels = ("request", route, method, str(status))
        child = self._children.get(labels)
        if child is None:
            child = self._children[labels] = _series().requests.labels(*labels[1:])
        child.inc()
        timed = self._children.get(("request_seconds", route))
        if timed is None:
            timed = _series().request_seconds.labels(route)
            self._children["request_seconds", route] = timed
        timed.observe(seconds)

    def refusal(self, why: str) -> None:
        _series().refusals.labels(why).inc()

    @cached_property
    def trips(self) -> Any:
        return _series().trips

    @cached_property
    def dropped(self) -> Any:
        return _series().dropped

    def gauges(self, **values: float) -> None:
        """State of this process, about every second; that of ended ones goes."""
        forget_ended()
        for name, value in values.items():
            getattr(_series(), name).set(value)

    def cost(self, *, log_bytes: int) -> None:
        """CPU time of this process since it started to serve, and what it logged."""
        series = _series()
        series.cpu_seconds.set(time.process_time() - self._started_with)
        series.log_bytes.set(log_bytes)


def exposition() -> bytes:
    """All series of all workers, as Prometheus reads them."""
    import prometheus_client
    from prometheus_client import multiprocess

    _series()
    if FOLDER not in os.environ:
        return prometheus_client.generate_latest(prometheus_client.REGISTRY)
    registry = prometheus_client.CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)
    return prometheus_client.generate_latest(registry)


def totals() -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample of all workers: (name, sorted labels) to its value."""
    import prometheus_client
    from prometheus_client import multiprocess

    _series()
    registry = prometheus_client.REGISTRY
    if FOLDER in os.environ:
        registry = prometheus_client.CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in registry.collect()
        if family.name.startswith(NAMESPACE)
        for sample in family.samples
    }


class _Series:
    """Registered once a process: a second registration of a name is refused."""

    def __init__(self) -> None:
        from prometheus_client import Counter, Gauge, Histogram

        def counter(name: str, text: str, labels: tuple[str, ...] = ()) -> Any:
            return Counter(name, text, labels, namespace=NAMESPACE)

        def gauge(name: str, text: str, mode: Any) -> Any:
            return Gauge(name, text, namespace=NAMESPACE, multiprocess_mode=mode)

        def histogram(name: str, text: str, labels: tuple[str, ...]) -> MetricWrapperBase:
            return Histogram(name, text, labels, namespace=NAMESPACE, buckets=BUCKETS)

        self.decisions = counter(
            "decisions_total", "Requests that reached a decision", ("arm", "fallback", "error")
        )
        self.decision_seconds: Any = histogram(
            "decision_seconds", "From the request to its logged decision", ("arm",)
        )
        self.requests = counter(
            "requests_total", "Answered requests", ("route", "method", "status")
        )
        self.request_seconds: Any = histogram("request_seconds", "Answering a request", ("route",))
        self.refusals = counter("refusals_total", "Requests refused, by reason", ("why",))
        self.trips = counter("guard_trips_total", "Models taken out by the guard")
        self.dropped = counter("shadow_dropped_total", "Requests the shadow had no time for")
        self.ready = gauge("ready", "Workers that answer", "livesum")
        self.release = gauge("release", "Last ledger event that is served", "livemin")
        self.canary_percent = gauge("canary_percent", "Households the canary answers", "livemax")
        self.snapshot_age_days = gauge(
            "snapshot_age_days", "Since the newest data behind the features", "livemax"
        )
        self.stale = gauge("snapshot_stale", "Whether features are past the limit", "livemax")
        self.problems = gauge("problems", "What is wrong, in number; /status says what", "livemax")
        self.log_failing = gauge("log_failing", "The decision log cannot be written", "livemax")
        self.cpu_seconds = gauge("cpu_seconds", "Processor time since the workers serve", "sum")
        self.log_bytes = gauge("log_bytes", "Written to the decision log", "sum")


_made: list[_Series] = []
_making = threading.Lock()


def _series() -> _Series:
    if not _made:
        with _making:
            if not _made:
                _made.append(_Series())
    return _made[0]
