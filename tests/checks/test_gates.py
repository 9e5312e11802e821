from __future__ import annotations

import math
from dataclasses import FrozenInstanceError

import pytest

from checks.gates.gate import GateFailedError, Override, require
from checks.gates.ranking import (
    BEATS_BEST_BASELINE,
    BEATS_GP_TOPFREQ,
    NOT_BELOW_CHAMPION,
    evaluate_beats_best_baseline,
    evaluate_beats_gp_topfreq,
    evaluate_not_below_challengers,
    evaluate_not_below_champion,
)
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


def test_an_override_is_recorded_with_what_it_forced() -> None:
    failed = evaluate_beats_gp_topfreq(differences(-0.02, -0.03, -0.01))
    passed = evaluate_beats_best_baseline(differences(0.02, 0.01, 0.03), best="gp_topfreq")
    override = Override(reason="the old model is broken", actor="ada")
    clearance = require([failed, passed], override=override)
    assert clearance.override == override
    assert clearance.forced == (BEATS_GP_TOPFREQ,)
    assert clearance.results == (failed, passed)


def test_an_override_that_was_not_needed_is_not_recorded() -> None:
    passed = evaluate_beats_gp_topfreq(differences(0.02, 0.01, 0.03))
    clearance = require([passed], override=Override(reason="to be safe", actor="ada"))
    assert (clearance.override, clearance.forced) == (None, ())


@pytest.mark.parametrize(
    ("reason", "actor", "missing"), [("", "ada", "reason"), ("x", " ", "actor")]
)
def test_an_override_says_who_and_why(reason: str, actor: str, missing: str) -> None:
    with pytest.raises(ValueError, match=f"has no {missing}"):
        Override(reason=reason, actor=actor)


def test_no_verdict_is_no_clearance() -> None:
    with pytest.raises(GateFailedError, match="no gate was evaluated"):
        require([], override=Override(reason="x", actor="ada"))


def test_the_best_baseline_is_the_one_to_beat() -> None:
    given = {
        "gp_topfreq": differences(0.02, 0.01, 0.03)["gp_topfreq"],
        "tifu_knn": differences(0.005, -0.001, 0.011)["gp_topfreq"],
    }
    result = evaluate_beats_best_baseline(given, best="tifu_knn")
    assert not result.passed
    assert result.evidence["baseline"] == "tifu_knn"
    with pytest.raises(GateFailedError, match=BEATS_BEST_BASELINE):
        require([result])
    assert evaluate_beats_best_baseline(given, best="gp_topfreq").passed


def champion(estimate: float, low: float, high: float) -> dict[str, dict[str, Interval]]:
    return {"champion": differences(estimate, low, high)["gp_topfreq"]}


@pytest.mark.parametrize(
    ("figures", "passed"),
    [
        ((0.01, 0.001, 0.02), True),
        ((-0.001, -0.004, 0.002), True),
        ((-0.002, -0.004, 0.0), True),
        ((-0.003, -0.005, -0.001), False),
    ],
)
def test_a_model_below_the_champion_is_blocked(
    figures: tuple[float, float, float], passed: bool
) -> None:
    result = evaluate_not_below_champion(champion(*figures), registered=True)
    assert result.passed == passed
    if not passed:
        with pytest.raises(GateFailedError, match=NOT_BELOW_CHAMPION):
            require([result])


def test_the_first_model_has_no_champion_to_beat() -> None:
    result = evaluate_not_below_champion({}, registered=False)
    assert result.passed
    assert "no other model is registered" in result.reason


@pytest.mark.parametrize("unusable", ["", "it reads features that are gone"])
def test_a_champion_that_was_not_compared_blocks(unusable: str) -> None:
    result = evaluate_not_below_champion({}, registered=True, unusable=unusable)
    assert result.blocks
    assert unusable in result.reason


def test_a_better_challenger_is_told_and_does_not_block() -> None:
    given = {
        "lightgbm": differences(0.01, 0.0, 0.02)["gp_topfreq"],
        "neural": differences(-0.01, -0.02, -0.001)["gp_topfreq"],
    }
    result = evaluate_not_below_challengers(given, challengers=("lightgbm", "neural"))
    assert (result.passed, result.blocks) == (False, False)
    assert "neural" in result.reason
    require([result])
    assert evaluate_not_below_challengers(given, challengers=("lightgbm",)).passed
    assert evaluate_not_below_challengers(given, challengers=()).passed
    overtaken = evaluate_not_below_challengers(given, challengers=(), overtaken_by="lightgbm")
    assert (overtaken.passed, overtaken.blocks) == (False, False)
    assert "lightgbm was significantly better" in overtaken.reason
