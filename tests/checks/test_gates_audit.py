"""Each gate on the model by itself, passing and blocking."""

from __future__ import annotations

import math
from dataclasses import replace

import polars as pl
import pytest

from checks.gates import ranking_audit as gates
from checks.gates.gate import GateFailedError, GateResult, require
from models.evaluation.bootstrap import Interval
from models.evaluation.calibration import Calibration
from models.evaluation.fairness import GroupGap
from models.evaluation.leakage import LeakageProbe
from models.evaluation.slices import Slice

CALIBRATED = Calibration(
    offers=9000,
    households=900,
    ece=0.01,
    slope=1.02,
    slope_low=0.98,
    slope_high=1.06,
    intercept=0.0,
    mean_probability=0.12,
    mean_outcome=0.12,
    bins=pl.DataFrame(),
)
HONEST = LeakageProbe(
    events=1000,
    ndcg=0.43,
    shuffled_ndcg=0.092,
    chance_ndcg=0.091,
    shuffled_error=0.002,
    strongest_feature="hp_baskets_364d",
    strongest_auc=0.78,
)


def blocked(result: GateResult) -> bool:
    if result.passed:
        require([result])
        return False
    with pytest.raises(GateFailedError, match=result.name):
        require([result])
    return True


def part(high: float, *, events: int = 900, name: str = "one") -> Slice:
    interval = Interval(
        estimate=high - 0.01,
        low=high - 0.02,
        high=high,
        confidence=0.99,
        events=events,
        households=events // 2,
    )
    return Slice("tenure", name, events, events // 2, 5 * events, {}, interval)


def gap(ratio: float, habit: float, *, groups: int = 2) -> GroupGap:
    table = pl.DataFrame({"compared": [True] * groups}, schema={"compared": pl.Boolean})
    return GroupGap("age", table, 0.1, ratio, habit, 0.0, 0.0)


def test_calibrated_probabilities_pass() -> None:
    result = gates.evaluate_calibration_gate(CALIBRATED)
    assert not blocked(result)
    assert (result.value, result.threshold) == (0.01, 0.03)


@pytest.mark.parametrize("slope", [0.9, 1.1])
def test_the_slope_may_reach_its_bounds(slope: float) -> None:
    assert gates.evaluate_calibration_gate(replace(CALIBRATED, slope=slope)).passed


@pytest.mark.parametrize(
    "wrong",
    [{"slope": 0.89}, {"slope": 1.11}, {"slope": math.nan}, {"ece": 0.031}, {"ece": math.nan}],
)
def test_probabilities_that_do_not_hold_block(wrong: dict[str, float]) -> None:
    assert blocked(gates.evaluate_calibration_gate(replace(CALIBRATED, **wrong)))


def test_a_model_without_probabilities_blocks() -> None:
    result = gates.evaluate_calibration_gate(None)
    assert blocked(result)
    assert "gives no probabilities" in result.reason


def test_slices_that_do_not_fall_pass() -> None:
    assert not blocked(gates.evaluate_slice_regressions([part(0.01), part(0.0)]))


def test_a_large_slice_that_falls_blocks() -> None:
    result = gates.evaluate_slice_regressions([part(0.01), part(-0.001, name="new")])
    assert blocked(result)
    assert "tenure: new" in result.reason
    assert result.value == -0.001


def test_a_small_slice_that_falls_does_not() -> None:
    small = part(-0.01, events=gates.MIN_SLICE_EVENTS - 1)
    assert gates.evaluate_slice_regressions([small]).passed
    assert gates.evaluate_slice_regressions([small, part(0.01)]).passed
    assert not gates.evaluate_slice_regressions([replace(small, events=300)]).passed


def test_a_slice_without_a_figure_blocks() -> None:
    assert blocked(gates.evaluate_slice_regressions([part(0.1), part(math.nan)]))
    assert blocked(gates.evaluate_slice_regressions([]))


@pytest.mark.parametrize(
    ("ratio", "habit", "passed"),
    [
        (0.8, 1.0, True),
        (0.79, 1.0, False),
        (0.45, 0.45, True),
        (0.44, 0.45, True),
        (0.42, 0.45, False),
        (math.nan, 0.9, False),
    ],
)
def test_a_gap_wider_than_four_fifths_and_than_habit_blocks(
    ratio: float, habit: float, passed: bool
) -> None:
    result = gates.evaluate_fairness([gap(0.99, 0.99), gap(ratio, habit)])
    assert blocked(result) != passed
    assert ("wider than allowed" in result.reason) != passed


def test_groups_too_small_to_compare_pass_and_say_so() -> None:
    result = gates.evaluate_fairness([gap(0.1, 1.0, groups=1)])
    assert result.passed
    assert "no attribute has two groups" in result.reason


@pytest.mark.parametrize(("recall", "passed"), [(0.30, True), (0.29, False), (math.nan, False)])
def test_candidates_that_hold_too_little_block(recall: float, passed: bool) -> None:
    result = gates.evaluate_candidate_recall({"personal": 0.2, "union": recall})
    assert blocked(result) != passed


def test_unknown_candidates_block() -> None:
    assert blocked(gates.evaluate_candidate_recall({}))


def test_an_honest_model_passes_the_probe() -> None:
    result = gates.evaluate_leakage(HONEST)
    assert not blocked(result)
    assert "hp_baskets_364d" in result.reason


@pytest.mark.parametrize(
    ("sign", "words"),
    [
        ({"shuffled_ndcg": 0.2}, "lets labels reach the order"),
        ({"shuffled_ndcg": 0.05}, "lets labels reach the order"),
        ({"strongest_auc": 0.98}, "tells what is bought by itself"),
        ({"ndcg": 0.96}, "too good"),
        ({"ndcg": math.nan}, "too good"),
    ],
)
def test_each_sign_of_a_leak_blocks(sign: dict[str, float], words: str) -> None:
    result = gates.evaluate_leakage(replace(HONEST, **sign))
    assert blocked(result)
    assert words in result.reason


def test_nothing_to_probe_blocks() -> None:
    assert blocked(gates.evaluate_leakage(None))


@pytest.mark.parametrize(
    ("size", "p99_ms", "passed"),
    [(64_000_000, 50.0, True), (64_000_001, 1.0, False), (1, 50.1, False), (1, math.nan, False)],
)
def test_a_model_too_large_or_too_slow_blocks(size: int, p99_ms: float, passed: bool) -> None:
    result = gates.evaluate_budget(model_bytes=size, p99_ms=p99_ms)
    assert blocked(result) != passed
