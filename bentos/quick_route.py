"""A FastAPI route for the one endpoint that is counted in microseconds.

FastAPI publishes it like any other; at a request its dependency machinery, which costs as much as
the scores, is passed over: admit, read, validate, answer.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import ValidationError
from starlette.responses import Response

from bentos.auth import Gate
from bentos.schemas import RankOffersRequest
from resources.api_keys import Scope


class OffersRoute(APIRoute):
    """``POST /rank_offers``: its endpoint takes a validated body and returns a ``Response``."""

    scope: Scope = "offers:read"

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        validate = RankOffersRequest.__pydantic_validator__.validate_json
        endpoint, path, needed = self.endpoint, self.path, self.scope

        async def handler(request: Request) -> Response:
            asgi = request.scope
            authorization, is_json = "", True
            for name, value in asgi["headers"]:
                if name == b"authorization":
                    authorization = value.decode("latin-1")
                elif name == b"content-type":
                    is_json = value.startswith(b"application/json")
            gate: Gate = asgi["app"].state.gate
            client = asgi.get("client")
            gate.admit(
                authorization, needed, route=path, remote=client[0] if client is not None else ""
            )
            body = await request.body()
            if not is_json:
                raise RequestValidationError([_NOT_JSON])
            try:
                asked = validate(body)
            except ValidationError as error:
                raise RequestValidationError(error.errors(include_input=False)) from None
            return endpoint(asked)

        return handler


_NOT_JSON = {
    "type": "json_invalid",
    "loc": ("body",),
    "msg": "Send JSON with Content-Type: application/json",
}
