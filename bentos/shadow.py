"""The shadow: scores what was answered once more, off the reply path, and logs the pair.

One thread and a bounded queue. When requests come faster than the shadow scores, pairs are dropped
and counted: the shadow never delays an answer.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np

from bentos.arms import Serving
from bentos.decision_log import DecisionLog, DecisionLogError
from bentos.metrics import Metrics
from bentos.status_schemas import ShadowStatus
from models.release.routing import Arm
from models.serving.order import top_k
from models.serving.snapshot import Candidates

logger = logging.getLogger("liftgraph.serving")

QUEUE = 256
# Of the answer's line.
_SHARED = (
    "request_id",
    "decided_at",
    "release",
    "household_id",
    "k",
    "context",
    "bento",
    "as_of",
    "data_age_days",
    "snapshot_version",
    "feature_set_hash",
    "data_snapshot",
    "propensity",
    "fallback",
)
_IDLE_SECONDS = 1.0


@dataclass(frozen=True)
class ShadowJob:
    """One answered request, as the shadow needs it."""

    serving: Serving
    arm: Arm
    household: str
    candidates: Candidates
    scores: np.ndarray | None
    order: np.ndarray
    line: dict[str, Any]


@dataclass
class _Paired:
    """Sums over the pairs of one shadow model."""

    version: str
    pairs: int = 0
    errors: int = 0
    overlap: float = 0.0
    same_first: int = 0
    shift: float = 0.0
    shift_squared: float = 0.0


class Shadow:
    """Scores in a thread that starts with the first job."""

    def __init__(self, log: DecisionLog, metrics: Metrics) -> None:
        self._log = log
        self._metrics = metrics
        self._jobs: deque[ShadowJob] = deque()
        self._wake = threading.Event()
        self._stopped = False
        self._thread: threading.Thread | None = None
        self._paired = _Paired("")
        self.dropped = 0

    def offer(self, job: ShadowJob) -> None:
        """Queue one request; counted as dropped when the queue is full."""
        if len(self._jobs) >= QUEUE:
            self.dropped += 1
            self._metrics.dropped.inc()
            return
        self._jobs.append(job)
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="shadow", daemon=True)
            self._thread.start()
        self._wake.set()

    def status(self) -> ShadowStatus | None:
        """Paired differences since the shadow began; None before the first pair."""
        seen = self._paired
        if not seen.pairs and not seen.errors:
            return None
        pairs = seen.pairs or 1
        mean = seen.shift / pairs
        return ShadowStatus(
            model_version=seen.version,
            pairs=seen.pairs,
            errors=seen.errors,
            dropped=self.dropped,
            overlap=seen.overlap / pairs if seen.pairs else None,
            same_first=seen.same_first / pairs if seen.pairs else None,
            score_shift=mean if seen.pairs else None,
            score_shift_sd=float(np.sqrt(max(seen.shift_squared / pairs - mean**2, 0.0)))
            if seen.pairs
            else None,
        )

    def close(self, timeout_seconds: float = 2.0) -> None:
        """Finish what is queued, as far as the time allows."""
        self._stopped = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout_seconds)

    def _work(self) -> None:
        while True:
            try:
                job = self._jobs.popleft()
            except IndexError:
                if self._stopped:
                    return
                self._wake.wait(_IDLE_SECONDS)
                self._wake.clear()
                continue
            try:
                self._score(job)
            except DecisionLogError as error:
                # Answers come first: a full disk stops them too, and says so itself.
                logger.warning("a shadow's pair was not logged: %s", error)

    def _score(self, job: ShadowJob) -> None:
        shadow = job.serving.shadow
        if shadow is None:
            return
        model = shadow.model
        if self._paired.version != model.version:
            self._paired = _Paired(model.version)
        started = time.perf_counter()
        scores: np.ndarray | None = None
        ranking: list[str] = []
        error: str | None = None
        try:
            scores = model.score(job.candidates.features)
            order = top_k(scores, len(job.order))
            products = job.serving.snapshot.product_ids(job.candidates)
            ranking = [products[i] for i in order.tolist()]
            self._pair(job, scores, order)
        except Exception as failure:  # noqa: BLE001 - the shadow is on trial, and this a finding
            error = f"{type(failure).__name__}: {failure}"
            self._paired.errors += 1
        self._log.append(
            {
                **_shared(job.line),
                "kind": "shadow",
                "arm": "shadow",
                "paired_arm": job.arm,
                "paired_model_version": job.line["model_version"],
                "model_version": model.version,
                "model_tag": model.tag,
                "status": 500 if error else 200,
                "error": error,
                "top_score": None if error or scores is None else float(scores.max()),
                "empty": not ranking,
                "scores": scores,
                "ranking": ranking,
                "latency_ms": round((time.perf_counter() - started) * 1e3, 3),
            }
        )

    def _pair(self, job: ShadowJob, scores: np.ndarray, order: np.ndarray) -> None:
        if job.scores is None or not len(order):
            return
        seen = self._paired
        first = job.order
        seen.pairs += 1
        seen.overlap += len(np.intersect1d(first, order)) / len(order)
        seen.same_first += int(first[0] == order[0])
        shift = float(scores[order[0]] - job.scores[first[0]])
        seen.shift += shift
        seen.shift_squared += shift**2


def _shared(line: dict[str, Any]) -> dict[str, Any]:
    """What both lines of a pair have; the candidates stand in the answer's."""
    return {name: line[name] for name in _SHARED}
