"""The guard: sees every answer while a canary runs, and says at once when the canary must go.

Four sequential tests, each a CUSUM (Page, Biometrika 1954): errors, slow answers, empty answers,
and the level of the best score. Each adds up evidence that the canary is at its fault level rather
than at the level the live model has at the same time, and forgets evidence against. For counts the
mean number of healthy answers between two false alarms is at least exp(``evidence``) (Lorden, Ann.
Math. Stat. 1971) while answers are independent. An observation costs a few additions and
logarithms; nothing is kept but sums.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from models.release.guard_sums import Counter, Reference
from models.release.routing import Arm

Signal = Literal["errors", "latency", "empty", "top_score"]


@dataclass(frozen=True)
class Limits:
    """What the guard tolerates.

    Attributes:
        evidence: Log of the mean number of healthy answers between false alarms, per signal.
        error_share: Share of failed answers that is a fault.
        healthy_errors: Share that is healthy even if the live model has none.
        slow_share: Share of slow answers that is a fault.
        slow_factor: Slower than this times the live model's 95th percentile is slow.
        slow_ms: What is slow before the live model has answered ``reference`` times.
        empty_share: Share of answers without offers that is a fault.
        healthy_empty: Share that is healthy even if the live model has none.
        score_shift: Standard deviations of the live model's best scores by which the canary's may
            differ: another model has another scale, a broken one is far outside.
        score_evidence: Summed excess over ``score_shift``, in standard deviations, that is a fault.
        reference: Answers of the live model before its figures are used.
        memory: Answers over which the live model's shares are averaged.
        alone_factor: As ``slow_factor``, for a model held against its own first answers: nothing
            tells its fault from everybody's, so more is tolerated.
        alone_ms: Such a model is not slow below this.
    """

    evidence: float = math.log(1e8)
    error_share: float = 0.05
    healthy_errors: float = 1e-4
    slow_share: float = 0.5
    slow_factor: float = 2.0
    slow_ms: float = 100.0
    empty_share: float = 0.25
    healthy_empty: float = 0.005
    score_shift: float = 2.5
    score_evidence: float = 15.0
    reference: int = 200
    memory: int = 300
    alone_factor: float = 5.0
    alone_ms: float = 25.0


@dataclass(frozen=True)
class Breach:
    """Why the canary must go.

    Attributes:
        signal: Which of the four.
        observed: The canary's figure since the run of bad answers began.
        limit: The live model's figure at the time, or for latency what counts as slow in ms.
        requests: Answers of the canary until then.
        reason: The same in words.
    """

    signal: Signal
    observed: float
    limit: float
    requests: int
    reason: str


# Healthy slow answers, by the definition of the 95th percentile.
_SLOW_TAIL = 0.05
# Best scores beyond this many standard deviations count as this many: one freak is no fault.
_FARTHEST = 8.0


class Guard:
    """Watches one canary; another one gets ``reset()`` or a guard of its own.

    While no live model has answered ``reference`` times beside it (a live model is watched alone,
    and so is a canary that answers everybody), it is held against itself: its latencies against
    those it had while nothing was amiss, its best scores against the first ``reference`` different
    ones. Errors and empty answers need no reference.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        limits = limits or Limits()
        self.limits = limits
        self._errors = Counter(
            fault=limits.error_share, healthy=limits.healthy_errors, memory=limits.memory
        )
        self._slow = Counter(fault=limits.slow_share, healthy=_SLOW_TAIL, memory=limits.memory)
        self._empty = Counter(
            fault=limits.empty_share, healthy=limits.healthy_empty, memory=limits.memory
        )
        self._live = Reference(limits.memory)
        self._own = Reference(limits.memory)
        # One household asked for over and over is no distribution: each score is learnt once.
        self._learnt: set[float] = set()
        self._above = self._below = 0.0
        self._requests = 0
        self._breach: Breach | None = None

    def observe(
        self, arm: Arm, *, error: bool, latency_ms: float, empty: bool, top_score: float | None
    ) -> None:
        """Take one answer into account.

        Args:
            arm: Who answered; ``live`` and ``baseline`` are what ``canary`` is held against, a
                ``shadow`` is not seen by customers and is ignored.
            error: Whether answering failed.
            latency_ms: Milliseconds; without meaning after an error.
            empty: Whether the answer has no offers.
            top_score: Of the first offer; ``None`` without one. Not a number counts as an error.
        """
        if arm == "canary":
            self._judge(error=error, latency_ms=latency_ms, empty=empty, top_score=top_score)
        elif arm != "shadow":
            self._refer(error=error, latency_ms=latency_ms, empty=empty, top_score=top_score)

    def breach(self) -> Breach | None:
        """The first breach since the start or ``reset()``; ``None`` while the canary is well."""
        return self._breach

    def reset(self) -> None:
        """For the next canary: forgets this one, keeps what is known of the live model."""
        for counter in (self._errors, self._slow, self._empty):
            counter.reset()
        self._above = self._below = 0.0
        self._own = Reference(self.limits.memory)
        self._learnt.clear()
        self._requests = 0
        self._breach = None

    def heir(self) -> Guard:
        """For the model that follows this one: held against its latencies from the first answer.

        Its scores are its own: another model has another scale.
        """
        made = Guard(self.limits)
        made._own = self._own.latencies()
        return made

    def _refer(
        self, *, error: bool, latency_ms: float, empty: bool, top_score: float | None
    ) -> None:
        self._errors.refer(bad=error)
        if error:
            return
        self._slow.refer(bad=latency_ms > self._slow_ms)
        self._live.took(latency_ms)
        self._empty.refer(bad=empty)
        if top_score is not None and math.isfinite(top_score):
            self._live.scored(top_score)

    def _judge(
        self, *, error: bool, latency_ms: float, empty: bool, top_score: float | None
    ) -> None:
        self._requests += 1
        limits = self.limits
        error = error or (top_score is not None and not math.isfinite(top_score))
        if self._errors.add(bad=error) >= limits.evidence:
            self._count("errors", self._errors, "answers failed")
        if error:
            return
        if self._slow.add(bad=latency_ms > self._slow_ms) >= limits.evidence:
            self._count("latency", self._slow, f"answers took over {self._slow_ms:.1f} ms")
        if self._empty.add(bad=empty) >= limits.evidence:
            self._count("empty", self._empty, "answers had no offers")
        if top_score is not None:
            self._shift(top_score)
        if self._live.answers < limits.reference:
            self._learn(latency_ms, top_score)

    def _learn(self, latency_ms: float, top_score: float | None) -> None:
        """Of the canary itself, unless something is amiss: a fault must not become the measure."""
        if self._errors.sum > 0.0 or self._slow.sum > 0.0 or self._empty.sum > 0.0:
            return
        self._own.took(latency_ms)
        if top_score is None or self._own.scores >= self.limits.reference:
            return
        if top_score not in self._learnt:
            self._learnt.add(top_score)
            self._own.scored(top_score)

    @property
    def _slow_ms(self) -> float:
        limits = self.limits
        if self._live.answers >= limits.reference:
            return limits.slow_factor * self._live.p95_ms()
        if self._own.answers < limits.reference:
            return limits.slow_ms
        p95 = self._own.p95_ms()
        most = max(limits.slow_ms, limits.slow_factor * p95)
        return min(max(limits.alone_factor * p95, limits.alone_ms), most)

    def _count(self, signal: Signal, counter: Counter, said: str) -> None:
        healthy = counter.level()
        self._found(
            signal,
            observed=counter.bad / counter.since,
            limit=self._slow_ms if signal == "latency" else healthy,
            reason=f"{counter.bad} of the canary's last {counter.since} {said}; "
            f"of the live model's {healthy:.2%}",
        )

    def _shift(self, score: float) -> None:
        limits = self.limits
        held, whose = self._live, "the live model's"
        if held.scores < limits.reference:
            held, whose = self._own, "its own first ones',"
        if held.scores < limits.reference:
            return
        spread = held.spread()
        if spread <= 0.0:
            return
        off = min(max((score - held.mean) / spread, -_FARTHEST), _FARTHEST)
        self._above = max(0.0, self._above + off - limits.score_shift)
        self._below = max(0.0, self._below - off - limits.score_shift)
        if max(self._above, self._below) >= limits.score_evidence:
            self._found(
                "top_score",
                observed=score,
                limit=held.mean + math.copysign(limits.score_shift * spread, off),
                reason=f"the canary's best scores, lately {score:.3g}, are more than "
                f"{limits.score_shift:g} standard deviations from {whose} {held.mean:.3g}",
            )

    def _found(self, signal: Signal, *, observed: float, limit: float, reason: str) -> None:
        if self._breach is None:
            self._breach = Breach(
                signal=signal,
                observed=observed,
                limit=limit,
                requests=self._requests,
                reason=reason,
            )
