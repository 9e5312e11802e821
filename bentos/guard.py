"""The guard in the request path: sees each answer, and takes a bad model out between two requests.

``models.release.guard`` decides. Here is which models it has condemned in this process: they stay
out, whatever the ledger still says, until the ledger says it too.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime

from bentos.arms import Serving
from bentos.clock import utc_now
from bentos.ranked import Ranked
from models.release.guard import Breach
from models.release.routing import Arm

ACTOR = "guard"
# After a model or a snapshot is swapped in, what is told of offers is worked out for the first
# time: of so many answers the guard (not the log, and so not the judge) leaves that time out, up to
# so much each. Reasons that are slow for good, or by far, are a fault like any other.
COLD_ANSWERS = 1_000
COLD_MS = 15.0


@dataclass(frozen=True)
class Trip:
    """A breach, and the model it condemns.

    Attributes:
        arm: ``canary`` or ``live``.
        version: Of the model.
        tag: Of the model.
        release: The ledger's last event that was served under.
        breach: What was seen.
        at: Naive UTC.
    """

    arm: str
    version: str
    tag: str
    release: int
    breach: Breach
    at: datetime = field(default_factory=utc_now)


class Watch:
    """Feeds the guards and remembers whom they condemned."""

    def __init__(self) -> None:
        # Model version to the ledger event its release had; a later release is a new chance.
        self._tripped: dict[str, int] = {}
        self._untold: deque[Trip] = deque()
        self._lock = threading.Lock()
        # Model tag to the snapshot it answers from, and its answers from it while those are few.
        self._cold: dict[str, tuple[str, int]] = {}
        self.last: Trip | None = None

    def saw(
        self,
        serving: Serving,
        arm: Arm,
        *,
        failed: str | None,
        latency_ms: float,
        empty: bool,
        top_score: float | None,
    ) -> Trip | None:
        """Take one answer into account; the trip if it was one too many."""
        guard = serving.guard
        guard.observe(
            arm,
            error=failed is not None,
            latency_ms=latency_ms,
            empty=empty,
            top_score=top_score,
        )
        if arm == "canary":
            breach = guard.breach()
            return self._trip(serving, "canary", breach) if breach is not None else None
        if serving.previous is None:
            # Nobody to go back to: a bad model that is flagged beats none.
            return None
        live_guard = serving.live_guard
        live_guard.observe(
            "canary",
            error=failed is not None,
            latency_ms=latency_ms,
            empty=empty,
            top_score=top_score,
        )
        breach = live_guard.breach()
        return self._trip(serving, "live", breach) if breach is not None else None

    def excused_ms(self, serving: Serving, ranked: Ranked) -> float:
        """Milliseconds of an answer that its model is not blamed for: its memory is cold."""
        if ranked.answerer is None:
            return 0.0
        tag, version = ranked.answerer.model.tag, serving.snapshot.manifest.version
        told_from, answers = self._cold.get(tag, (version, 0))
        if told_from != version:
            answers = 0
        if answers >= COLD_ANSWERS:
            return 0.0
        self._cold[tag] = (version, answers + 1)
        return min(ranked.told_seconds * 1e3, COLD_MS)

    def without_tripped(self, serving: Serving) -> Serving:
        """The same without condemned models."""
        if not self._tripped:
            return serving
        if serving.canary is not None and self._is_out(serving.canary.model.version):
            serving = serving.without_canary()
        live, previous = serving.live, serving.previous
        if (
            live is not None
            and previous is not None
            and self._is_out(live.model.version)
            and not self._is_out(previous.model.version)
        ):
            serving = serving.with_previous_live()
        return serving

    def untold(self) -> Trip | None:
        """The oldest trip that the ledger does not know of."""
        return self._untold[0] if self._untold else None

    def told(self, trip: Trip) -> None:
        """The ledger and people know."""
        if self._untold and self._untold[0] is trip:
            self._untold.popleft()

    def forgive(self, released: dict[str, int]) -> None:
        """Let models in again that were released anew after they were condemned.

        Args:
            released: Version to the event of its release, of those the ledger names now.
        """
        with self._lock:
            for version, event in released.items():
                if event > self._tripped.get(version, event):
                    del self._tripped[version]

    def _is_out(self, version: str) -> bool:
        return version in self._tripped

    def _trip(self, serving: Serving, arm: str, breach: Breach) -> Trip | None:
        answerer = serving.canary if arm == "canary" else serving.live
        if answerer is None:
            return None
        model = answerer.model
        with self._lock:
            if model.version in self._tripped:
                # A request that was on its way when the model was taken out.
                return None
            self._tripped[model.version] = serving.release
            trip = Trip(arm, model.version, model.tag, serving.release, breach)
            self._untold.append(trip)
            self.last = trip
        return trip
