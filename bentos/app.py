"""The endpoints, as one FastAPI app that BentoML mounts at ``/``.

BentoML's own ``/livez``, ``/readyz`` and ``/metrics`` come before the mount and stay its own.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import orjson
from fastapi import FastAPI, Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Match

from bentos import problems
from bentos.engine import Engine
from bentos.page import HEADERS, status_page
from bentos.schemas import Problem, RankOffersReply, RankOffersRequest, Status

JSON = "application/json"
ALL_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
DESCRIPTION = """
Ranked, personalised offers for a household, with the names of the model, the data and the code
behind every answer. Also here: `/` (status page), `/livez`, `/readyz` and `/metrics`.
"""


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    described = {
        422: "A field is wrong: which one, and why",
        503: "Nothing can be answered yet, or the decision could not be logged: what to do",
    }
    return {
        status: {
            "description": described[status],
            "content": {problems.MEDIA_TYPE: {"schema": Problem.model_json_schema()}},
        }
        for status in statuses
    }


def build_app() -> FastAPI:
    """Make the app; it answers once ``app.state.engine`` and ``poll_seconds`` are set."""
    app = FastAPI(
        title="liftgraph",
        version="1",
        description=DESCRIPTION,
        lifespan=_lifespan,
        # Their pages load scripts from a content network; the schema itself is at /openapi.json.
        docs_url=None,
        redoc_url=None,
    )
    problems.install(app)

    @app.post(
        "/rank_offers",
        summary="Rank offers for a household",
        response_model=RankOffersReply,
        responses=_errors(422, 503),
        tags=["offers"],
    )
    async def rank_offers(body: RankOffersRequest) -> Response:
        # About 0.3 ms of work: handing it to a thread would cost more than it frees.
        reply = _engine(app).rank_offers(body)
        return Response(orjson.dumps(reply), media_type=JSON)

    @app.get("/status", summary="What is running, and what is wrong", tags=["operations"])
    async def status() -> Status:
        return _engine(app).status()

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return HTMLResponse(status_page(_engine(app).status()), headers=HEADERS)

    @app.api_route("/{path:path}", methods=ALL_METHODS, include_in_schema=False)
    async def anything_else(request: Request) -> Response:
        # Without this BentoML would answer with its own pages and plain text.
        allowed = _allowed_methods(app, request)
        if not allowed:
            return problems.problem_response(problems.not_found(request.url.path))
        names = ", ".join(sorted(allowed))
        return problems.problem_response(
            problems.method_not_allowed(request.url.path, request.method, names),
            headers={"Allow": names},
        )

    return app


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    watcher = asyncio.create_task(_follow_snapshots(app))
    try:
        yield
    finally:
        watcher.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watcher
        _engine(app).close()


async def _follow_snapshots(app: FastAPI) -> None:
    """Take up new snapshots beside the requests: opening one reads all of it."""
    while True:
        await asyncio.sleep(app.state.poll_seconds)
        await asyncio.to_thread(_engine(app).refresh)


def _engine(app: FastAPI) -> Engine:
    engine: Engine = app.state.engine
    return engine


def _allowed_methods(app: FastAPI, request: Request) -> set[str]:
    return {
        method
        for route in app.routes
        if route.matches(request.scope)[0] == Match.PARTIAL
        for method in getattr(route, "methods", None) or ()
    }
