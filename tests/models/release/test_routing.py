"""Slices are stable, equal, and grow without moving anybody between canary and baseline."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.release.routing import arm_of, position
from models.release.transitions import RAMP

HOUSEHOLDS = [f"household-{n}" for n in range(20_000)]


def test_a_known_household_keeps_its_place() -> None:
    # SHA-256 of "v1\\0h1", first eight bytes over 2**64.
    assert position("h1", salt="v1") == pytest.approx(57.02418282325714)
    assert position("h1", salt="v2") != position("h1", salt="v1")


@pytest.mark.parametrize("percent", [1.0, 5.0, 25.0, 50.0])
def test_slices_are_as_large_as_asked(percent: float) -> None:
    counts = Counter(arm_of(h, salt="model", percent=percent) for h in HOUSEHOLDS)
    expected = len(HOUSEHOLDS) * percent / 100
    for arm in ("canary", "baseline"):
        assert abs(counts[arm] - expected) < 4 * expected**0.5


def test_at_the_ends_of_the_ramp() -> None:
    for percent, arm in ((0.0, "live"), (100.0, "canary")):
        assert {arm_of(h, salt="s", percent=percent) for h in HOUSEHOLDS[:500]} == {arm}


@given(st.text(max_size=40), st.text(max_size=20))
def test_a_growing_canary_moves_nobody_out_of_canary_or_baseline(household, salt) -> None:
    arms = [arm_of(household, salt=salt, percent=p) for p in RAMP]
    for before, after in pairwise(arms):
        if before == "canary":
            assert after == "canary"
        if before == "baseline":
            # At 100 % there is no baseline.
            assert after in {"baseline", "canary"}
    assert arms[-2] != "live"
    assert ("canary" in arms[:4]) + ("baseline" in arms[:4]) == 1


@pytest.mark.parametrize("percent", [-0.1, 100.1])
def test_a_share_is_a_share(percent: float) -> None:
    with pytest.raises(ValueError, match="0 to 100"):
        arm_of("h", salt="s", percent=percent)
