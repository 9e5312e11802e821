"""A feature set's hash is stable, and its version follows its values."""

from __future__ import annotations

import hashlib

import pytest

from models.features import FEATURE_SETS, combined_hash, feature_set_hash
from tests.models.features.tiny_marts import MONDAY, Marts, collected


def test_hash_depends_on_names_order_and_version() -> None:
    hashes = {
        feature_set_hash(["a", "b"], version=1),
        feature_set_hash(["b", "a"], version=1),
        feature_set_hash(["a", "b"], version=2),
        feature_set_hash(["ab"], version=1),
    }
    assert len(hashes) == 4


def test_hash_is_the_same_in_every_process() -> None:
    assert feature_set_hash(["a", "b"], version=1) == "857ee1a194ac6e90"


def test_sets_differ_and_combine() -> None:
    sets = list(FEATURE_SETS.values())
    assert len({s.hash for s in sets}) == len(sets)
    assert combined_hash(sets) != combined_hash(sets[:-1])


# Digest of each set's values on the hand-written marts. A change here is a change of meaning:
# raise the set's version and put the new digest beside it.
VALUES = {
    ("household", 1): "6cc3575fe1699128",
    ("product", 1): "1fb2bb84cd6d02dc",
    ("store", 1): "3da735cf532e4123",
    ("household_product", 2): "fdb3fb6fc1422fa1",
    ("household_store", 1): "82fb50d7e5f37442",
    ("household_type", 1): "6b13c4db58e80eeb",
    ("store_product", 1): "0d279944f0f2bdc6",
}


@pytest.mark.parametrize("name", list(FEATURE_SETS))
def test_changed_values_need_a_new_version(name: str, marts: Marts) -> None:
    text = collected(name, marts, [MONDAY]).write_csv(float_precision=6)
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    assert digest == VALUES[name, FEATURE_SETS[name].version]
