"""When a model is trained again: by the calendar or by drift, never before labels have matured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Literal

from models.release.drift import DRIFTED

Trigger = Literal["cadence", "drift"]


@dataclass(frozen=True)
class RetrainingPolicy:
    """When to train again.

    Attributes:
        cadence_weeks: Matured weeks the last training has not seen, after which a new one is due.
        drift_psi: Population stability index from which a feature has drifted.
        drifted_features: As many drifted features are a reason to train sooner.
        least_new_weeks: Newly matured weeks below which training again would only see the same
            labels, whatever has drifted.
    """

    cadence_weeks: int = 4
    drift_psi: float = DRIFTED
    drifted_features: int = 3
    least_new_weeks: int = 1


@dataclass(frozen=True)
class RetrainingDecision:
    """What the policy says.

    Attributes:
        retrain: Whether to train now.
        trigger: What asked for it.
        reason: In words, also when nothing is due.
        key: The same for the same situation, so that one training is asked for once.
        drifted: Drifted features and their index, the worst first.
    """

    retrain: bool
    trigger: Trigger | None
    reason: str
    key: str
    drifted: Mapping[str, float]


def decide(
    policy: RetrainingPolicy,
    *,
    trained_until: date | None,
    matured_until: date,
    drift: Mapping[str, float],
) -> RetrainingDecision:
    """Is a training due?

    Args:
        policy: When to train again.
        trained_until: Last as-of week the newest training learned from; ``None`` before any.
        matured_until: Last as-of week whose labels have matured.
        drift: Feature to its population stability index against the training's reference; empty
            where there is none to compare.
    """
    drifted = dict(
        sorted(
            ((name, psi) for name, psi in drift.items() if psi >= policy.drift_psi),
            key=lambda pair: -pair[1],
        )
    )
    key = f"{trained_until}:{matured_until}"
    if trained_until is None:
        return RetrainingDecision(
            retrain=True,
            trigger="cadence",
            reason="no model was trained yet",
            key=key,
            drifted=drifted,
        )
    weeks = (matured_until - trained_until).days // 7
    shown = ", ".join(f"{name} {psi:.2f}" for name, psi in list(drifted.items())[:3])
    if weeks < policy.least_new_weeks:
        waits = f"; {len(drifted)} feature(s) drifted ({shown}) and wait for it" if drifted else ""
        trigger, reason = None, f"no label has matured since the training ({matured_until}){waits}"
    elif len(drifted) >= policy.drifted_features:
        trigger, reason = "drift", f"{len(drifted)} features drifted ({shown})"
    elif weeks >= policy.cadence_weeks:
        trigger, reason = (
            "cadence",
            f"{weeks} weeks have matured since the training, {policy.cadence_weeks} make it due",
        )
    else:
        trigger, reason = None, f"{weeks} of {policy.cadence_weeks} weeks have matured, no drift"
    found: Trigger | None = trigger  # type: ignore[assignment]
    return RetrainingDecision(
        retrain=found is not None, trigger=found, reason=reason, key=key, drifted=drifted
    )
