"""The graph as reviewed: a change of keys, inputs, weeks, checks or owners shows in a diff."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from assets.governance.graph import graph_snapshot, nodes_of
from assets.partitions import calendar
from assets.table_inputs import admitted

SNAPSHOT = Path(__file__).with_name("graph_snapshot.json")


@pytest.fixture(scope="module")
def definitions():
    from definitions import defs

    return defs


def test_the_graph_is_the_reviewed_one(definitions) -> None:
    now = json.loads(json.dumps(graph_snapshot(definitions)))
    assert now == json.loads(SNAPSHOT.read_text()), (
        "the graph differs from tests/graph_snapshot.json; if it is meant, run `make graph` and "
        "review the difference"
    )


def test_every_asset_says_what_it_is_and_whose(definitions) -> None:
    for name, asset in graph_snapshot(definitions)["assets"].items():
        assert asset["group"], name
        assert asset["kinds"], name
        assert asset["owners"], name
        assert asset["described"], name
        no_table = ("landing.", "models.", "evaluation.", "serving.", "release.", "gov")
        is_table = not name.startswith(no_table)
        if is_table:
            assert asset["columns"], f"{name} has no column schema"


def test_features_admit_only_the_past(definitions) -> None:
    weeks = calendar()
    nodes = nodes_of(definitions)
    for name, node in nodes.items():
        if not name.startswith("features."):
            continue
        for window in node.inputs.values():
            for week in weeks:
                seen = admitted(window, week, weeks)
                assert all(w is not None and w < week for w in seen), name


def test_every_table_asset_has_a_blocking_contract_check(definitions) -> None:
    from checks.contracts.registry import CONTRACTS

    assets = graph_snapshot(definitions)["assets"]
    for table in CONTRACTS:
        assert "contract (blocking)" in assets[table]["checks"], table
