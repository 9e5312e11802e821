"""After the guard took a model out: the ledger is told, and people by an incident.

Off the request path. While the ledger cannot be told, the model stays out in this process and the
telling is tried again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy.exc import SQLAlchemyError

from bentos.arms import LEDGER_NAME
from bentos.guard import ACTOR, Trip
from models.release.ledger import IllegalTransitionError, Release
from resources.incidents import open_incident
from resources.release_ledger import ReleaseLedger

if TYPE_CHECKING:
    from bentos.engine import Engine


def tell_trips(engine: Engine, ledger: ReleaseLedger) -> None:
    """Tell all that is untold; a failure is noted as a problem of the engine."""
    while (trip := engine.watch.untold()) is not None:
        try:
            outcome = _roll_back(ledger, trip)
            _open_incident(engine, trip, outcome)
        except (SQLAlchemyError, OSError) as error:
            engine.problems["guard"] = (
                f"the guard took {trip.tag} out, and the release ledger or the incident could not "
                f"be written ({error}); it is tried again. Other services may still serve the model"
            )
            return
        engine.watch.told(trip)
        engine.problems.pop("guard", None)


def _roll_back(ledger: ReleaseLedger, trip: Trip) -> str:
    """What became of it, in words; told twice, it happens once."""
    releases = ledger.releases(LEDGER_NAME)
    places: tuple[Release | None, ...] = (releases.live, releases.canary)
    if not any(r is not None and r.model_version == trip.version for r in places):
        return "another worker or a person had rolled it back"
    try:
        ledger.rollback(
            name=LEDGER_NAME,
            actor=ACTOR,
            reason=trip.breach.reason,
            evidence=_evidence(trip),
            model_version=trip.version,
        )
    except IllegalTransitionError as error:
        return f"the ledger had moved on: {error}"
    return "rolled back"


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
