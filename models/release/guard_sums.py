"""The sums of the guard: evidence that adds up, and what answers are held against."""

from __future__ import annotations

import math

# A fault is at least this many times what the live model has: otherwise nobody is at fault.
_TIMES_LIVE = 3.0
_MOST = 0.95
# Of the normal distribution, for the logarithm of latencies.
_Z95 = 1.645
# A fault of everybody shows in the live model's last few answers; its long average is too slow.
_FAST = 1.0 / 15
# Clipped here before the logarithm, in milliseconds.
_LEAST_MS = 1e-3


class Counter:
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


class Reference:
    """Latencies and best scores of answers that others are held against."""

    __slots__ = ("answers", "log_mean", "log_variance", "mean", "memory", "scores", "squares")

    def __init__(self, memory: int) -> None:
        self.memory = memory
        self.answers = self.scores = 0
        # Running mean and variance of the logarithm of latencies.
        self.log_mean = self.log_variance = 0.0
        # Welford's running mean and squares of best scores.
        self.mean = self.squares = 0.0

    def latencies(self) -> Reference:
        """The same latencies, and no scores."""
        made = Reference(self.memory)
        made.answers = self.answers
        made.log_mean, made.log_variance = self.log_mean, self.log_variance
        return made

    def took(self, latency_ms: float) -> None:
        self.answers += 1
        step = max(1.0 / self.memory, 1.0 / self.answers)
        off = math.log(max(latency_ms, _LEAST_MS)) - self.log_mean
        self.log_mean += step * off
        self.log_variance += step * ((1.0 - step) * off * off - self.log_variance)

    def scored(self, top_score: float) -> None:
        self.scores += 1
        gap = top_score - self.mean
        self.mean += gap / self.scores
        self.squares += gap * (top_score - self.mean)

    def p95_ms(self) -> float:
        return math.exp(self.log_mean + _Z95 * math.sqrt(self.log_variance))

    def spread(self) -> float:
        return math.sqrt(self.squares / (self.scores - 1))
