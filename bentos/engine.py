"""How a request becomes a decision: look up, score, rank, log.

Holds what answers (a model and a snapshot, swapped together) and what is wrong when nothing does.
Knows nothing of HTTP.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import numpy as np

from bentos.decision_log import DecisionLog
from bentos.ranker_model import ModelError, RankerModel
from bentos.schemas import Fallback, ModelStatus, RankOffersRequest, SnapshotStatus, Status
from bentos.settings import PseudonymKeyMissingError, ServingSettings, read_pseudonym_key
from models.calendar import start_of_week
from models.pseudonyms import pseudonymise
from models.serving.order import top_k
from models.serving.snapshot import Candidates, Snapshot
from resources.online_snapshot import (
    PointerStamp,
    SnapshotError,
    open_snapshot,
    pointer_stamp,
)

logger = logging.getLogger("liftgraph.serving")

ARM: Literal["live"] = "live"
_DAY = timedelta(days=1)


class NotReadyError(RuntimeError):
    """Nothing can be answered yet; the message says what is missing and how to get it."""


@dataclass(frozen=True)
class Serving:
    """What one answer is made of; replaced whole, so that no answer mixes two versions."""

    snapshot: Snapshot
    model: RankerModel | None


class Engine:
    """Answers requests for one process."""

    def __init__(
        self,
        settings: ServingSettings,
        *,
        load_model: Callable[[], RankerModel | None],
        bento: str | None = None,
    ) -> None:
        self._settings = settings
        self._bento = bento
        self._serving: Serving | None = None
        self._seen: PointerStamp | None = None
        self._key: bytes | None = None
        self._model: RankerModel | None = None
        self._problems: dict[str, str] = {}
        self._log = DecisionLog(settings.decisions_dir)
        self._fallbacks: Counter[Fallback] = Counter()
        self._decisions = 0
        self._started_at = _utc_now()
        self._load_key()
        self._load_model(load_model)
        self.refresh()

    @property
    def settings(self) -> ServingSettings:
        """Of this process; the routers of actions, insights and the control room read them too."""
        return self._settings

    def log_decision(self, decision: dict[str, Any]) -> None:
        """Log an answer of another endpoint (its ``kind`` says which) before the reply leaves.

        Raises:
            DecisionLogError: It could not be logged, so it must not be answered.
        """
        self._log.append(decision)

    @property
    def blocking_problem(self) -> str | None:
        """Why nothing can be answered; None when requests are."""
        for cause in ("model", "key"):
            if cause in self._problems:
                return self._problems[cause]
        if self._serving is None:
            return self._problems.get("snapshot", "the first snapshot is being opened; try again")
        return None

    def refresh(self) -> None:
        """Take up a newly published snapshot; a bad one is refused and the old one stays."""
        stamp = pointer_stamp(self._settings.online_dir)
        if stamp is not None and stamp == self._seen:
            return
        self._seen = stamp
        try:
            snapshot = open_snapshot(self._settings.online_dir)
            if self._model is not None:
                self._model.check_fits(snapshot.manifest)
        except (SnapshotError, ModelError) as error:
            self._refuse(error)
            return
        self._serving = Serving(snapshot=snapshot, model=self._model)
        self._problems.pop("snapshot", None)
        manifest = snapshot.manifest
        logger.info("serving snapshot %s as of %s", manifest.version, manifest.as_of)

    def rank_offers(self, request: RankOffersRequest) -> dict[str, Any]:
        """Decide, log, and return the answer in the shape of ``RankOffersReply``.

        Raises:
            NotReadyError: There is no key or snapshot, or the model does not fit it.
            DecisionLogError: The decision could not be logged.
        """
        started = time.perf_counter()
        problem = self.blocking_problem
        serving, key = self._serving, self._key
        if problem is not None or serving is None or key is None:
            raise NotReadyError(problem or "the service is starting; try again")
        now = _utc_now()
        household = pseudonymise(request.household_id, key)
        manifest = serving.snapshot.manifest
        candidates, fallback = self._candidates(serving, household, now)
        scores, order = _rank(serving.model, candidates, request.k)
        offers = _offers(serving, candidates, scores, order)
        reply: dict[str, Any] = {
            "request_id": uuid.uuid4().hex,
            "model_version": serving.model.version if serving.model else None,
            "arm": ARM,
            "as_of": manifest.as_of,
            "data_age_days": _age_days(manifest.known_at, now),
            "snapshot_version": manifest.version,
            "fallback": fallback,
            "offers": offers,
        }
        self._log.append(
            {
                **{name: value for name, value in reply.items() if name != "offers"},
                "decided_at": now,
                "household_id": household,
                "k": request.k,
                "context": request.context,
                "bento": self._bento,
                "model_tag": serving.model.tag if serving.model else None,
                "feature_set_hash": manifest.feature_set_hash,
                "data_snapshot": manifest.data_snapshot,
                # In the order of the snapshot's rows, so that a replay compares one to one.
                "candidates": serving.snapshot.product_ids(candidates),
                "scores": scores,
                "ranking": [offer["product_id"] for offer in offers],
                "probabilities": [offer["probability"] for offer in offers],
                "latency_ms": round((time.perf_counter() - started) * 1e3, 3),
            }
        )
        self._decisions += 1
        if fallback is not None:
            self._fallbacks[fallback] += 1
        return reply

    def status(self) -> Status:
        serving = self._serving
        now = _utc_now()
        return Status(
            ready=self.blocking_problem is None,
            problems=self._all_problems(),
            bento=self._bento,
            arm=ARM,
            model=_model_status(self._model),
            snapshot=self._snapshot_status(serving.snapshot, now) if serving else None,
            decisions=self._decisions,
            fallbacks=dict(self._fallbacks),
            started_at=self._started_at,
        )

    def close(self) -> None:
        self._log.close()

    def _load_key(self) -> None:
        try:
            key = read_pseudonym_key(self._settings)
            # A key that is too short fails here, not in every request.
            pseudonymise("any", key)
        except (PseudonymKeyMissingError, ValueError) as error:
            self._problems["key"] = str(error)
            logger.error("%s", error)  # noqa: TRY400 - the message is the whole story
        else:
            self._key = key

    def _load_model(self, load_model: Callable[[], RankerModel | None]) -> None:
        try:
            self._model = load_model()
        except ModelError as error:
            self._problems["model"] = str(error)
            logger.error("%s", error)  # noqa: TRY400 - the message is the whole story

    def _refuse(self, error: SnapshotError | ModelError) -> None:
        message = str(error)
        if self._problems.get("snapshot") != message:
            logger.error("snapshot refused: %s", message)
        self._problems["snapshot"] = message

    def _all_problems(self) -> list[str]:
        problems = list(self._problems.values())
        if self._model is None and "model" not in self._problems:
            problems.append(
                "no model is packaged: answers are popular products; run `make demo`, or "
                "materialise the serving assets"
            )
        return problems

    def _candidates(
        self, serving: Serving, household: str, now: datetime
    ) -> tuple[Candidates, Fallback | None]:
        if serving.model is None:
            return serving.snapshot.popular, "no_model"
        candidates = serving.snapshot.lookup(household)
        if candidates is None:
            return serving.snapshot.popular, "unknown_household"
        return candidates, "stale_features" if self._is_stale(serving.snapshot, now) else None

    def _is_stale(self, snapshot: Snapshot, now: datetime) -> bool:
        coming_week = self._settings.coming_week
        if coming_week is not None:
            # A finished calendar stands still at its coming week; only a live one ages by itself.
            now = min(now, start_of_week(coming_week, time_zone=self._settings.time_zone))
        return _age_days(snapshot.manifest.known_at, now) > self._settings.stale_after_days

    def _snapshot_status(self, snapshot: Snapshot, now: datetime) -> SnapshotStatus:
        manifest = snapshot.manifest
        return SnapshotStatus(
            version=manifest.version,
            as_of=manifest.as_of,
            known_at=manifest.known_at,
            data_age_days=_age_days(manifest.known_at, now),
            data_snapshot=manifest.data_snapshot,
            feature_set_hash=manifest.feature_set_hash,
            features=len(manifest.feature_names),
            households=manifest.households,
            candidates=manifest.rows,
            stale=self._is_stale(snapshot, now),
        )


def _rank(
    model: RankerModel | None, candidates: Candidates, k: int
) -> tuple[np.ndarray | None, np.ndarray]:
    if model is None:
        # Popular products are stored most popular first.
        return None, np.arange(min(k, len(candidates.product_codes)))
    scores = model.score(candidates.features)
    return scores, top_k(scores, k)


def _offers(
    serving: Serving, candidates: Candidates, scores: np.ndarray | None, order: np.ndarray
) -> list[dict[str, Any]]:
    names = serving.snapshot.names
    probabilities, reasons = _told(serving.model, candidates.features[order])
    chosen = zip(
        candidates.product_codes[order].tolist(),
        candidates.source_codes[order].tolist(),
        [None] * len(order) if scores is None else scores[order].tolist(),
        probabilities,
        reasons,
        strict=True,
    )
    return [
        {
            "rank": rank,
            "product_id": names.products[product],
            "score": score,
            "probability": probability,
            "reasons": said,
            "source": names.sources[source],
            **{name: column[product] for name, column in names.attributes.items()},
        }
        for rank, (product, source, score, probability, said) in enumerate(chosen, start=1)
    ]


def _told(
    model: RankerModel | None, served: np.ndarray
) -> tuple[list[float] | list[None], list[list[str]]]:
    """Probabilities and reasons of the served rows only: reasons cost more than all scores."""
    nothing = [None] * len(served)
    if model is None:
        return nothing, [[] for _ in nothing]
    return model.probability(served) or nothing, model.reasons(served)


def _model_status(model: RankerModel | None) -> ModelStatus | None:
    if model is None:
        return None
    return ModelStatus(version=model.version, tag=model.tag, labels=model.labels)


def _age_days(known_at: datetime, now: datetime) -> float:
    return round((now - known_at) / _DAY, 3)


def _utc_now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)
