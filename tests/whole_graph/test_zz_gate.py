"""The gate stands between a trained model and its registration. Last: it spoils the home."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from checks.gates.ranking_release import GATES
from tests.whole_graph.conftest import ROOT, Installation

pytestmark = pytest.mark.slow


def test_a_model_that_ranks_worse_is_not_registered(built: Installation) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.whole_graph.reversed_model"],
        cwd=ROOT,
        env=built.environment | {"LIFTGRAPH_GATE_OVERRIDE": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout.strip().splitlines()[-1])
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
