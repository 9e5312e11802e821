"""What a gate answers, and the one way past a gate that fails."""

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

    @property
    def blocks(self) -> bool:
        """Whether it stops registration."""
        return self.blocking and not self.passed


@dataclass(frozen=True)
class Override:
    """A decision to register in spite of failed gates.

    Attributes:
        reason: Why, for whoever asks later.
        actor: Who decided.

    Raises:
        ValueError: Either is empty.
    """

    reason: str
    actor: str

    def __post_init__(self) -> None:
        for name in ("reason", "actor"):
            if not getattr(self, name).strip():
                raise ValueError(
                    f"a gate override has no {name}; say who forces the release and why"
                )


@dataclass(frozen=True)
class Clearance:
    """Leave to register.

    Attributes:
        results: Every verdict it rests on.
        override: The decision that was needed; ``None`` if every blocking gate passed.
        forced: Names of the gates it overrode.
    """

    results: tuple[GateResult, ...]
    override: Override | None = None
    forced: tuple[str, ...] = ()


def require(results: Iterable[GateResult], *, override: Override | None = None) -> Clearance:
    """Stop unless every blocking gate passed, or somebody answers for those that did not.

    Args:
        results: The verdicts.
        override: Forces the release; recorded in what is returned if it was needed.

    Raises:
        GateFailedError: Names each gate that blocks and why, or that there is no verdict at all.
    """
    verdicts = tuple(results)
    if not verdicts:
        raise GateFailedError("not registered: no gate was evaluated; evaluate the model first")
    blocked = [r for r in verdicts if r.blocks]
    if blocked and override is None:
        raise GateFailedError(
            "not registered: "
            + "; ".join(f"{r.name}: {r.reason}" for r in blocked)
            + ". Improve the model or its data and train again"
        )
    return Clearance(
        results=verdicts,
        override=override if blocked else None,
        forced=tuple(r.name for r in blocked),
    )
