"""Releases over HTTP: who is released and how it came to that, and the four steps.

Every step is written to the audit log with the key's name as actor, before it is tried and with
what became of it; the ledger decides whether it is legal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import Response

from bentos import problems
from bentos.arms import LEDGER_NAME
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
            events = await asyncio.to_thread(_take, engine, action, order, caller)
        except IllegalTransitionError as error:
            await asyncio.to_thread(audit.action, **line, outcome="illegal", detail=str(error))
            return problems.problem_response(problems.illegal_step(str(error)))
        except (SQLAlchemyError, OSError) as error:
            await asyncio.to_thread(audit.action, **line, outcome="failed", detail=str(error))
            return _unwritten(error)
        done = [event.id for event in events]
        await asyncio.to_thread(audit.action, **line, outcome="done", events=done)
        # Not at the next poll: who asked wants to see it.
        engine.follower.wake()
        return ReleaseReply(events=[_event(event) for event in events])

    return made


def _unwritten(error: Exception) -> Response:
    return problems.problem_response(
        problems.unwritten(f"the release ledger cannot be written ({error})"),
        headers={"Retry-After": "5"},
    )


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
    before = ledger.head()
    if action == "shadow":
        desk.shadow(**said)
    elif action == "canary":
        desk.canary(**said, percent=order.percent)
    else:
        desk.promote(**said)
    return ledger.events(LEDGER_NAME, since=before)


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
