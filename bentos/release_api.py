"""Releases over HTTP: who is released and how it came to that, and the four steps.

Every step is written to the audit log with the key's name as actor, before it is tried and with
what became of it; the ledger decides whether it is legal.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import Response

from bentos import problems
from bentos.arms import LEDGER_NAME
from bentos.audit import Audit, AuditError
from bentos.auth import Caller, KeyFirst, require
from bentos.release_schemas import (
    ReleasedModel,
    ReleaseEvent,
    ReleaseOrder,
    ReleaseReply,
    ReleasesReply,
)
from models.release.ledger import Event, IllegalTransitionError, Release

if TYPE_CHECKING:
    from bentos.engine import Engine

logger = logging.getLogger("liftgraph.serving")

Action = Literal["shadow", "canary", "promote", "rollback"]

SHOWN_EVENTS = 200


def router(engine_of: Callable[[], Engine]) -> APIRouter:
    """The routes; ``engine_of`` gives the engine at each request."""
    made = APIRouter(prefix="/releases", tags=["releases"], route_class=KeyFirst)

    @made.get("", summary="Who is released, and the history")
    async def releases() -> ReleasesReply:
        return await asyncio.to_thread(_releases, engine_of())

    @made.post(
        "/{action}",
        summary="Take a step: shadow, canary, promote or rollback",
        response_model=ReleaseReply,
        responses=problems.described(401, 403, 409, 413, 422, 429, 503),
    )
    async def step(
        action: Action,
        order: ReleaseOrder,
        caller: Annotated[Caller, Depends(require("release:write"))],
        request: Request,
    ) -> Any:
        engine = engine_of()
        audit = request.app.state.audit
        line = {
            "actor": caller.name,
            "key": caller.key_id,
            "action": f"release.{action}",
            **order.model_dump(exclude_none=True),
        }
        await asyncio.to_thread(audit.action, **line, outcome="asked")
        try:
            # What becomes of it is written there: the caller may be gone before.
            events = await asyncio.to_thread(_audited, engine, action, order, caller, audit, line)
        except IllegalTransitionError as error:
            return problems.problem_response(problems.illegal_step(str(error)))
        except (SQLAlchemyError, OSError) as error:
            return _unwritten(error)
        return ReleaseReply(events=[_event(event) for event in events])

    return made


def _unwritten(error: Exception) -> Response:
    return problems.problem_response(
        # Whoever asks is not told of hosts and statements.
        problems.unwritten(
            f"the release ledger cannot be written ({type(error).__name__}); the service log has "
            "the rest"
        ),
        headers={"Retry-After": "5"},
    )


def _audited(
    engine: Engine,
    action: Action,
    order: ReleaseOrder,
    caller: Caller,
    audit: Audit,
    line: dict[str, Any],
) -> list[Event]:
    try:
        events = _take(engine, action, order, caller)
    except IllegalTransitionError as error:
        _tell(audit, **line, outcome="illegal", detail=str(error))
        raise
    except Exception as error:
        logger.exception("a release step failed")
        _tell(audit, **line, outcome="failed", detail=type(error).__name__)
        raise
    # Not at the next poll: who asked wants to see it.
    engine.follower.wake()
    _tell(audit, **line, outcome="done", events=[event.id for event in events])
    return events


def _tell(audit: Audit, **line: Any) -> None:
    """Write down what became of a step, which is so whether or not that can be written."""
    try:
        audit.action(**line)
    except AuditError:
        logger.exception("the outcome of a release step is not in the audit log: %s", line)


def _take(engine: Engine, action: Action, order: ReleaseOrder, caller: Caller) -> list[Event]:
    # Here, because the judge's libraries are not needed for an answer.
    from resources.release_steps import ReleaseDesk

    ledger = engine.follower.ledger
    desk = ReleaseDesk(ledger=ledger, decisions=engine.settings.decisions_dir, name=LEDGER_NAME)
    said: dict[str, Any] = {
        "actor": caller.name,
        "reason": order.reason,
        "model_version": order.model_version,
    }
    if action == "rollback":
        return desk.rollback(**said)
    said["forced"] = order.force
    if action == "shadow":
        return desk.shadow(**said)
    if action == "canary":
        return desk.canary(**said, percent=order.percent)
    return desk.promote(**said)


def _releases(engine: Engine) -> ReleasesReply:
    ledger = engine.follower.ledger
    releases = ledger.releases(LEDGER_NAME)
    events = ledger.events(LEDGER_NAME)
    return ReleasesReply(
        head=releases.head,
        serving=engine.serving.release if engine.serving is not None else 0,
        live=_model(releases.live),
        canary=_model(releases.canary),
        shadow=_model(releases.shadow),
        previous_live=_model(releases.previous_live),
        events=[_event(event) for event in reversed(events[-SHOWN_EVENTS:])],
    )


def _model(release: Release | None) -> ReleasedModel | None:
    if release is None:
        return None
    return ReleasedModel(
        model_version=release.model_version,
        model_tag=release.model_tag,
        percent=release.percent,
        since=release.since,
    )


def _event(event: Event) -> ReleaseEvent:
    return ReleaseEvent(
        id=event.id,
        at=event.at,
        model_version=event.model_version,
        model_tag=event.model_tag,
        state=event.state,
        percent=event.percent,
        actor=event.actor,
        reason=event.reason,
        evidence=dict(event.evidence),
        forced=event.forced,
        previous=event.previous,
    )
