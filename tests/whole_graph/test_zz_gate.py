"""The gate stands between a trained model and its registration. Last: it spoils the home."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from checks.gates.ranking_release import GATES
from tests.whole_graph.conftest import ROOT, Installation

pytestmark = pytest.mark.slow

OVERRIDE = {"reason": "the tests want to see it", "actor": "ada"}


def release_a_worse_model(built: Installation, **environment: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.whole_graph.reversed_model"],
        cwd=ROOT,
        env=built.environment | {"LIFTGRAPH_GATE_OVERRIDE": ""} | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    said: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return said


def test_a_model_that_ranks_worse_is_not_registered(built: Installation) -> None:
    said = release_a_worse_model(built)
    assert said["gates"]["beats_gp_topfreq"] is False
    assert set(said["gates"]) == set(GATES)
    assert not said["success"]
    assert "models.champion" not in said["made"]
    assert "serving.online_snapshot" not in said["made"]


def test_the_plan_says_what_the_gate_holds_back(built: Installation) -> None:
    entries = json.loads(built.liftgraph("plan", "--json").stdout)
    blocked = {e["asset"]: e["why"] for e in entries if e["certainty"] == "blocked"}
    assert "not shown to be better" in blocked["evaluation.ranking"]
    assert "models.champion" in blocked


def test_a_forced_release_goes_through_and_is_recorded(built: Installation) -> None:
    said = release_a_worse_model(
        built,
        LIFTGRAPH_GATE_OVERRIDE=OVERRIDE["reason"],
        LIFTGRAPH_GATE_OVERRIDE_BY=OVERRIDE["actor"],
    )
    assert all(said["gates"].values())
    assert "models.champion" in said["made"]
    report = built.home / "reports" / "ranking"
    figures = json.loads((report / "metrics.json").read_text())
    assert figures["override"] == OVERRIDE
    assert not {g["name"]: g["passed"] for g in figures["gates"]}["beats_gp_topfreq"]
    page = (report / "index.html").read_text()
    assert "released all the same by ada (the tests want to see it)" in page
    tags = said["champion_tags"]
    assert tags["liftgraph.gate_override"] == OVERRIDE["reason"]
    assert tags["liftgraph.gate_override_by"] == OVERRIDE["actor"]
    assert "beats_gp_topfreq" in tags["liftgraph.gates_overridden"]
