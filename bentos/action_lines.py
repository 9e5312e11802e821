"""What the decision log keeps of answers about actions."""

from __future__ import annotations

import time
import uuid
from typing import Any

from bentos.clock import utc_now


def decision_line(
    kind: str, reply: dict[str, Any], *, started: float, **asked: Any
) -> dict[str, Any]:
    """What the decision log keeps of an answer: what was told and by what, not the words.

    Args:
        kind: ``recommend_actions`` or ``what_if``.
        reply: The answer.
        started: ``time.perf_counter()`` when the request came.
        asked: Of the request what the answer does not repeat.
    """
    told = {
        name: value for name, value in reply.items() if name not in {"actions", "considered"}
    } | {
        part: [
            {n: row[n] for n in ("product_id", "action", "kind", "cost", "propensity")}
            for row in reply[part]
        ]
        for part in ("actions", "considered")
        if part in reply
    }
    return {
        "kind": kind,
        "decided_at": utc_now(),
        "status": 200,
        "error": None,
        **asked,
        **told,
        "latency_ms": round((time.perf_counter() - started) * 1e3, 3),
    }


def failed_line(kind: str, error: Exception, *, started: float, store_id: str) -> dict[str, Any]:
    """A request that failed inside: the caller got a 500."""
    return {
        "kind": kind,
        "request_id": uuid.uuid4().hex,
        "decided_at": utc_now(),
        "status": 500,
        "error": f"{type(error).__name__}: {error}",
        "arm": "live",
        "store_id": store_id,
        "latency_ms": round((time.perf_counter() - started) * 1e3, 3),
    }
