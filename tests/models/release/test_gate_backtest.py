"""Past decisions under changed gates."""

from __future__ import annotations

from datetime import datetime

import pytest

from models.release.gate_backtest import Judged, replay, summary

AT = datetime(2026, 1, 5)  # noqa: DTZ001 - times are naive UTC
SIDES = {"recall": "at_least", "ece": "at_most", "info": "at_least"}


def gate(name: str, value: float | None, threshold: float, *, passed: bool, blocking: bool = True):
    return {
        "name": name, "value": value, "threshold": threshold, "passed": passed,
        "blocking": blocking, "reason": "",
    }  # fmt: skip


def judged(*gates, became=None) -> Judged:
    return Judged(model_version="m", at=AT, gates=gates, became=became)


def outcome(model: Judged, **changed: float) -> tuple[bool, bool]:
    (found,) = replay([model], changed=changed, sides=SIDES)
    return found.then, found.now


def test_a_stricter_gate_stops_and_a_laxer_one_lets_in() -> None:
    passed = judged(gate("recall", 0.33, 0.30, passed=True), gate("ece", 0.02, 0.03, passed=True))
    assert outcome(passed, recall=0.35) == (True, False)
    assert outcome(passed, recall=0.33) == (True, True)
    assert outcome(passed, ece=0.01) == (True, False)
    failed = judged(gate("recall", 0.28, 0.30, passed=False))
    assert outcome(failed, recall=0.25) == (False, True)


def test_what_else_failed_still_fails() -> None:
    other = judged(gate("recall", 0.28, 0.3, passed=False), gate("ece", 0.05, 0.03, passed=False))
    assert outcome(other, recall=0.2) == (False, False)
    # Its slope was wrong, not its error; and a pass by another rule stays one.
    assert outcome(judged(gate("ece", 0.01, 0.03, passed=False)), ece=0.05) == (False, False)
    assert outcome(judged(gate("recall", 0.2, 0.3, passed=True)), recall=0.4) == (True, True)


def test_gates_for_information_and_without_a_value_decide_nothing() -> None:
    info = judged(gate("info", 0.5, 0.0, passed=True, blocking=False))
    assert outcome(info, info=0.9) == (True, True)
    assert outcome(judged(gate("recall", None, 0.3, passed=True)), recall=0.9) == (True, True)


def test_a_gate_that_was_not_recorded_is_said_to_be_unknown() -> None:
    (found,) = replay([judged(gate("ece", 0.01, 0.03, passed=True))], changed={"recall": 1.0},
                      sides=SIDES)  # fmt: skip
    assert (found.unknown, found.differs) == (("recall",), False)


def test_the_summary_counts_what_followed() -> None:
    low = gate("recall", 0.31, 0.30, passed=True)
    past = [judged(low, became="rolled_back"), judged(low, became="live"),
            judged(gate("recall", 0.4, 0.3, passed=True), became="retired")]  # fmt: skip
    assert summary(replay(past, changed={"recall": 0.35}, sides=SIDES)) == (
        "2 of 3 past decisions would differ: 2 stopped (1 of them rolled back later, 1 live now), "
        "0 let in."
    )
    assert "None of 3" in summary(replay(past, changed={"recall": 0.1}, sides=SIDES))
    assert "nothing to replay" in summary([])


@pytest.mark.parametrize(("changed", "said"), [({"x": 1.0}, "x"), ({"ece": float("nan")}, "nan")])
def test_bad_changes_are_refused(changed, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        replay([], changed=changed, sides=SIDES)


def test_every_gate_has_a_side() -> None:
    from checks.gates.directions import SIDES as OURS
    from checks.gates.ranking_release import GATES

    assert set(OURS) == set(GATES)
