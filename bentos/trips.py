"""After the guard took a model out: the ledger is told, and people by an incident.

Off the request path. While the ledger cannot be told, the model stays out in this process and the
telling is tried again.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from bentos.arms import LEDGER_NAME
from bentos.guard import ACTOR, Trip
from models.release.ledger import IllegalTransitionError, Release
from resources.incidents import open_incident
from resources.release_ledger import ReleaseLedger

if TYPE_CHECKING:
    from bentos.engine import Engine

logger = logging.getLogger("liftgraph.serving")

# Others step in between reading and writing; somebody who does so for ever is told of.
_ATTEMPTS = 5


class Teller:
    """Tells of an engine's trips.

    Args:
        engine: Whose guard.
        ledger: Told first; it should not wait long for a lock, for others wait for the teller.
    """

    def __init__(self, engine: Engine, ledger: ReleaseLedger) -> None:
        self._engine = engine
        self._ledger = ledger
        # The trip that the ledger knows of, while its incident could not be written.
        self._in_ledger: tuple[Trip, str] | None = None

    def tell(self) -> None:
        """Tell all that is untold; a failure is noted as a problem of the engine."""
        engine = self._engine
        while (trip := engine.watch.untold()) is not None:
            try:
                if self._in_ledger is None or self._in_ledger[0] is not trip:
                    self._in_ledger = trip, _roll_back(self._ledger, trip)
                _open_incident(engine, trip, self._in_ledger[1])
            except Exception as error:  # following the ledger goes on, whatever this is
                message = (
                    f"the guard took {trip.tag} out, and the release ledger or the incident could "
                    f"not be written ({type(error).__name__}, the service log has the rest); it is "
                    "tried again. Other services may still serve the model"
                )
                if engine.problems.get("guard") != message:
                    logger.exception("a trip of the guard could not be told")
                engine.problems["guard"] = message
                return
            self._in_ledger = None
            engine.watch.told(trip)
            engine.problems.pop("guard", None)


def _roll_back(ledger: ReleaseLedger, trip: Trip) -> str:
    """What became of it, in words; told twice, it happens once."""
    for _ in range(_ATTEMPTS):
        releases = ledger.releases(LEDGER_NAME)
        places: tuple[Release | None, ...] = (releases.live, releases.canary)
        # A later release of the same model is a new chance.
        if not any(
            r is not None and r.model_version == trip.version and r.event <= trip.release
            for r in places
        ):
            return "another worker or a person had rolled it back"
        try:
            ledger.rollback(
                name=LEDGER_NAME,
                actor=ACTOR,
                reason=trip.breach.reason,
                evidence=_evidence(trip),
                model_version=trip.version,
                seen=releases.head,
            )
        except IllegalTransitionError as error:
            refused = str(error)
            continue
        return "rolled back"
    return f"the ledger does not admit it: {refused}"


def _open_incident(engine: Engine, trip: Trip, outcome: str) -> None:
    open_incident(
        engine.settings.incidents_dir,
        kind="guard-breach",
        title=f"The guard took the {trip.arm} {trip.version} out: {trip.breach.reason}",
        evidence={**_evidence(trip), "outcome": outcome},
    )


def _evidence(trip: Trip) -> dict[str, object]:
    return {
        "signal": trip.breach.signal,
        "observed": trip.breach.observed,
        "limit": trip.breach.limit,
        "requests": trip.breach.requests,
        "arm": trip.arm,
        "model_version": trip.version,
        "model_tag": trip.tag,
        "release": trip.release,
        "breached_at": trip.at.isoformat(),
    }
