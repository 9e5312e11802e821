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
# A fault is at least this many times what the live model has: otherwise nobody is at fault.
_TIMES_LIVE = 3.0
_MOST = 0.95
# Best scores beyond this many standard deviations count as this many: one freak is no fault.
_FARTHEST = 8.0
# Of the normal distribution, for the logarithm of latencies.
_Z95 = 1.645
# A fault of everybody shows in the live model's last few answers; its long average is too slow.
_FAST = 1.0 / 15
# Clipped here before the logarithm, in milliseconds.
_LEAST_MS = 1e-3


class _Counter:
    """A CUSUM of yes and no, against the live model's share."""

    __slots__ = ("bad", "fast", "fault", "floor", "healthy", "keep", "since", "sum")

    def __init__(self, *, fault: float, healthy: float, memory: int) -> None:
        self.fault = fault
        self.floor = self.fast = self.healthy = healthy
        self.keep = 1.0 / memory
        self.sum = 0.0
        self.bad = self.since = 0

    def refer(self, *, bad: bool) -> None:
        self.healthy += self.keep * (bad - self.healthy)
        self.fast += _FAST * (bad - self.fast)

    def level(self) -> float:
        """The live model's share, whichever of its averages excuses more."""
        return min(max(self.healthy, self.fast, self.floor), _MOST / 2)

    def add(self, *, bad: bool) -> float:
        if not bad and self.sum <= 0.0:
            # The usual case: nothing to forget.
            return 0.0
        healthy = self.level()
        fault = min(max(self.fault, _TIMES_LIVE * healthy), _MOST)
        share = fault / healthy if bad else (1.0 - fault) / (1.0 - healthy)
        self.sum += math.log(share)
        if self.sum <= 0.0:
            self.sum = 0.0
            self.bad = self.since = 0
        else:
            self.bad += bad
            self.since += 1
        return self.sum

    def reset(self) -> None:
        self.sum = 0.0
        self.bad = self.since = 0


class Guard:
    """Watches one canary; another one gets ``reset()`` or a guard of its own."""

    def __init__(self, limits: Limits | None = None) -> None:
        limits = limits or Limits()
        self.limits = limits
        self._errors = _Counter(
            fault=limits.error_share, healthy=limits.healthy_errors, memory=limits.memory
        )
        self._slow = _Counter(fault=limits.slow_share, healthy=_SLOW_TAIL, memory=limits.memory)
        self._empty = _Counter(
            fault=limits.empty_share, healthy=limits.healthy_empty, memory=limits.memory
        )
        self._references = 0
        # Running mean and variance of the logarithm of the live model's latencies.
        self._log_mean = self._log_variance = 0.0
        # Welford's running mean and squares of the live model's best scores.
        self._scores = 0
        self._mean = self._squares = 0.0
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
        self._requests = 0
        self._breach = None

    def _refer(
        self, *, error: bool, latency_ms: float, empty: bool, top_score: float | None
    ) -> None:
        self._errors.refer(bad=error)
        if error:
            return
        self._references += 1
        self._slow.refer(bad=latency_ms > self._slow_ms)
        step = max(1.0 / self.limits.memory, 1.0 / self._references)
        off = math.log(max(latency_ms, _LEAST_MS)) - self._log_mean
        self._log_mean += step * off
        self._log_variance += step * ((1.0 - step) * off * off - self._log_variance)
        self._empty.refer(bad=empty)
        if top_score is not None and math.isfinite(top_score):
            self._scores += 1
            gap = top_score - self._mean
            self._mean += gap / self._scores
            self._squares += gap * (top_score - self._mean)

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

    @property
    def _slow_ms(self) -> float:
        limits = self.limits
        if self._references < limits.reference:
            return limits.slow_ms
        p95 = math.exp(self._log_mean + _Z95 * math.sqrt(self._log_variance))
        return limits.slow_factor * p95

    def _count(self, signal: Signal, counter: _Counter, said: str) -> None:
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
        if self._scores < limits.reference:
            return
        spread = math.sqrt(self._squares / (self._scores - 1))
        if spread <= 0.0:
            return
        off = min(max((score - self._mean) / spread, -_FARTHEST), _FARTHEST)
        self._above = max(0.0, self._above + off - limits.score_shift)
        self._below = max(0.0, self._below - off - limits.score_shift)
        if max(self._above, self._below) >= limits.score_evidence:
            self._found(
                "top_score",
                observed=score,
                limit=self._mean + math.copysign(limits.score_shift * spread, off),
                reason=f"the canary's best scores, lately {score:.3g}, are more than "
                f"{limits.score_shift:g} standard deviations from the live model's "
                f"{self._mean:.3g}",
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
