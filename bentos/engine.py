"""How a request becomes a decision: look up, score, rank, log.

Knows nothing of HTTP. What answers is made by ``follower`` and replaced whole; a model that
misbehaves is taken out here, between two requests.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from bentos.arms import Serving
from bentos.clock import age_days, utc_now
from bentos.decision_log import DecisionLog, DecisionLogError, LogLimits
from bentos.follower import Follower
from bentos.found import EVERYBODY, find
from bentos.guard import Trip, Watch
from bentos.metrics import Metrics
from bentos.ranked import offers_of, rank
from bentos.ranker_model import RankerModel, load_ranker
from bentos.schemas import Fallback, RankOffersRequest
from bentos.settings import PseudonymKeyMissingError, ServingSettings, read_pseudonym_key
from bentos.shadow import Shadow, ShadowJob
from bentos.status import engine_status, report_gauges
from bentos.status_schemas import Status
from models.calendar import start_of_week
from models.pseudonyms import pseudonymise
from models.release.routing import Arm
from models.serving.snapshot import Snapshot

if TYPE_CHECKING:
    from bentos.fresh_features import FreshFeatures

logger = logging.getLogger("liftgraph.serving")


class NotReadyError(RuntimeError):
    """Nothing can be answered yet; the message says what is missing and how to get it."""


class Engine:
    """Answers requests for one process.

    Args:
        settings: Of the service.
        load_model: The bento's own model, which is live while the ledger names none.
        load_tag: Any model of the store.
        bento: Tag of the bento, for the log.
        fresh: Rows of households whose events came after the snapshot; asked before it.
    """

    def __init__(
        self,
        settings: ServingSettings,
        *,
        load_model: Callable[[], RankerModel | None],
        load_tag: Callable[[str], RankerModel | None] = load_ranker,
        bento: str | None = None,
        fresh: FreshFeatures | None = None,
    ) -> None:
        self.settings = settings
        self.bento = bento
        self.fresh = fresh
        self.serving: Serving | None = None
        self.problems: dict[str, str] = {}
        self.metrics = Metrics()
        self.log = DecisionLog(settings.decisions_dir, LogLimits.of(settings))
        self.shadow = Shadow(self.log, self.metrics)
        self.watch = Watch()
        self.fallbacks: Counter[Fallback] = Counter()
        self.decisions = 0
        self.started_at = utc_now()
        # From SIGTERM on: what comes is answered, and nobody should come.
        self.stopping = False
        # Held while what answers is replaced, never while a request is answered.
        self._replacing = threading.Lock()
        self._key: bytes | None = None
        self._load_key()
        self.follower = Follower(self, load_own=load_model, load_tag=load_tag)
        self.follower.look()

    @property
    def blocking_problem(self) -> str | None:
        """Why nothing can be answered; None when requests are."""
        for cause in ("model", "key"):
            if cause in self.problems:
                return self.problems[cause]
        if self.serving is None:
            causes = (self.problems.get(cause) for cause in ("snapshot", "ledger"))
            return next(filter(None, causes), "the first snapshot is being opened; try again")
        return self.log.problem

    def refresh(self) -> None:
        """Take up a new snapshot or release; a bad one is refused and the old one stays."""
        self.follower.look()

    def start(self) -> None:
        """Follow the ledger and the snapshots in a thread, until ``close``."""
        self.follower.start()
        if self.fresh is not None:
            self.fresh.start()

    def close(self) -> None:
        self.follower.stop()
        if self.fresh is not None:
            self.fresh.close()
        self.shadow.close()
        self.log.close()

    def pseudonym(self, raw_id: str) -> str:
        """Of a raw household id.

        Raises:
            NotReadyError: There is no key.
        """
        if self._key is None:
            raise NotReadyError(self.problems.get("key", "the service is starting; try again"))
        return pseudonymise(raw_id, self._key)

    def replace(self, serving: Serving) -> None:
        """Serve this from the next request on, without the models that were taken out."""
        with self._replacing:
            self.serving = self.watch.without_tripped(serving)

    def rank_offers(self, request: RankOffersRequest) -> dict[str, Any]:
        """Decide, log, and return the answer in the shape of ``RankOffersReply``.

        Raises:
            NotReadyError: There is no key or snapshot, or the model does not fit it.
            DecisionLogError: The decision could not be logged.
        """
        started = time.perf_counter()
        serving, key = self.serving, self._key
        if serving is None or key is None or self.problems:
            serving, key = self._ready()
        household = pseudonymise(request.household_id, key)
        return self._answer(serving, household, request.k, request.context, started)

    def rank_known(self, household: str, *, k: int, context: dict[str, Any]) -> dict[str, Any]:
        """As ``rank_offers``, of a household by its pseudonym: what insight cards link to."""
        started = time.perf_counter()
        return self._answer(self._ready()[0], household, k, context, started)

    def _answer(
        self, serving: Serving, household: str, k: int, context: dict[str, Any], started: float
    ) -> dict[str, Any]:
        now = utc_now()
        arm = serving.arm_of(household)
        line: dict[str, Any] = {
            "kind": "decision",
            "request_id": uuid.uuid4().hex,
            "decided_at": now,
            "arm": arm,
            "release": serving.release,
            "propensity": serving.propensity(arm),
            "household_id": household,
            "k": k,
            "context": context,
            "bento": self.bento,
        }
        try:
            return self._decided(serving, arm, household, k, now, started, line)
        except DecisionLogError:
            raise
        except Exception as error:
            self._failed(line, error, started)
            raise

    def status(self) -> Status:
        return engine_status(self)

    def report_gauges(self) -> None:
        """Tell Prometheus how this process is; about every second."""
        report_gauges(self)

    def is_stale(self, snapshot: Snapshot, now: datetime) -> bool:
        coming_week = self.settings.coming_week
        if coming_week is not None:
            # A finished calendar stands still at its coming week; only a live one ages by itself.
            now = min(now, start_of_week(coming_week, time_zone=self.settings.time_zone))
        return age_days(snapshot.manifest.known_at, now) > self.settings.stale_after_days

    def _ready(self) -> tuple[Serving, bytes]:
        # The log says itself, at each request, whether it can be written.
        problem = None if self.log.problem else self.blocking_problem
        if problem is not None or self.serving is None or self._key is None:
            raise NotReadyError(problem or "the service is starting; try again")
        return self.serving, self._key

    def _decided(
        self,
        serving: Serving,
        arm: Arm,
        household: str,
        k: int,
        now: datetime,
        started: float,
        line: dict[str, Any],
    ) -> dict[str, Any]:
        manifest = serving.snapshot.manifest
        stale = self.is_stale(serving.snapshot, now)
        candidates, known_at, owner, fallback = find(serving, self.fresh, household, stale=stale)
        ranked, error = rank(serving, arm, candidates, owner, k)
        if error is not None:
            fallback = "model_error"
            if ranked.answerer is None:
                candidates = serving.snapshot.popular
        offers = offers_of(serving.snapshot, candidates, ranked)
        model = ranked.answerer.model if ranked.answerer else None
        traced = {
            "request_id": line["request_id"],
            "model_version": model.version if model else None,
            "arm": arm,
            "as_of": manifest.as_of,
            "data_age_days": age_days(known_at, now),
            "snapshot_version": manifest.version,
            "fallback": fallback,
        }
        latency_ms = round((time.perf_counter() - started) * 1e3, 3)
        top_score = offers[0]["score"] if offers else None
        line |= traced
        line |= {
            "model_tag": model.tag if model else None,
            "feature_set_hash": manifest.feature_set_hash,
            "data_snapshot": manifest.data_snapshot,
            "status": 200,
            "error": error,
            "top_score": top_score,
            "empty": not offers,
            # In the order of the snapshot's rows, so that a replay compares one to one.
            "candidates": serving.snapshot.product_ids(candidates),
            # Whose they are: a failed model hides why in ``fallback``.
            "rows": "popular" if model is None or owner == EVERYBODY else "own",
            "scores": ranked.scores,
            "ranking": [offer["product_id"] for offer in offers],
            "probabilities": [offer["probability"] for offer in offers],
            "latency_ms": latency_ms,
        }
        if owner is None and model is not None:
            # No snapshot holds these rows, and a replay needs them.
            line["fresh"] = True
            line["known_at"] = known_at
            line["features"] = candidates.features
        self.log.append(line)
        guarded_ms = latency_ms - self.watch.excused_ms(serving, ranked)
        trip = self.watch.saw(
            serving, arm, failed=error, latency_ms=guarded_ms, empty=not offers, top_score=top_score
        )
        if trip is not None:
            self._take_out(trip)
        self._count(arm, fallback, error, time.perf_counter() - started)
        if serving.shadow is not None:
            self.shadow.offer(
                ShadowJob(serving, arm, household, candidates, ranked.scores, ranked.order, line)
            )
        return {**traced, "offers": offers}

    def _take_out(self, trip: Trip) -> None:
        """Serve without a model from the next request on; the ledger and people are told after."""
        with self._replacing:
            if self.serving is not None:
                self.serving = self.watch.without_tripped(self.serving)
        self.metrics.trips.inc()
        logger.error("model %s taken out: %s", trip.tag, trip.breach.reason)
        self.follower.wake()

    def _failed(self, line: dict[str, Any], error: Exception, started: float) -> None:
        line |= {
            "status": 500,
            "error": f"{type(error).__name__}: {error}",
            "latency_ms": round((time.perf_counter() - started) * 1e3, 3),
        }
        self.log.append(line)
        self._count(line["arm"], None, line["error"], time.perf_counter() - started)

    def _count(
        self, arm: str, fallback: Fallback | None, error: str | None, seconds: float
    ) -> None:
        self.decisions += 1
        if fallback is not None:
            self.fallbacks[fallback] += 1
        self.metrics.decision(arm, fallback, seconds, failed=error is not None)

    def _load_key(self) -> None:
        try:
            key = read_pseudonym_key(self.settings)
            # A key that is too short fails here, not in every request.
            pseudonymise("any", key)
        except (PseudonymKeyMissingError, ValueError) as error:
            self.problems["key"] = str(error)
            logger.error("%s", error)  # noqa: TRY400 - the message is the whole story
        else:
            self._key = key
