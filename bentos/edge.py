"""Around every request: how large, how long, which headers, and what is counted.

One plain ASGI layer, because each of Starlette's costs as much as looking a household up.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import Response

from bentos import problems
from bentos.metrics import OTHER_ROUTE, Metrics

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

# On every answer; pages say more for themselves.
HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)
# The route of what no other one answers.
ANYTHING_ELSE = "/{path:path}"
# Answers are about households and change with every request.
_CLOSE = (b"connection", b"close")
_NO_STORE = (b"cache-control", b"no-store")
_SERVER_ERROR = 500


class TooLargeError(HTTPException):
    """More came than a body may have; an ``HTTPException``, because FastAPI makes a 400 of others.

    Args:
        limit: In bytes.
    """

    def __init__(self, limit: int) -> None:
        super().__init__(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        self.limit = limit


class Edge:
    """The layer.

    Args:
        app: What is inside.
        state: Of the app; read at each request, because the engine comes after the app.
    """

    def __init__(self, app: App, *, state: Any) -> None:
        self._app = app
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        engine = self._state.engine
        settings = engine.settings
        limit = settings.max_body_bytes
        status = 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _add_headers(message["headers"])
                if engine.stopping:
                    message["headers"].append(_CLOSE)
            await send(message)

        try:
            length = _content_length(scope)
            if length is None:
                receive = _counting(receive, limit)
            elif length > limit:
                raise TooLargeError(limit)
            async with asyncio.timeout(settings.request_seconds):
                await self._app(scope, receive, sending)
        except TooLargeError as error:
            await _answer(too_large(error), scope, receive, sending, started=status != 0)
        except TimeoutError:
            response = problems.problem_response(
                problems.timed_out(settings.request_seconds), headers={"Connection": "close"}
            )
            await _answer(response, scope, receive, sending, started=status != 0)
        except BaseException:
            status = status or _SERVER_ERROR
            raise
        finally:
            metrics: Metrics = engine.metrics
            metrics.request(route_of(scope), _method(scope), status, time.perf_counter() - started)


def too_large(error: TooLargeError) -> Response:
    # The rest of the body is not read, so the connection cannot be used again.
    return problems.problem_response(
        problems.too_large(error.limit), headers={"Connection": "close"}
    )


def route_of(scope: Scope) -> str:
    """Template of the route that answers, so that callers cannot invent names."""
    path: str = getattr(scope.get("route"), "path", "")
    return OTHER_ROUTE if path in {"", ANYTHING_ELSE} else path


def _method(scope: Scope) -> str:
    method: str = scope["method"]
    return method if method in _METHODS else OTHER_ROUTE


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def _add_headers(headers: list[tuple[bytes, bytes]]) -> None:
    names = {name for name, _ in headers}
    headers.extend(header for header in HEADERS if header[0] not in names)
    if b"cache-control" not in names:
        headers.append(_NO_STORE)


def _content_length(scope: Scope) -> int | None:
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() else None
    return None if scope["method"] in {"POST", "PUT", "PATCH"} else 0


def _counting(receive: Receive, limit: int) -> Receive:
    seen = 0

    async def received() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            raise TooLargeError(limit)
        return message

    return received


async def _answer(
    response: Response, scope: Scope, receive: Receive, send: Send, *, started: bool
) -> None:
    if not started:
        await response(scope, receive, send)
