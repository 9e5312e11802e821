"""Who may do what: API keys with scopes, and a rate for each key.

``Gate.admit`` is all a request pays for: one SHA-256, one constant-time comparison, one bucket.
``require`` is the same as a FastAPI dependency, for endpoints that are not counted in microseconds;
on a route of the class ``KeyFirst`` it is asked before the body is read.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from fastapi import Request
from fastapi.routing import APIRoute
from fastapi.security.utils import get_authorization_scheme_param
from starlette.responses import Response

from bentos.audit import Audit
from bentos.clock import utc_now
from bentos.metrics import Metrics
from bentos.settings import ServingSettings
from resources.api_keys import ApiKey, ApiKeyError, Keys, Scope, read_keys

logger = logging.getLogger("liftgraph.serving")

# Of a bucket: what may come at once, in seconds of its rate.
_BURST_SECONDS = 1.0
# Of one card, which a browser loads once; and how many cards' buckets are kept.
_LINK_RATE = 10.0
_MAX_LINKS = 10_000
# Where a request carries who was let in.
_ADMITTED = "liftgraph.admitted"
SECURITY_SCHEME = "apiKey"


@dataclass(frozen=True)
class Caller:
    """Who asks.

    Attributes:
        name: Of the key: the actor of what is done.
        key_id: Public part of the key.
    """

    name: str
    key_id: str


# While keys are switched off.
ANYBODY = Caller(name="anybody", key_id="off")


class RefusedError(Exception):
    """A request may not; ``problems`` turns it into 401, 403 or 429."""

    def __init__(
        self, status: int, detail: str, remedy: str, *, why: str, retry_after: float | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.remedy = remedy
        self.why = why
        self.retry_after = retry_after


class Bucket:
    """A token bucket: so many requests a second, and so many at once."""

    __slots__ = ("at", "rate", "size", "tokens")

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.size = max(1.0, rate * _BURST_SECONDS)
        self.tokens = self.size
        self.at = monotonic()

    def take(self) -> float:
        """Take a token; the seconds until there is one, 0.0 if it was taken."""
        now = monotonic()
        self.tokens = min(self.size, self.tokens + (now - self.at) * self.rate)
        self.at = now
        if self.tokens >= 1.0:
            self.tokens -= 1.0
            return 0.0
        return (1.0 - self.tokens) / self.rate


class Gate:
    """Admits or refuses, and writes refusals down.

    Args:
        settings: Of the service.
        audit: Where refusals go.
        metrics: Where they are counted.
    """

    def __init__(self, settings: ServingSettings, audit: Audit, metrics: Metrics) -> None:
        self._open = settings.serve_auth == "off"
        self._file = settings.api_keys_file
        self._rate = settings.rate_per_second
        self._audit = audit
        self._metrics = metrics
        self._keys = Keys({})
        self._buckets: dict[str, Bucket] = {}
        self._links: dict[str, Bucket] = {}
        self._stamp: tuple[int, int] | None = None
        self.problem: str | None = None
        self.refresh()

    def refresh(self) -> None:
        """Read the keys again if their file has changed; the old ones stay if it is damaged."""
        stamp = _stamp(self._file)
        if stamp == self._stamp and self.problem is None:
            return
        self._stamp = stamp
        try:
            self._keys = read_keys(self._file)
        except (ApiKeyError, OSError) as error:
            if self.problem != str(error):
                logger.error("%s", error)  # noqa: TRY400 - the message is the whole story
            self.problem = str(error)
            return
        self.problem = None
        known = self._keys.by_id
        self._buckets = {i: b for i, b in self._buckets.items() if i in known}

    def admit(
        self, authorization: str, *scopes: Scope, route: str, remote: str, counted: bool = False
    ) -> Caller:
        """The caller, if it may.

        Args:
            authorization: The request's header, empty without one.
            scopes: What is needed: one of these.
            route: Template of the route, for the audit log.
            remote: The caller's address, likewise.
            counted: Whether the request has been counted towards the key's rate before.

        Raises:
            RefusedError: 401 without a good key, 403 without the scope, 429 over the rate.
        """
        if self._open:
            return ANYBODY
        scheme, token = get_authorization_scheme_param(authorization)
        key = self._keys.find(token) if scheme.lower() == "bearer" else None
        if key is None:
            # It may have been made a moment ago.
            self.refresh()
            key = self._keys.find(token) if scheme.lower() == "bearer" else None
        try:
            return self._admit(key, scopes, counted=counted)
        except RefusedError as refused:
            self._note(refused, key, route=route, remote=remote)
            raise

    def admit_link(self, path: str, *, bad: str | None, route: str, remote: str) -> None:
        """Let the holder of a signed link in.

        Args:
            path: What the link opens; each has a rate of its own.
            bad: Why the link does not open, None if it does.
            route: Template of the route, for the audit log.
            remote: The caller's address, likewise.

        Raises:
            RefusedError: 403 with a bad link, 429 over the rate.
        """
        if self._open:
            return
        try:
            if bad is not None:
                raise RefusedError(403, bad, "Ask for a link at POST /insights/links.", why="link")
            self._count(self._links, path, _LINK_RATE, f"The card {path} was asked for")
            if len(self._links) > _MAX_LINKS:
                del self._links[next(iter(self._links))]
        except RefusedError as refused:
            self._note(refused, None, route=route, remote=remote)
            raise

    def _note(self, refused: RefusedError, key: ApiKey | None, *, route: str, remote: str) -> None:
        name = key.name if key is not None else None
        self._audit.refusal(
            key=name, why=refused.why, route=route, status=refused.status, remote=remote
        )
        self._metrics.refusal(refused.why)

    def _admit(self, key: ApiKey | None, scopes: tuple[Scope, ...], *, counted: bool) -> Caller:
        said = " or ".join(scopes)
        if key is None:
            raise RefusedError(
                401,
                "The request carries no API key that is known here",
                "Send `Authorization: Bearer lg_...`; `python -m liftgraph keys add NAME --scope "
                f"{scopes[0]}` makes a key.",
                why="no-key",
            )
        if key.expires_at is not None or key.revoked_at is not None:
            state = key.state(utc_now())
            if state != "good":
                raise RefusedError(
                    401,
                    f"The API key {key.id} is {state}",
                    "Use its successor, or ask for a new key (`python -m liftgraph keys add`).",
                    why=state,
                )
        if not any(scope in key.scopes for scope in scopes):
            raise RefusedError(
                403,
                f"The API key {key.id} lacks the scope {said}",
                f"Use a key with {said}; this one has {', '.join(key.scopes)}.",
                why="no-scope",
            )
        if not counted:
            rate = key.rate_per_second or self._rate
            self._count(self._buckets, key.id, rate, f"The API key {key.id} has asked")
        return Caller(name=key.name, key_id=key.id)

    @staticmethod
    def _count(buckets: dict[str, Bucket], of: str, rate: float, who: str) -> None:
        bucket = buckets.get(of)
        if bucket is None or bucket.rate != rate:
            bucket = buckets[of] = Bucket(rate)
        wait = bucket.take()
        if wait > 0.0:
            raise RefusedError(
                429,
                f"{who} more than {rate:g} times a second",
                "Ask again after the seconds of Retry-After, or ask for a higher rate.",
                why="rate",
                retry_after=wait,
            )


class Admission:
    """Asks for a key with one of ``scopes``, counting a request once."""

    def __init__(self, *scopes: Scope) -> None:
        self._scopes = scopes

    async def __call__(self, request: Request) -> Caller:
        admitted: dict[tuple[Scope, ...], Caller] = request.scope.setdefault(_ADMITTED, {})
        if self._scopes not in admitted:
            gate: Gate = request.app.state.gate
            admitted[self._scopes] = gate.admit(
                request.headers.get("authorization", ""),
                *self._scopes,
                **origin_of(request),
                counted=bool(admitted),
            )
        return admitted[self._scopes]


def require(*scopes: Scope) -> Admission:
    """A dependency that lets only callers with one of ``scopes`` in, for ``Depends``."""
    return Admission(*scopes)


class KeyFirst(APIRoute):
    """A route that asks for the key before it reads the body.

    FastAPI reads the body before any dependency, so that whoever has no key could send much, and
    would be told what is wrong with it.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()
        calls = [dependency.call for dependency in self.dependant.dependencies]
        admissions = [call for call in calls if isinstance(call, Admission)]

        async def handler(request: Request) -> Response:
            for admission in admissions:
                await admission(request)
            return await answer(request)

        return handler


def origin_of(request: Request) -> dict[str, str]:
    """Where a request goes and comes from, as the audit log has it."""
    route = request.scope.get("route")
    return {
        "route": getattr(route, "path", request.url.path),
        "remote": request.client.host if request.client else "",
    }


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_ino
