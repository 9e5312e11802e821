"""The guard by hand, on faults, and on a million healthy answers."""

from __future__ import annotations

import math
import random as chance

import numpy as np
import pytest
from scipy.signal import lfilter

from models.release.guard import Breach, Guard, Limits

FINE = {"error": False, "latency_ms": 1.0, "empty": False, "top_score": 0.0}


def warmed(random: chance.Random, requests: int = 1_000) -> Guard:
    guard = Guard()
    for _ in range(requests):
        guard.observe("live", **healthy(random))
    return guard


def healthy(random: chance.Random) -> dict[str, object]:
    return {
        "error": random.random() < 1e-4,
        "latency_ms": math.exp(random.gauss(0.0, 0.3)),
        "empty": random.random() < 0.003,
        "top_score": random.gauss(2.0, 1.0),
    }


def until_breach(guard: Guard, answers, most: int = 3_000) -> Breach:
    for _ in range(most):
        guard.observe("canary", **answers())
        found = guard.breach()
        if found is not None:
            return found
    raise AssertionError(f"no breach in {most} answers")


def test_errors_add_up_as_the_log_likelihood_ratio() -> None:
    guard = Guard(Limits(evidence=math.log(1e8)))
    # log(.05 / .0001) = 6.21 each: three are 18.6, above 18.4.
    for expected in (None, None, "errors"):
        guard.observe("canary", **FINE | {"error": True})
        found = guard.breach()
        assert (found.signal if found else None) == expected
    assert found is not None
    assert (found.observed, found.limit, found.requests) == (1.0, 1e-4, 3)
    assert "3 of the canary's last 3 answers failed" in found.reason


def test_a_million_healthy_answers_give_no_breach() -> None:
    n = 1_000_000
    random = np.random.default_rng(5)
    # Latency is autocorrelated and has a heavy tail; the canary's scores lie elsewhere.
    level = lfilter([1.0], [1.0, -0.98], random.normal(0.0, 0.06, n))
    stalls = np.where(random.random(n) < 0.002, 1.0 + random.pareto(1.1, n), 1.0)
    guard = warmed(chance.Random(5))  # noqa: S311
    for arm, error, latency, empty, score in zip(
        ["live", "canary"] * (n // 2),
        (random.random(n) < 1e-4).tolist(),
        (np.exp(level) * stalls).tolist(),
        (random.random(n) < 0.003).tolist(),
        (random.normal(2.0, 1.0, n) + 0.5 * (np.arange(n) % 2)).tolist(),
        strict=True,
    ):
        guard.observe(arm, error=error, latency_ms=latency, empty=empty, top_score=score)
    assert guard.breach() is None


@pytest.mark.parametrize(
    ("signal", "fault", "typical"),
    [
        ("errors", {"error": lambda r: r.random() < 0.05}, 100),
        ("errors", {"error": lambda _: True}, 3),
        ("errors", {"top_score": lambda _: math.nan}, 3),
        ("latency", {"latency_ms": lambda r: 4 * math.exp(r.gauss(0.0, 0.3))}, 15),
        ("empty", {"empty": lambda r: r.random() < 0.3}, 30),
        ("top_score", {"top_score": lambda r: r.gauss(-4.0, 1.0)}, 10),
    ],
)
def test_faults_are_caught_within_few_requests(signal: str, fault, typical: int) -> None:
    needed = []
    for seed in range(25):
        random = chance.Random(seed)  # noqa: S311
        guard = warmed(random)
        found = until_breach(
            guard,
            lambda random=random: (
                healthy(random) | {name: draw(random) for name, draw in fault.items()}
            ),
        )
        assert found.signal == signal
        needed.append(found.requests)
    assert sorted(needed)[12] <= typical


def test_what_the_live_model_suffers_too_is_not_the_canarys_fault() -> None:
    random = chance.Random(3)  # noqa: S311
    guard = warmed(random)
    for n in range(20_000):
        guard.observe("canary" if n % 2 else "live", **healthy(random) | {"error": n % 10 < 2})
    assert guard.breach() is None


def test_a_shadow_is_ignored_and_a_reset_forgets_the_canary_only() -> None:
    guard = Guard()
    for _ in range(100):
        guard.observe("shadow", **FINE | {"error": True})
    assert guard.breach() is None
    for _ in range(3):
        guard.observe("canary", **FINE | {"error": True})
    assert guard.breach() is not None
    guard.observe("canary", **FINE)
    assert guard.breach().requests == 3
    guard.reset()
    assert guard.breach() is None


def alone(random: chance.Random, requests: int = 1_000) -> Guard:
    """Of a model that nobody answers beside: a live one, or a canary of everybody."""
    guard = Guard()
    for _ in range(requests):
        guard.observe("canary", **healthy(random))
    assert guard.breach() is None
    return guard


def test_a_million_healthy_answers_alone_give_no_breach() -> None:
    n = 1_000_000
    random = np.random.default_rng(6)
    level = lfilter([1.0], [1.0, -0.98], random.normal(0.0, 0.06, n))
    stalls = np.where(random.random(n) < 0.002, 1.0 + random.pareto(1.1, n), 1.0)
    guard = Guard()
    for error, latency, empty, score in zip(
        (random.random(n) < 1e-4).tolist(),
        (20.0 * np.exp(level) * stalls).tolist(),
        (random.random(n) < 0.003).tolist(),
        random.normal(2.0, 1.0, n).tolist(),
        strict=True,
    ):
        guard.observe("canary", error=error, latency_ms=latency, empty=empty, top_score=score)
    assert guard.breach() is None


@pytest.mark.parametrize(
    ("signal", "fault", "typical"),
    [
        ("latency", {"latency_ms": lambda _: 90.0}, 10),
        ("top_score", {"top_score": lambda r: r.gauss(9.0, 1.0)}, 10),
        ("top_score", {"top_score": lambda r: r.gauss(-5.0, 1.0)}, 10),
    ],
)
def test_a_model_alone_is_held_against_its_own_first_answers(
    signal: str, fault, typical: int
) -> None:
    random = chance.Random(8)  # noqa: S311
    guard = alone(random)
    found = until_breach(
        guard, lambda: healthy(random) | {name: draw(random) for name, draw in fault.items()}
    )
    assert found.signal == signal
    assert found.requests <= 1_000 + typical
    assert signal == "latency" or "its own first ones" in found.reason


def test_one_household_asked_over_and_over_is_no_measure_of_the_others() -> None:
    random = chance.Random(9)  # noqa: S311
    guard = Guard()
    for _ in range(5_000):
        guard.observe("canary", **healthy(random) | {"top_score": 2.0})
    for _ in range(1_000):
        guard.observe("canary", **healthy(random) | {"top_score": random.gauss(9.0, 1.0)})
    assert guard.breach() is None


def test_who_follows_is_held_against_the_latencies_before_and_its_own_scores() -> None:
    random = chance.Random(10)  # noqa: S311
    heir = alone(random).heir()
    for _ in range(1_000):
        heir.observe("canary", **healthy(random) | {"top_score": random.gauss(1e6, 1.0)})
    assert heir.breach() is None
    slow = alone(random).heir()
    assert until_breach(slow, lambda: healthy(random) | {"latency_ms": 90.0}).requests <= 10
