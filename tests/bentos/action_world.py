"""A small week of actions to serve: four stores, six products, a published plan, a demand model."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from functools import cache
from pathlib import Path

import polars as pl

from models.actions.settings import ActionSettings, read_settings
from models.actions.weekly import week_plan
from models.demand import xgboost_demand
from models.demand.examples import demand_examples
from models.demand.plan_basis import plan_basis
from models.serving.action_snapshot import FORMAT, ActionFacts, snapshot_files, worth_keeping
from resources.online_snapshot import publish_snapshot
from resources.versioned_files import write_version
from tests.models.actions.markets import candidate
from tests.models.actions.markets import market as priced
from tests.models.demand.market import market, week

# The coming week of the default calendar.
WEEK = date(2018, 1, 1)
KNOWN_AT = datetime.fromisoformat("2018-01-01T05:00")
STORES = ("s0", "s1", "s2", "s3")
LIMITS = """
[limits]
weeks_between = 0
[limits.store]
display_slots = 9
mailer_slots = 9
actions = 9
category_cap = 9
[exploration]
share = 0.0
[testing]
correlation = 0.0
dispersion = 1.0
"""
CORRECTION = 1.1


@cache
def panel() -> pl.DataFrame:
    shift = WEEK - week(30)
    return market(stores=len(STORES), products=6, weeks=31).with_columns(
        pl.col("week_start") + shift,
        pl.when(pl.col("week_start") + shift < WEEK).then("units").alias("units"),
        pl.lit(value=True).alias("active"),
        pl.lit(value=True).alias("plan_known"),
    )


@cache
def model() -> bytes:
    weeks = [WEEK - timedelta(weeks=back) for back in range(1, 12)]
    params = {"eta": 0.3, "max_depth": 3, "min_child_weight": 1.0, "reg_lambda": 1.0}
    examples = demand_examples(panel(), targets=weeks)
    return xgboost_demand.train(examples, params=params, rounds=10, seed=1, threads=1)


def candidates() -> pl.DataFrame:
    """Per store three that surely pay, one that may, and one that only a model knows."""
    rows = []
    for store in STORES:
        at = {"week_start": WEEK, "category": "c0"}
        rows += [
            candidate(store, "p0", "display_mailer", value=20, width=2, cost=7, **at),
            candidate(store, "p0", "display", value=12, width=2, cost=2, **at),
            candidate(store, "p1", "display", value=9, width=2, cost=5, **at),
            candidate(store, "p2", "discount_20", value=7, width=1, cost=3, **at),
            candidate(store, "p3", "mailer", value=4, width=6, cost=1, **at),
            candidate(store, "p4", value=30, width=9, cost=1, evidence="model_only", **at),
        ]
    return priced(*rows)


def settings() -> ActionSettings:
    return read_settings(LIMITS)


@cache
def files(decision: str = "publish") -> dict[str, bytes]:
    rows = candidates()
    if decision != "publish":
        rows = rows.with_columns(pl.lit("model_only").alias("evidence"))
    made = week_plan(rows, settings())
    assert made.verdict.decision == decision
    basis = plan_basis(panel(), week=WEEK)
    facts = ActionFacts(
        format=FORMAT,
        week=WEEK,
        known_at=KNOWN_AT,
        data_snapshot="42",
        model_version="5ca1ab1e0000",
        decision=made.verdict.decision,
        reason=made.verdict.reason,
        dispersion={"scale": 0.5, "power": 1.3},
        correction=CORRECTION,
        display_codes=basis.history.series.display_codes,
        mailer_codes=basis.history.series.mailer_codes,
    )
    products = pl.DataFrame(
        {"product_id": [f"p{i}" for i in range(6)], "category": "SODA", "type": "COLA"}
    )
    past = panel().filter(pl.col("week_start") >= WEEK - timedelta(weeks=13))
    weeks = past.group_by("store_id", "week_start").agg(
        pl.when(pl.col("units").is_not_null().any()).then(pl.col("units").sum()).alias("units"),
        pl.when(pl.col("units").is_null().all()).then(pl.lit(55.5)).alias("forecast"),
    )
    return snapshot_files(
        facts=facts,
        plan=made.table().with_columns(pl.lit(KNOWN_AT).alias("known_at")),
        candidates=worth_keeping(made.candidates, settings()),
        products=products,
        weeks=weeks.sort("store_id", "week_start"),
        basis=basis,
        model=model(),
        settings_text=LIMITS,
    )


def publish(root: Path, decision: str = "publish") -> str:
    """Write the week's snapshot and make it current."""
    return write_version(root, files(decision))


def publish_again(root: Path, version: str) -> None:
    """Point to it anew, so that whoever serves looks again."""
    publish_snapshot(root, version)
