"""Errors as ``application/problem+json`` (RFC 9457): what went wrong, which field, what to do."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from bentos.audit import AuditError
from bentos.auth import RefusedError
from bentos.decision_log import DecisionLogError
from bentos.engine import NotReadyError
from bentos.schemas import FieldError, Problem

MEDIA_TYPE = "application/problem+json"
_TYPE_PREFIX = "urn:liftgraph:problem:"


_DESCRIBED = {
    401: "No API key, or one that is not good any more",
    403: "The API key lacks the scope",
    409: "The release ledger does not admit the step: what is, and what to do",
    413: "The body is too large",
    422: "A field is wrong: which one, and why",
    429: "The API key asks too often: when to ask again",
    503: "Nothing can be answered yet, or it could not be written down: what to do",
    504: "The request took too long",
}


def described(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The problems of an endpoint, as its OpenAPI lists them."""
    return {
        status: {
            "description": _DESCRIBED[status],
            "content": {MEDIA_TYPE: {"schema": Problem.model_json_schema()}},
        }
        for status in statuses
    }


def problem_response(problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    return Response(
        content=orjson.dumps(problem.model_dump()),
        status_code=problem.status,
        media_type=MEDIA_TYPE,
        headers=headers,
    )


def invalid_input(errors: Sequence[Mapping[str, Any]]) -> Problem:
    """422 from Pydantic's errors. Values are never echoed: one may be a household id."""
    found = [FieldError(field=_field(error), reason=str(error["msg"])) for error in errors]
    return Problem(
        type=f"{_TYPE_PREFIX}invalid-input",
        title="The request is not valid",
        status=422,
        detail="; ".join(f"{e.field}: {e.reason}" for e in found),
        remedy="Correct the fields named in errors; /openapi.json has the schema and examples. "
        "Send JSON with Content-Type: application/json.",
        errors=found,
    )


def not_ready(reason: str) -> Problem:
    return Problem(
        type=f"{_TYPE_PREFIX}not-ready",
        title="The service cannot answer yet",
        status=503,
        detail=reason,
        remedy="Run `make demo`, or materialise the serving assets; /status lists what is missing.",
    )


def log_unwritable(reason: str) -> Problem:
    return Problem(
        type=f"{_TYPE_PREFIX}decision-log",
        title="The decision could not be logged",
        status=503,
        detail=reason,
        remedy="Free disk space or restore the permissions of the decision log's folder; then "
        "send the request again.",
    )


def refused(error: RefusedError) -> Problem:
    titles = {401: "No good API key", 403: "The API key may not do this", 429: "Too many requests"}
    return Problem(
        type=f"{_TYPE_PREFIX}{error.why}",
        title=titles[error.status],
        status=error.status,
        detail=error.detail,
        remedy=error.remedy,
    )


def illegal_step(reason: str) -> Problem:
    return Problem(
        type=f"{_TYPE_PREFIX}illegal-step",
        title="The release ledger does not admit the step",
        status=409,
        detail=reason,
        remedy="GET /releases says who is where; docs/release.md says which steps there are.",
    )


def unwritten(reason: str) -> Problem:
    return Problem(
        type=f"{_TYPE_PREFIX}not-written",
        title="The step could not be written down, so it was not taken",
        status=503,
        detail=reason,
        remedy="Free disk space or mend the database; then send the request again.",
    )


def too_large(limit: int) -> Problem:
    return Problem(
        type=f"{_TYPE_PREFIX}too-large",
        title="The body is too large",
        status=413,
        detail=f"A body may have {limit:,} bytes",
        remedy="Send less at once; /openapi.json says how much fits.",
    )


def timed_out(seconds: float) -> Problem:
    return Problem(
        type=f"{_TYPE_PREFIX}timeout",
        title="The request took too long",
        status=504,
        detail=f"It was not answered within {seconds:g} s",
        remedy="Send the whole request at once; if that was done, see /status and try again.",
    )


def not_found(path: str) -> Problem:
    return Problem(
        type=f"{_TYPE_PREFIX}not-found",
        title="There is no such page",
        status=404,
        detail=f"{path} is not an endpoint of this service",
        remedy="See /openapi.json for the endpoints.",
    )


def method_not_allowed(path: str, method: str, allowed: str) -> Problem:
    return Problem(
        type=f"{_TYPE_PREFIX}method-not-allowed",
        title="The method is not allowed here",
        status=405,
        detail=f"{path} does not take {method}",
        remedy=f"Use {allowed}.",
    )


def internal_error() -> Problem:
    return Problem(
        type=f"{_TYPE_PREFIX}internal",
        title="The service failed",
        status=500,
        detail="An unexpected error occurred; the service log has the trace",
        remedy="Send the request again; if it fails again, report the time of the request.",
    )


def install(app: FastAPI) -> None:
    """Give every error of ``app`` the problem form."""

    @app.exception_handler(RequestValidationError)
    async def _invalid(_: Request, error: RequestValidationError) -> Response:
        return problem_response(invalid_input(error.errors()))

    @app.exception_handler(HTTPException)
    async def _http(_: Request, error: HTTPException) -> Response:
        # FastAPI's own: a body that cannot be decoded, for instance.
        return problem_response(_of_http(error), headers=error.headers)

    @app.exception_handler(NotReadyError)
    async def _not_ready(_: Request, error: NotReadyError) -> Response:
        return problem_response(not_ready(str(error)), headers={"Retry-After": "5"})

    @app.exception_handler(DecisionLogError)
    async def _unlogged(_: Request, error: DecisionLogError) -> Response:
        return problem_response(log_unwritable(str(error)), headers={"Retry-After": "5"})

    @app.exception_handler(AuditError)
    async def _unaudited(_: Request, error: AuditError) -> Response:
        return problem_response(unwritten(str(error)), headers={"Retry-After": "5"})

    @app.exception_handler(RefusedError)
    async def _refused(_: Request, error: RefusedError) -> Response:
        return problem_response(refused(error), headers=refusal_headers(error))

    @app.exception_handler(Exception)
    async def _unexpected(_: Request, _error: Exception) -> Response:
        # Starlette raises the error again after this reply, so the server logs its trace.
        return problem_response(internal_error())


def _of_http(error: HTTPException) -> Problem:
    status = HTTPStatus(error.status_code)
    return Problem(
        type=f"{_TYPE_PREFIX}{status.phrase.lower().replace(' ', '-')}",
        title=status.phrase,
        status=status,
        detail=str(error.detail),
        remedy="Send valid UTF-8 JSON as /openapi.json describes it."
        if status == HTTPStatus.BAD_REQUEST
        else "See /openapi.json.",
    )


def refusal_headers(error: RefusedError) -> dict[str, str]:
    if error.status == HTTPStatus.UNAUTHORIZED:
        return {"WWW-Authenticate": 'Bearer realm="liftgraph"'}
    if error.retry_after is not None:
        return {"Retry-After": str(max(1, math.ceil(error.retry_after)))}
    return {}


def _field(error: Mapping[str, Any]) -> str:
    # ("body", "k") is k; a body that is no JSON has no field of its own.
    location = [str(part) for part in error["loc"] if part != "body"]
    if not location or error["type"] == "json_invalid":
        return "body"
    return ".".join(location)
