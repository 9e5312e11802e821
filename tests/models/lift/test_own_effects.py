"""Pooling: the spread that makes the data most likely, by its gradient and by drawn effects."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.lift import own_effects
from models.lift.own_effects import Information, pooling

TERMS = 3
TIMING_SPREAD = 0.1


def precisions(rng: np.random.Generator, products: int, scale: float) -> np.ndarray:
    root = rng.normal(size=(products, TERMS, TERMS))
    return scale * (root @ np.swapaxes(root, 1, 2) + 0.1 * np.eye(TERMS))


def drawn(seed: int, *, products: int, mean: np.ndarray, spread: np.ndarray) -> Information:
    """What products would say whose effects are drawn from a distribution."""
    rng = np.random.default_rng(seed)
    effects = mean + spread * rng.normal(size=(products, TERMS))
    within, between = precisions(rng, products, 20.0), precisions(rng, products, 5.0)

    def weighted(precision: np.ndarray) -> np.ndarray:
        noise = np.linalg.cholesky(precision) @ rng.normal(size=(products, TERMS, 1))
        return np.einsum("pij,pj->pi", precision, effects) + noise[:, :, 0]

    return Information(within, weighted(within), between, weighted(between))


def start(spread: float = 0.3) -> np.ndarray:
    return np.full(TERMS, spread)


@given(st.integers(0, 1_000), st.lists(st.floats(0.05, 2.0), min_size=TERMS, max_size=TERMS))
@settings(max_examples=25)
def test_the_gradient_is_that_of_the_likelihood(seed: int, spread: list[float]) -> None:
    info = drawn(seed, products=40, mean=np.ones(TERMS), spread=np.full(TERMS, 0.4))
    prior = own_effects._timing_prior(TERMS, TIMING_SPREAD)
    at, step = np.log(spread), 1e-5
    found = own_effects._given_spread(info, np.exp(at), prior).gradient
    for i, move in enumerate(step * np.eye(TERMS)):
        up, down = (
            own_effects._given_spread(info, np.exp(at + m), prior).likelihood for m in (move, -move)
        )
        assert found[i] == pytest.approx((up - down) / (2 * step), abs=1e-5)


def test_the_distribution_the_effects_were_drawn_from_is_found() -> None:
    mean, spread = np.array([0.4, 0.1, 1.5]), np.array([0.3, 0.1, 0.8])
    info = drawn(3, products=4_000, mean=mean, spread=spread)
    found = pooling(info, start=start(), timing_spread=TIMING_SPREAD)
    assert found.mean == pytest.approx(mean, abs=0.05)
    assert found.spread == pytest.approx(spread, abs=0.05)
    assert found.timing == pytest.approx(np.zeros(TERMS), abs=0.03)


def test_where_it_begins_does_not_matter() -> None:
    info = drawn(4, products=300, mean=np.ones(TERMS), spread=np.full(TERMS, 0.4))
    near, far = (pooling(info, start=start(s), timing_spread=TIMING_SPREAD) for s in (0.3, 2.5))
    assert near.spread == pytest.approx(far.spread, rel=1e-3)
    assert near.mean == pytest.approx(far.mean, rel=1e-3)


def test_effects_that_are_all_alike_have_the_least_spread() -> None:
    info = drawn(5, products=300, mean=np.ones(TERMS), spread=np.zeros(TERMS))
    assert pooling(info, start=start(), timing_spread=TIMING_SPREAD).spread.max() < 0.06
