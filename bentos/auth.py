"""Who may do what: API keys with scopes, and a rate for each key.

``Gate.admit`` is all a request pays for: one SHA-256, one constant-time comparison, one bucket.
``require`` is the same as a FastAPI dependency, for endpoints that are not counted in microseconds.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from fastapi import Request
from fastapi.security.utils import get_authorization_scheme_param

from bentos.audit import Audit
from bentos.clock import utc_now
from bentos.metrics import Metrics
from bentos.settings import ServingSettings
from resources.api_keys import ApiKey, ApiKeyError, Keys, Scope, read_keys

logger = logging.getLogger("liftgraph.serving")

# Of a bucket: what may come at once, in seconds of its rate.
_BURST_SECONDS = 1.0
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
        self.at = time.monotonic()

    def take(self) -> float:
        """Take a token; the seconds until there is one, 0.0 if it was taken."""
        now = time.monotonic()
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

    def admit(self, authorization: str, scope: Scope, *, route: str, remote: str) -> Caller:
        """The caller, if it may.

        Args:
            authorization: The request's header, empty without one.
            scope: What is needed.
            route: Template of the route, for the audit log.
            remote: The caller's address, likewise.

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
            return self._admit(key, scope)
        except RefusedError as refused:
            name = key.name if key is not None else None
            self._audit.refusal(
                key=name, why=refused.why, route=route, status=refused.status, remote=remote
            )
            self._metrics.refusal(refused.why)
            raise

    def _admit(self, key: ApiKey | None, scope: Scope) -> Caller:
        if key is None:
            raise RefusedError(
                401,
                "The request carries no API key that is known here",
                "Send `Authorization: Bearer lg_...`; `python -m liftgraph keys add NAME --scope "
                f"{scope}` makes a key.",
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
        if scope not in key.scopes:
            raise RefusedError(
                403,
                f"The API key {key.id} lacks the scope {scope}",
                f"Use a key with {scope}; this one has {', '.join(key.scopes)}.",
                why="no-scope",
            )
        bucket = self._buckets.get(key.id)
        if bucket is None or bucket.rate != (key.rate_per_second or self._rate):
            bucket = self._buckets[key.id] = Bucket(key.rate_per_second or self._rate)
        wait = bucket.take()
        if wait > 0.0:
            raise RefusedError(
                429,
                f"The API key {key.id} has asked more than {bucket.rate:g} times a second",
                "Ask again after the seconds of Retry-After, or ask for a higher rate.",
                why="rate",
                retry_after=wait,
            )
        return Caller(name=key.name, key_id=key.id)


def require(scope: Scope) -> Callable[[Request], Awaitable[Caller]]:
    """A dependency that lets only callers with ``scope`` in: ``Depends(require("release:write"))``.

    The app's state has the gate.
    """

    async def admitted(request: Request) -> Caller:
        gate: Gate = request.app.state.gate
        route = request.scope.get("route")
        return gate.admit(
            request.headers.get("authorization", ""),
            scope,
            route=getattr(route, "path", request.url.path),
            remote=request.client.host if request.client else "",
        )

    return admitted


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_ino
