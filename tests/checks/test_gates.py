from __future__ import annotations

import math
from dataclasses import FrozenInstanceError

import pytest

from checks.gates.gate import GateFailedError, require
from checks.gates.ranking import BEATS_GP_TOPFREQ, evaluate_beats_gp_topfreq
from models.evaluation.bootstrap import Interval


def differences(
    estimate: float, low: float, high: float, households: int = 500
) -> dict[str, dict[str, Interval]]:
    interval = Interval(
        estimate=estimate, low=low, high=high, confidence=0.95, events=900, households=households
    )
    return {"gp_topfreq": {"ndcg@10": interval}}


def test_an_interval_above_zero_passes() -> None:
    result = evaluate_beats_gp_topfreq(differences(0.02, 0.01, 0.03))
    assert (result.name, result.passed, result.blocking) == (BEATS_GP_TOPFREQ, True, True)
    assert (result.value, result.threshold) == (0.01, 0.0)
    assert "+0.0200" in result.reason
    assert result.evidence["households"] == 500
    require([result])


@pytest.mark.parametrize(
    ("estimate", "low", "high"),
    [(0.02, -0.001, 0.041), (0.0, 0.0, 0.0), (0.02, 0.0, 0.04), (-0.02, -0.03, -0.01)],
)
def test_an_interval_that_touches_zero_blocks(estimate: float, low: float, high: float) -> None:
    result = evaluate_beats_gp_topfreq(differences(estimate, low, high))
    assert not result.passed
    with pytest.raises(GateFailedError, match=BEATS_GP_TOPFREQ):
        require([result])


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_figure_that_is_no_number_blocks(place: int, bad: float) -> None:
    figures = [0.02, 0.01, 0.03]
    figures[place] = bad
    result = evaluate_beats_gp_topfreq(differences(*figures))
    assert not result.passed
    assert result.value is None
    assert "not a number" in result.reason


@pytest.mark.parametrize("missing", [{}, {"gp_topfreq": {}}, {"g_topfreq": {"ndcg@10": None}}])
def test_a_missing_comparison_blocks(missing: dict) -> None:
    result = evaluate_beats_gp_topfreq(missing)
    assert not result.passed
    assert "there is no ndcg@10 difference" in result.reason
    with pytest.raises(GateFailedError, match="rank the held-out weeks with that baseline"):
        require([result])


def test_too_few_households_block() -> None:
    result = evaluate_beats_gp_topfreq(differences(0.02, 0.01, 0.03, households=29))
    assert not result.passed
    assert "only 29 households" in result.reason


def test_a_gate_that_does_not_block_lets_through() -> None:
    require([evaluate_beats_gp_topfreq(differences(-1.0, -2.0, -0.5), blocking=False)])


def test_a_verdict_cannot_be_changed() -> None:
    result = evaluate_beats_gp_topfreq(differences(-1.0, -2.0, -0.5))
    with pytest.raises(FrozenInstanceError):
        result.passed = True  # type: ignore[misc]
