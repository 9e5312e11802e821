"""The endpoints, as one FastAPI app that BentoML mounts at ``/``.

BentoML's own ``/livez`` and ``/readyz`` come before the mount and stay its own.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import orjson
from fastapi import Depends, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.routing import iter_route_contexts
from starlette.responses import Response
from starlette.routing import Match

from bentos import (
    actions_api,
    control_room,
    events_api,
    insights_api,
    metrics,
    problems,
    release_api,
)
from bentos.actions_api import Desks
from bentos.audit import Audit
from bentos.auth import SECURITY_SCHEME, Gate, require
from bentos.edge import ANYTHING_ELSE, Edge, TooLargeError, too_large
from bentos.engine import Engine
from bentos.quick_route import OffersRoute
from bentos.schemas import RankOffersReply, RankOffersRequest
from bentos.status_schemas import Status

JSON = "application/json"
ALL_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
# By path: what an API key must allow. All else is open.
KEYED = {
    "/rank_offers": "offers:read",
    "/recommend_actions": "actions:read",
    "/what_if": "actions:read",
    "/insights/links": "actions:read",
    "/events": "events:write",
    "/releases/{action}": "release:write",
}
DESCRIPTION = """
Ranked, personalised offers for a household, with the names of the model, the data and the code
behind every answer. Endpoints with a lock need `Authorization: Bearer lg_...`. Also here: `/`
(control room), `/livez`, `/readyz` and `/metrics`.
"""


def build_app() -> FastAPI:
    """Make the app; it answers once it has its engine from ``use_engine``."""
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

    @app.exception_handler(TooLargeError)
    async def body_too_large(_: Request, error: TooLargeError) -> Response:
        return too_large(error)

    app.add_middleware(Edge, state=app.state)

    def rank_offers(body: RankOffersRequest) -> Response:
        # About half a millisecond of work: handing it to a thread would cost more than it frees.
        return Response(orjson.dumps(_engine(app).rank_offers(body)), media_type=JSON)

    # First, because routes are tried in order.
    app.router.add_api_route(
        "/rank_offers",
        rank_offers,
        methods=["POST"],
        route_class_override=OffersRoute,
        summary="Rank offers for a household",
        response_model=RankOffersReply,
        responses=problems.described(401, 403, 413, 422, 429, 503, 504),
        tags=["offers"],
    )

    @app.get("/status", summary="What is running, and what is wrong", tags=["operations"])
    async def status() -> Status:
        return await asyncio.to_thread(_engine(app).status)

    @app.get("/metrics", include_in_schema=False)
    async def scraped() -> Response:
        _engine(app).report_gauges()
        return Response(
            await asyncio.to_thread(metrics.exposition), media_type=metrics.CONTENT_TYPE
        )

    app.state.desks = desks = Desks(lambda: _engine(app))
    app.include_router(control_room.router(lambda: _engine(app), desks))
    app.include_router(insights_api.router(lambda: _engine(app), desks))
    app.include_router(actions_api.router(desks, dependencies=[Depends(require("actions:read"))]))
    app.include_router(release_api.router(lambda: _engine(app)))
    app.include_router(events_api.router(lambda: _engine(app)))

    @app.api_route(ANYTHING_ELSE, methods=ALL_METHODS, include_in_schema=False)
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

    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def use_engine(app: FastAPI, engine: Engine) -> None:
    """Give the app what answers, and who may ask."""
    app.state.engine = engine
    app.state.audit = Audit(engine.settings.audit_dir)
    app.state.gate = Gate(engine.settings, app.state.audit, engine.metrics)
    engine.follower.tended += [
        app.state.gate.refresh,
        app.state.audit.tend,
        app.state.desks.tend,
    ]
    if engine.fresh is not None:
        engine.follower.tended.append(engine.fresh.tend)


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    engine = _engine(app)
    engine.start()
    try:
        yield
    finally:
        # What runs has been answered by now: the server waits for it first.
        await asyncio.to_thread(engine.close)
        app.state.audit.close()


def _engine(app: FastAPI) -> Engine:
    engine: Engine = app.state.engine
    return engine


def _openapi(app: FastAPI) -> dict:
    """FastAPI's schema, with the locks of ``KEYED``."""
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=app.routes,
        )
        schemes = schema.setdefault("components", {}).setdefault("securitySchemes", {})
        schemes[SECURITY_SCHEME] = {"type": "http", "scheme": "bearer"}
        for path, scope in KEYED.items():
            for method, operation in schema["paths"].get(path, {}).items():
                if method == "post":
                    operation["security"] = [{SECURITY_SCHEME: []}]
                    said = operation.get("description")
                    operation["description"] = " ".join(filter(None, [said, f"Scope `{scope}`."]))
        app.openapi_schema = schema
    return app.openapi_schema


def _allowed_methods(app: FastAPI, request: Request) -> set[str]:
    return {
        method
        # Those of the included routers too.
        for route in iter_route_contexts(app.routes)
        if route.matches(request.scope)[0] == Match.PARTIAL
        for method in route.methods or ()
    }
