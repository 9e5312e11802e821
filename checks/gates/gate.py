"""What a gate answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


class GateFailedError(Exception):
    """A blocking gate did not pass, so nothing may be registered."""


@dataclass(frozen=True)
class GateResult:
    """One gate's verdict.

    Attributes:
        name: Of the gate.
        passed: Whether the model may go on as far as this gate is concerned.
        blocking: Whether a failure stops registration.
        value: What was measured; ``None`` if it could not be.
        threshold: What ``value`` was held against.
        reason: The verdict in words.
        evidence: The figures behind it, as JSON values.
    """

    name: str
    passed: bool
    blocking: bool
    value: float | None
    threshold: float
    reason: str
    evidence: Mapping[str, Any] = field(default_factory=dict)


def require(results: Iterable[GateResult]) -> None:
    """Stop unless every blocking gate passed.

    Raises:
        GateFailedError: Names each gate that blocks and why.
    """
    blocked = [r for r in results if r.blocking and not r.passed]
    if blocked:
        raise GateFailedError(
            "not registered: "
            + "; ".join(f"{r.name}: {r.reason}" for r in blocked)
            + ". Improve the model or its data and train again"
        )
