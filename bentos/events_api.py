"""``POST /events``: what a household bought just now, counted from the next answer on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Annotated

import orjson
from fastapi import APIRouter, Depends
from starlette.responses import Response

from bentos import problems
from bentos.auth import Caller, KeyFirst, require
from bentos.clock import utc_now
from bentos.engine import NotReadyError
from bentos.event_schemas import EventReply, EventRequest
from bentos.fresh_features import EventTimeError
from bentos.schemas import Problem
from resources.event_log import EventConflictError, EventLogError

if TYPE_CHECKING:
    from bentos.engine import Engine

JSON = "application/json"


def router(engine_of: Callable[[], Engine]) -> APIRouter:
    """The route; ``engine_of`` gives the engine at each request."""
    made = APIRouter(tags=["events"], route_class=KeyFirst)
    # One household is made anew at a time; offers go on beside it.
    thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="events")

    @made.post(
        "/events",
        summary="Tell what a household bought",
        response_model=EventReply,
        responses=problems.described(401, 403, 409, 413, 422, 429, 503),
    )
    async def events(
        body: EventRequest, _: Annotated[Caller, Depends(require("events:write"))]
    ) -> Response:
        engine = engine_of()
        if engine.fresh is None:
            raise NotReadyError("this process takes no events; start the service as it is packaged")
        accept = partial(
            engine.fresh.accept,
            event_id=body.event_id,
            household=engine.pseudonym(body.household_id),
            lines=body.flat(),
            now=utc_now(),
        )
        try:
            reply = await asyncio.get_running_loop().run_in_executor(thread, accept)
        except EventTimeError as error:
            return problems.problem_response(
                problems.invalid_input(
                    [{"loc": ("body", "sold_at"), "msg": str(error), "type": "future"}]
                )
            )
        except EventConflictError as error:
            return problems.problem_response(_conflict(error))
        except EventLogError as error:
            return problems.problem_response(_unlogged(error), headers={"Retry-After": "5"})
        return Response(orjson.dumps(reply.model_dump()), media_type=JSON)

    return made


def _conflict(error: EventConflictError) -> Problem:
    return Problem(
        type="urn:liftgraph:problem:event-conflict",
        title="The event_id was used before",
        status=409,
        detail=str(error),
        remedy="Send what is new with a new event_id; send a retry exactly as it was.",
    )


def _unlogged(error: EventLogError) -> Problem:
    return Problem(
        type="urn:liftgraph:problem:event-log",
        title="The event could not be logged",
        status=503,
        detail=str(error),
        remedy="Free disk space or restore the permissions of the event log's folder; then send "
        "the event again.",
    )
