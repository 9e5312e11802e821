"""The endpoints of actions: what a store should do, and what would be sold under another plan.

Needs of the app: ``engine_of`` (settings and the decision log), scope ``actions:read``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
from fastapi import APIRouter
from starlette.responses import Response

from bentos import problems
from bentos.action_desk import ActionDesk, BudgetError
from bentos.action_lines import decision_line, failed_line
from bentos.action_schemas import (
    RecommendActionsReply,
    RecommendActionsRequest,
    WhatIfReply,
    WhatIfRequest,
)
from bentos.auth import KeyFirst
from bentos.engine import Engine

JSON = "application/json"
_ERRORS = problems.described(401, 403, 413, 422, 429, 503, 504)


class Desks:
    """The process's desk, made when the engine is there."""

    def __init__(self, engine_of: Callable[[], Engine]) -> None:
        self.engine_of = engine_of
        self._desk: tuple[Engine, ActionDesk] | None = None

    def desk(self) -> ActionDesk:
        engine = self.engine_of()
        if self._desk is None or self._desk[0] is not engine:
            self._desk = (engine, ActionDesk(engine.settings))
        return self._desk[1]

    def tend(self) -> None:
        """Open a new snapshot beside the requests; about every second."""
        self.desk().current()


def router(desks: Desks, *, dependencies: Sequence[Any] = ()) -> APIRouter:
    """The routes; ``dependencies`` are those of every one, the key's scope above all."""
    made = APIRouter(tags=["actions"], dependencies=list(dependencies), route_class=KeyFirst)
    # One at a time: the solver's threads are the process's. Offers go on beside it.
    thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="actions")

    @made.post(
        "/recommend_actions",
        summary="What a store should do in the coming week",
        response_model=RecommendActionsReply,
        responses=_ERRORS,
    )
    async def recommend_actions(body: RecommendActionsRequest) -> Response:
        try:
            return await _answered(desks, thread, body, kind="recommend_actions", k=body.k)
        except BudgetError as error:
            return problems.problem_response(
                problems.invalid_input(
                    [{"loc": ("body", "budget"), "msg": str(error), "type": "budget"}]
                )
            )

    @made.post(
        "/what_if",
        summary="Units expected under another plan",
        response_model=WhatIfReply,
        responses=_ERRORS,
    )
    async def what_if(body: WhatIfRequest) -> Response:
        plan = {"price": body.price, "display": body.display, "mailer": body.mailer}
        return await _answered(desks, thread, body, kind="what_if", plan=plan)

    return made


async def _answered(
    desks: Desks, thread: ThreadPoolExecutor, body: Any, *, kind: str, **asked: Any
) -> Response:
    """The endpoint's answer, logged before it leaves; also when it fails inside."""
    started = time.perf_counter()
    engine, desk = desks.engine_of(), desks.desk()
    answer: Callable[[Any], dict[str, Any]] = getattr(desk, kind)
    try:
        reply = await asyncio.get_running_loop().run_in_executor(thread, answer, body)
    except BudgetError:
        raise
    except Exception as error:
        engine.log.append(failed_line(kind, error, started=started, store_id=body.store_id))
        raise
    engine.log.append(decision_line(kind, reply, started=started, bento=engine.bento, **asked))
    return Response(orjson.dumps(reply), media_type=JSON)
