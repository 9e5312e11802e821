"""An installation that is built: what a change re-materialises, weeks and ranges, the gate."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from checks.gates.ranking_release import GATES
from tests.tiny_retailer import FIRST_WEEK, ONE_WEEK, weeks_from_first
from tests.whole_graph.conftest import ROOT, WEEKS, Installation

pytestmark = pytest.mark.slow

EDITED_WEEK = FIRST_WEEK + 9 * ONE_WEEK
COMING = FIRST_WEEK + WEEKS * ONE_WEEK

OVERRIDE = {"reason": "the tests want to see it", "actor": "ada"}

# Everything that reads product attributes, and what reads that.
MAY_FOLLOW = {
    "landing.products",
    "raw.products",
    "quarantine.products",
    "staging.stg_products",
    "marts.dim_product",
    "marts.dim_product_current",
    "marts.dim_product_history",
    "features.household",
    "features.household_type",
    "ranking.candidates",
    "ranking.offer_examples",
    "ranking.response_examples",
    "models.response",
    "evaluation.response",
    "ranking.ranked_offers",
    "models.offer_ranker",
    "models.champion",
    "evaluation.ranking",
    "serving.bento",
    "release.candidate",
    "release.live",
    "release.health_review",
    "serving.online_snapshot",
    "serving.action_snapshot",
    "serving.online_history",
    # Rivals are the other products of the category.
    "demand.panel",
    "demand.action_lift",
    "demand.forecasts",
    "models.demand",
    "evaluation.demand",
    "actions.plan",
    "actions.propensities",
    "evaluation.actions",
}


def reran(installation: Installation, known: int) -> dict[str, list[date | None]]:
    new = installation.log().slice(known)
    return {
        str(asset): sorted(weeks, key=str)
        for asset, weeks in new.group_by("asset").agg("week").rows()
    }


def test_nothing_changed_means_nothing_runs(built: Installation) -> None:
    known = built.log().height
    built.liftgraph("run", check=False)
    assert built.log().height == known


def test_the_coming_week_is_filled_from_the_past(built: Installation) -> None:
    rows = {a: s.rows for (a, w), s in built.statuses().items() if w == COMING}
    for feature_set in ("household", "product", "store", "household_product", "store_product"):
        assert rows[f"features.{feature_set}"] > 0
    assert rows["ranking.candidates"] > 0
    assert rows["raw.basket_lines"] == rows["labels.purchases"] == 0


def test_a_rewritten_drop_with_the_same_rows_stops_at_raw(built: Installation) -> None:
    file = built.landing / "basket_lines" / str(EDITED_WEEK) / "drop.parquet"
    frame = pl.read_parquet(file)
    frame.write_parquet(file, compression="gzip")
    known = built.log().height
    built.liftgraph("run", check=False)
    assert set(reran(built, known)) == {
        "landing.basket_lines",
        "raw.basket_lines",
        "quarantine.basket_lines",
    }


def test_an_edited_category_reruns_only_what_depends_on_it(built: Installation) -> None:
    file = _products_file(built)
    frame = pl.read_parquet(file)
    frame.with_columns(pl.lit("BAKERY").alias("category")).write_parquet(file)
    planned = json.loads(built.liftgraph("plan", "--json").stdout)
    assert [(e["asset"], e["week"], e["why"]) for e in planned if e["certainty"] == "stale"] == [
        ("landing.products", str(EDITED_WEEK), "the drop was changed")
    ]
    known = built.log().height
    built.liftgraph("run", check=False)
    ran = reran(built, known)
    assert {"landing.products", "raw.products", "marts.dim_product"} <= set(ran)
    assert set(ran) <= MAY_FOLLOW
    assert ran["landing.products"] == ran["raw.products"] == [EDITED_WEEK]
    # A version is compared with those before it; a feature sees it from the next week on.
    assert min(ran["marts.dim_product"], key=str) == EDITED_WEEK
    assert all(w > EDITED_WEEK for w in ran.get("features.household", []) if w)


def _products_file(installation: Installation) -> Path:
    return installation.landing / "products" / str(EDITED_WEEK) / "drop.parquet"


def test_single_weeks_and_a_range_hold_the_same_rows(built: Installation) -> None:
    """Weeks run one by one, as the UI does, give the content that the range run gave."""
    before = built.versions()
    weeks = weeks_from_first(WEEKS)[5:8]
    done = built.run_weeks("features", weeks)
    assert done.returncode == 0, done.stderr[-3000:]
    after = built.versions()
    for week in weeks:
        for feature_set in ("household", "product", "store", "household_product", "store_product"):
            key = (f"features.{feature_set}", week)
            assert after[key] == before[key]


# The gate comes last: it spoils the home.


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
