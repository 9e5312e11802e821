"""From a report to a registration: what the champion asks of it, and who may force it."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest

from checks.gates.gate import GateFailedError, GateResult, Override

PASSED = GateResult(
    name="calibration", passed=True, blocking=True, value=0.1, threshold=0.3, reason="fine"
)
FAILED = GateResult(
    name="fairness_gap",
    passed=False,
    blocking=True,
    value=0.1,
    threshold=0.8,
    reason="unfair",
    evidence={"age": {"ratio": 0.1}},
)
OVERRIDE = {"reason": "the old model is broken", "actor": "ada"}


def report(*gates: GateResult, override: dict[str, str] | None = None) -> dict[str, Any]:
    return {
        "lineage": {"model_version": "v1"},
        "gates": [
            {name: getattr(gate, name) for name in GateResult.__dataclass_fields__}
            for gate in gates
        ],
        "override": override,
    }


def test_a_passed_report_clears_its_model() -> None:
    from assets.evaluation.ranking import cleared

    clearance = cleared(report(PASSED), version="v1")
    assert (clearance.results, clearance.override) == ((PASSED,), None)


def test_a_report_on_another_model_clears_nothing() -> None:
    from assets.evaluation.ranking import cleared

    with pytest.raises(dg.Failure, match="judges model v1, the one trained last is v2"):
        cleared(report(PASSED), version="v2")


def test_a_failed_gate_stops_registration_whatever_dagster_says() -> None:
    from assets.evaluation.ranking import cleared

    with pytest.raises(GateFailedError, match="fairness_gap: unfair"):
        cleared(report(PASSED, FAILED), version="v1")


def test_a_recorded_override_clears_and_is_tagged() -> None:
    from assets.evaluation.ranking import _override_tags, cleared

    clearance = cleared(report(PASSED, FAILED, override=OVERRIDE), version="v1")
    assert clearance.forced == ("fairness_gap",)
    assert _override_tags(clearance) == {
        "liftgraph.gate_override": "the old model is broken",
        "liftgraph.gate_override_by": "ada",
        "liftgraph.gates_overridden": "fairness_gap",
    }


def test_an_overridden_check_lets_through_and_says_so() -> None:
    from assets.evaluation.ranking import _check

    check = _check(FAILED, Override(**OVERRIDE))
    assert check.passed
    assert check.description == "overridden by ada (the old model is broken): unfair"
    assert check.metadata["overridden"].value is True
    assert not _check(FAILED, None).passed
    assert _check(PASSED, Override(**OVERRIDE)).description == "fine"


def test_the_override_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    from assets.evaluation.override import forced_override

    monkeypatch.delenv("LIFTGRAPH_GATE_OVERRIDE", raising=False)
    assert forced_override() is None
    monkeypatch.setenv("LIFTGRAPH_GATE_OVERRIDE", "the old model is broken")
    monkeypatch.setenv("LIFTGRAPH_GATE_OVERRIDE_BY", "ada")
    assert forced_override() == Override(**OVERRIDE)
    monkeypatch.delenv("LIFTGRAPH_GATE_OVERRIDE_BY")
    override = forced_override()
    assert override is not None
    assert override.actor


def test_a_blank_reason_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from assets.evaluation.override import forced_override

    monkeypatch.setenv("LIFTGRAPH_GATE_OVERRIDE", "  ")
    with pytest.raises(ValueError, match="has no reason"):
        forced_override()
