"""What is told of an offer beside its score: its probability, and the reasons for its place.

Both follow from the model and the row alone, and taking a score apart costs more than all scores of
a request. So what was worked out is kept while model and snapshot stay, and the likeliest offers of
every household are worked out beforehand, beside the requests.
"""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bentos.ranker_model import RankerModel
from models.serving.order import top_k
from models.serving.snapshot import Snapshot

if TYPE_CHECKING:
    from bentos.arms import Serving

logger = logging.getLogger("liftgraph.serving")

# Probability (None without a classifier) and reasons.
Said = tuple[float | None, tuple[str, ...]]

# Share of one core that working out beforehand may take from the requests.
_DUTY = 0.25
# As many offers as a request gets that does not say how many.
WARM_OFFERS = 10
_PAUSE_SECONDS = 0.2
_BUSY_SECONDS = 0.05


@dataclass(frozen=True)
class Telling:
    """What is told of the served rows, and what working it out took.

    Attributes:
        said: One per row.
        seconds: Spent on rows that were not kept; 0 when all were.
    """

    said: list[Said]
    seconds: float


class Told:
    """Keeps what is told of one model's offers from one snapshot.

    Args:
        model: Who is asked.
        limit: Offers that are kept; the household kept longest goes first.
    """

    def __init__(self, model: RankerModel, *, limit: int) -> None:
        self._model = model
        self._limit = limit
        self._kept: dict[str, dict[int, Said]] = {}
        # Many offers have the same reason: one text for all of them.
        self._texts: dict[str, str] = {}
        self.rows = 0

    def of(self, owner: str | None, products: Sequence[int], features: np.ndarray) -> Telling:
        """What is told of rows.

        Args:
            owner: Whose rows of the snapshot they are; None for rows that are not from it.
            products: Codes of the rows' products.
            features: (n, F) float32 of the rows.
        """
        kept = self._kept.get(owner) if owner is not None else None
        if kept is not None:
            try:
                return Telling([kept[product] for product in products], 0.0)
            except KeyError:
                pass
        started = time.perf_counter()
        said = self._work_out(features)
        if owner is not None:
            self._keep(owner, dict(zip(products, said, strict=True)))
        return Telling(said, time.perf_counter() - started)

    def warm(
        self,
        snapshot: Snapshot,
        *,
        stopped: Callable[[], bool],
        busy: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Work out the first offers of every household that fits in, while nobody asks.

        Returns:
            Whether it came to its end before it was ``stopped``.
        """
        households = [raw.decode() for raw in snapshot.arrays.households.tolist()]
        for household in households[: self._limit // WARM_OFFERS]:
            while busy():
                # Requests fill the memory themselves, and would wait for this thread.
                time.sleep(_BUSY_SECONDS)
                if stopped():
                    return False
            if stopped():
                return False
            started = time.perf_counter()
            rows = snapshot.lookup(household)
            if rows is not None and household not in self._kept:
                order = top_k(self._model.score(rows.features), WARM_OFFERS)
                self.of(household, rows.product_codes[order].tolist(), rows.features[order])
            time.sleep((time.perf_counter() - started) * (1.0 / _DUTY - 1.0))
        return True

    def _work_out(self, features: np.ndarray) -> list[Said]:
        probabilities: Sequence[float | None] = self._model.probability(features) or [None] * len(
            features
        )
        text = self._texts.setdefault
        return [
            (probability, tuple(text(reason, reason) for reason in reasons))
            for probability, reasons in zip(
                probabilities, self._model.reasons(features), strict=True
            )
        ]

    def _keep(self, owner: str, said: dict[int, Said]) -> None:
        if len(said) > self._limit:
            return
        before = self._kept.pop(owner, {})
        together = {**before, **said}
        self.rows += len(together) - len(before)
        self._kept[owner] = together
        while self.rows > self._limit:
            oldest = next(iter(self._kept))
            self.rows -= len(self._kept.pop(oldest))


class Warmer:
    """Works out what is told of offers before somebody waits for it, in a thread of its own.

    Args:
        serving: What is served now.
        stopped: Whether to end.
        decisions: How many were made; while they grow, the thread rests.
    """

    def __init__(
        self,
        serving: Callable[[], Serving | None],
        *,
        stopped: Callable[[], bool],
        decisions: Callable[[], int],
    ) -> None:
        self._serving = serving
        self._stopped = stopped
        self._decisions = decisions
        self._seen = 0
        self._done: set[tuple[str, str]] = set()

    def work(self) -> None:
        """Until stopped: the models that answer, on the snapshot they answer from."""
        while not self._stopped():
            serving = self._serving()
            if serving is not None:
                self._warm(serving)
            time.sleep(_PAUSE_SECONDS)

    def _busy(self) -> bool:
        before, self._seen = self._seen, self._decisions()
        return self._seen != before

    def _warm(self, serving: Serving) -> None:
        def outdated() -> bool:
            now = self._serving()
            return self._stopped() or now is None or now.snapshot is not serving.snapshot

        for answerer in (serving.canary, serving.live):
            if answerer is None:
                continue
            place = (answerer.model.tag, serving.snapshot.manifest.version)
            if place in self._done:
                continue
            try:
                finished = answerer.told.warm(serving.snapshot, stopped=outdated, busy=self._busy)
            except Exception:
                # Its requests fail too, and the guard sees those.
                logger.exception("model %s could not tell its reasons", answerer.model.tag)
                finished = True
            if finished:
                self._done.add(place)
                # What is kept for good need not be looked at by every collection.
                gc.freeze()
