"""The judge: compares a canary with its baseline slice and says promote, roll back or wait.

It knows nothing of routing. It may be asked as often as one likes: each signal spends its own part
of the error once, over all looks together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from models.release.findings import ArmFigures, Found, JudgeSettings, Moments, findings
from models.release.sequences import sample_ratio_p

__all__ = ["ArmFigures", "JudgeSettings", "Moments", "Signal", "Verdict", "judge"]

Decision = Literal["PROMOTE", "ROLLBACK", "INCONCLUSIVE"]


@dataclass(frozen=True)
class Signal:
    """One signal's part in a verdict: harm shown, harm excluded, or neither yet.

    Attributes:
        name: ``errors``, ``empty``, ``slow``, ``latency`` or ``top_score``.
        harm: Whether the canary is surely worse.
        cleared: Whether it is surely not worse by what was declared harmful.
        estimate: Canary against baseline: difference of shares, relative change, or shift.
        low: Lower end of its interval.
        high: Upper end.
        limit: The declared harm.
        reason: In words.
    """

    name: str
    harm: bool
    cleared: bool
    estimate: float
    low: float
    high: float
    limit: float
    reason: str


@dataclass(frozen=True)
class Verdict:
    """What the judge says, and why.

    Attributes:
        decision: PROMOTE, ROLLBACK or INCONCLUSIVE.
        reasons: In words, the weightiest first.
        signals: All of them.
        sample_ratio_p: Of equal slices.
        requests: Arm to how many it answered.
    """

    decision: Decision
    reasons: tuple[str, ...]
    signals: tuple[Signal, ...] = ()
    sample_ratio_p: float = 1.0
    requests: Mapping[str, int] = field(default_factory=dict)

    def evidence(self) -> dict[str, Any]:
        """JSON values for the ledger; ``verdict`` is what a promotion needs."""
        return {
            "verdict": self.decision,
            "reasons": list(self.reasons),
            "signals": {
                s.name: {
                    "harm": s.harm,
                    "cleared": s.cleared,
                    **{k: _json(getattr(s, k)) for k in ("estimate", "low", "high", "limit")},
                }
                for s in self.signals
            },
            "sample_ratio_p": self.sample_ratio_p,
            "requests": dict(self.requests),
        }


def judge(
    canary: ArmFigures[float],
    baseline: ArmFigures[float],
    settings: JudgeSettings | None = None,
) -> Verdict:
    """Compare a canary with its baseline slice.

    Args:
        canary: From ``models.release.figures``.
        baseline: Likewise, over the same time.
        settings: What counts as harm.

    Returns:
        ROLLBACK if any signal shows harm. PROMOTE if enough was seen, the slices are comparable
        and every signal excludes the harm declared for it. INCONCLUSIVE otherwise.
    """
    settings = settings or JudgeSettings()
    requests = {"canary": int(canary.requests), "baseline": int(baseline.requests)}
    p = float(sample_ratio_p(canary.households, baseline.households))
    signals = tuple(
        _said(name, one, settings) for name, one in findings(canary, baseline, settings).items()
    )
    decision: Decision = "INCONCLUSIVE"
    harmful = tuple(s.reason for s in signals if s.harm)
    open_questions = tuple(s.reason for s in signals if not s.cleared)
    fewest = int(min(canary.units, baseline.units))
    if harmful:
        decision, reasons = "ROLLBACK", harmful
    elif p < settings.sample_ratio_p:
        said = (
            "the slices are not comparable: households in the canary and the baseline are "
            f"{canary.households:,.0f} and {baseline.households:,.0f} (p = {p:.2g})"
        )
        reasons = (said,)
    elif fewest < settings.least_units:
        said = (
            f"too little was seen: {fewest:,} household-days in the smaller slice, "
            f"{settings.least_units:,} are needed"
        )
        reasons = (said,)
    elif open_questions:
        reasons = open_questions
    else:
        decision, reasons = "PROMOTE", tuple(s.reason for s in signals)
    return Verdict(
        decision=decision,
        reasons=reasons,
        signals=signals,
        sample_ratio_p=p,
        requests=requests,
    )


_WORDS: Mapping[str, tuple[str, str]] = {
    "errors": ("failed answers", "percentage points"),
    "empty": ("empty answers", "percentage points"),
    "slow": ("answers over the time budget", "percentage points"),
    "latency": ("latency", "%"),
    "top_score": ("best score", "standard deviations"),
}


def _said(name: str, found: Found, settings: JudgeSettings) -> Signal:
    estimate, low, high = (float(x) for x in (found.estimate, found.low, found.high))
    limit = {"latency": settings.latency_harm, "top_score": settings.score_harm or 0.0}.get(
        name, getattr(getattr(settings, name, None), "harm", 0.0)
    )
    what, unit = _WORDS[name]
    scale = 1.0 if name == "top_score" else 100.0
    harm, cleared = bool(found.harm), bool(found.cleared)
    so = (
        "harm"
        if harm
        else f"surely below {scale * limit:g}"
        if cleared
        else f"{scale * limit:g} cannot be excluded yet"
    )
    interval = (
        f"{scale * low:+.2f} to {scale * high:+.2f}"
        if math.isfinite(low) and math.isfinite(high)
        else "unknown"
    )
    return Signal(
        name=name,
        harm=harm,
        cleared=cleared,
        estimate=estimate,
        low=low,
        high=high,
        limit=limit,
        reason=f"{what} {scale * estimate:+.2f} {unit} (interval {interval}): {so}",
    )


def _json(value: float) -> float | None:
    return value if math.isfinite(value) else None
