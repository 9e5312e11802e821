"""What past releases would have met under another gate, before the gate is changed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from models.release.ledger import State

Side = Literal["at_least", "at_most"]


@dataclass(frozen=True)
class Judged:
    """A model that met the gates once.

    Attributes:
        model_version: Which.
        at: When, naive UTC.
        gates: As recorded: name, passed, blocking, value, threshold, reason.
        override: Who forced it past a failed gate and why, if anybody did.
        became: Its state in the ledger now; ``None`` if it never entered.
    """

    model_version: str
    at: datetime
    gates: Sequence[Mapping[str, Any]]
    override: Mapping[str, str] | None = None
    became: State | None = None


@dataclass(frozen=True)
class Replay:
    """One past decision beside the one the changed gates give.

    Attributes:
        judged: The model.
        then: Whether the gates let it pass, without an override.
        now: Whether they would.
        because: Gates whose verdict changes, in words.
        unknown: Changed gates that were not recorded for it: they are taken as they were.
    """

    judged: Judged
    then: bool
    now: bool
    because: tuple[str, ...]
    unknown: tuple[str, ...]

    @property
    def differs(self) -> bool:
        """Whether the decision would be another one."""
        return self.then != self.now


def replay(
    past: Sequence[Judged], *, changed: Mapping[str, float], sides: Mapping[str, Side]
) -> list[Replay]:
    """Meet the gates again with other thresholds.

    A recorded value is held against the new threshold. A gate whose old verdict is not what its
    value and old threshold say was decided by something else, and keeps its verdict.

    Args:
        past: Oldest first.
        changed: Gate to its new threshold.
        sides: Gate to the side of its threshold on which a model passes.

    Raises:
        ValueError: A gate is unknown or a threshold is no number.
    """
    for name, threshold in changed.items():
        if name not in sides:
            raise ValueError(
                f"gate {name!r} has no threshold that can be changed; those that have one: "
                f"{', '.join(sorted(sides))}"
            )
        if not math.isfinite(threshold):
            raise ValueError(f"gate {name!r}: {threshold} is no threshold; give a finite number")
    return [_replayed(judged, changed, sides) for judged in past]


def summary(replays: Sequence[Replay]) -> str:
    """The outcome in a sentence."""
    stopped = [r for r in replays if r.then and not r.now]
    let_in = [r for r in replays if r.now and not r.then]
    if not replays:
        return "No model has met the gates yet, so there is nothing to replay."
    if not stopped and not let_in:
        return f"None of {len(replays)} past decisions would differ."
    bad = sum(r.judged.became == "rolled_back" for r in stopped)
    live = sum(r.judged.became == "live" for r in stopped)
    return (
        f"{len(stopped) + len(let_in)} of {len(replays)} past decisions would differ: "
        f"{len(stopped)} stopped ({bad} of them rolled back later, {live} live now), "
        f"{len(let_in)} let in."
    )


def _replayed(judged: Judged, changed: Mapping[str, float], sides: Mapping[str, Side]) -> Replay:
    known = {gate["name"] for gate in judged.gates}
    now, because = True, []
    for gate in judged.gates:
        passed = bool(gate["passed"])
        if gate["name"] in changed:
            after = _passes(gate, changed[gate["name"]], sides[gate["name"]])
            if after != passed:
                because.append(
                    f"{gate['name']} {gate['value']:.4g} "
                    f"{'passes' if after else 'fails'} at {changed[gate['name']]:g} "
                    f"(was {gate['threshold']:g})"
                )
            passed = after
        now &= passed or not gate["blocking"]
    return Replay(
        judged=judged,
        then=all(g["passed"] or not g["blocking"] for g in judged.gates),
        now=now,
        because=tuple(because),
        unknown=tuple(sorted(set(changed) - known)),
    )


def _passes(gate: Mapping[str, Any], threshold: float, side: Side) -> bool:
    value = gate["value"]
    if value is None:
        # Nothing was measured: it passed or failed for want of anything to compare.
        return bool(gate["passed"])
    if bool(gate["passed"]) != _good(value, gate["threshold"], side):
        # Decided by something beside the threshold, which another threshold does not change.
        return bool(gate["passed"])
    return _good(value, threshold, side)


def _good(value: float, threshold: float, side: Side) -> bool:
    return value >= threshold if side == "at_least" else value <= threshold
