"""A small typed client of the service, for programs in Python.

    with Client("http://127.0.0.1:3000", key=os.environ["LIFTGRAPH_KEY"]) as client:
        for offer in client.rank_offers("2375", k=5).offers:
            ...

Busy (429) and unavailable (503) answers, and connections that fail before an answer, are tried
again, as long as ``Retry-After`` says or with growing pauses. Any other problem is raised at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
from pydantic import BaseModel
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    wait_random_exponential,
)

from bentos.release_schemas import ReleaseOrder, ReleaseReply, ReleasesReply
from bentos.schemas import ContextValue, Problem, RankOffersReply, RankOffersRequest
from bentos.status_schemas import Status

TIMEOUT_SECONDS = 10.0
ATTEMPTS = 4
_LONGEST_PAUSE_SECONDS = 8.0
_AGAIN = frozenset({429, 503})
_FIRST_ERROR = 400

Reply = TypeVar("Reply", bound=BaseModel)


class ServiceError(RuntimeError):
    """The service answered with a problem.

    Attributes:
        problem: What is wrong and what to do; ``problem.errors`` names wrong fields.
        retry_after: Seconds until it is worth asking again, if it said so.
    """

    def __init__(self, problem: Problem, retry_after: float | None) -> None:
        super().__init__(f"{problem.status} {problem.title}: {problem.detail}. {problem.remedy}")
        self.problem = problem
        self.retry_after = retry_after


class Client:
    """Asks the service; safe for several threads.

    Args:
        url: Base address.
        key: API key; None where keys are switched off.
        timeout_seconds: Of one attempt.
        attempts: How often one question is asked at most.
        http: To ask through; default a client of its own.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        attempts: int = ATTEMPTS,
        http: httpx.Client | None = None,
    ) -> None:
        self._http = http or httpx.Client(base_url=url, timeout=timeout_seconds)
        self._headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        self._attempts = attempts

    def rank_offers(
        self,
        household_id: str,
        *,
        k: int | None = None,
        context: Mapping[str, ContextValue] | None = None,
    ) -> RankOffersReply:
        """Ranked offers for a household.

        Args:
            household_id: As your systems know it.
            k: How many at most; default the service's.
            context: Logged with the decision; never personal data.

        Raises:
            pydantic.ValidationError: The question is not valid.
            ServiceError: The service answered with a problem.
            httpx.TransportError: No answer came.
        """
        given: dict[str, Any] = {"household_id": household_id, "context": dict(context or {})}
        if k is not None:
            given["k"] = k
        return self.post("/rank_offers", RankOffersRequest(**given), RankOffersReply)

    def status(self) -> Status:
        """What is running, and what is wrong; raises as ``rank_offers``."""
        return self._ask(lambda: self._http.get("/status"), Status)

    def releases(self) -> ReleasesReply:
        """Who is released, and the history; raises as ``rank_offers``."""
        return self._ask(lambda: self._http.get("/releases"), ReleasesReply)

    def release(
        self,
        action: str,
        *,
        reason: str,
        model_version: str | None = None,
        percent: float | None = None,
        force: bool = False,
    ) -> ReleaseReply:
        """Take a step: ``shadow``, ``canary``, ``promote`` or ``rollback``; never tried twice.

        Raises:
            ServiceError: 409 where the ledger does not admit it, or another problem.
        """
        order = ReleaseOrder(
            model_version=model_version, percent=percent, reason=reason, force=force
        )
        return self._once(
            lambda: self._post(f"/releases/{action}", order.model_dump_json()), ReleaseReply
        )

    def post(self, path: str, question: BaseModel, reply: type[Reply]) -> Reply:
        """Ask any endpoint whose question may be asked again."""
        body = question.model_dump_json(exclude_unset=True)
        return self._ask(lambda: self._post(path, body), reply)

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _post(self, path: str, body: str) -> httpx.Response:
        return self._http.post(
            path, content=body, headers={**self._headers, "Content-Type": "application/json"}
        )

    def _ask(self, send: Callable[[], httpx.Response], reply: type[Reply]) -> Reply:
        retrying = Retrying(
            stop=stop_after_attempt(self._attempts),
            retry=retry_if_exception(_is_worth_another),
            wait=_pause,
            reraise=True,
        )
        return retrying(self._once, send, reply)

    def _once(self, send: Callable[[], httpx.Response], reply: type[Reply]) -> Reply:
        answer = send()
        if answer.status_code >= _FIRST_ERROR:
            raise ServiceError(_problem(answer), _retry_after(answer))
        return reply.model_validate_json(answer.content)


def _problem(answer: httpx.Response) -> Problem:
    if answer.headers.get("content-type", "").startswith("application/problem+json"):
        return Problem.model_validate_json(answer.content)
    # From something between the service and here.
    return Problem(
        type="about:blank",
        title=answer.reason_phrase,
        status=answer.status_code,
        detail=answer.text[:200],
        remedy="See the log of what answered.",
    )


def _retry_after(answer: httpx.Response) -> float | None:
    said = answer.headers.get("retry-after", "")
    return float(said) if said.isascii() and said.isdigit() else None


def _is_worth_another(error: BaseException) -> bool:
    if isinstance(error, ServiceError):
        return error.problem.status in _AGAIN
    return isinstance(error, httpx.TransportError)


def _pause(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome is not None else None
    if isinstance(error, ServiceError) and error.retry_after is not None:
        return min(error.retry_after, _LONGEST_PAUSE_SECONDS)
    return wait_random_exponential(multiplier=0.1, max=_LONGEST_PAUSE_SECONDS)(state)
