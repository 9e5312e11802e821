from __future__ import annotations

from benchmarks.actions import full_chain, random_instances
from benchmarks.actions_markets import chain, instance
from models.actions.plan import plan


def test_small_instances_break_nothing() -> None:
    found = random_instances(25, seed=7)
    assert (found["instances"], found["violations"]) == (25, 0)
    assert found["widest_gap"] <= 0.003


def test_a_chain_is_planned_within_its_limits() -> None:
    found = full_chain(stores=6, products=30, seed=1)
    for name in ("defaults", "wide_store_limits"):
        assert found[name]["violations"] == 0
        assert found[name]["gap"] <= 0.003
        assert found[name]["actions"] > 0


def test_deterministic_by_seed() -> None:
    assert chain(stores=3, products=5, seed=4).equals(chain(stores=3, products=5, seed=4))
    one, other = (plan(*instance(5)).rows for _ in range(2))
    assert one.equals(other)
