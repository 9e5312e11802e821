"""The action plan beside simpler ones, in markets whose true effects are known, and at full size.

    python benchmarks/actions.py [--instances 1000] [--markets 3] [--base-units 20] [--stores 111]
        [--products 600] [--json FILE]

Three parts. ``instances``: seeded small markets and limits at random; an independent checker counts
what the plans break. ``markets``: simulated markets in which lifts are estimated from the panel
alone; every plan is then valued with the true effects. ``regret`` is against the best plan under
the true effects, ``regret_among_proven`` against the best of those whose evidence allows a plan,
``regret_if_all_proven`` without that rule for both. ``over_top_response`` and ``over_greedy_ratio``
are differences over the best plan's value: a simple plan may be worth nothing. ``full chain``: a
plan for every product and action of every store.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.actions_markets import (
    chain,
    estimated_and_true,
    instance,
    limits_of,
)
from benchmarks.report import write_result
from models.actions.baselines import CURRENT, TOP_RESPONSE, baselines
from models.actions.candidates import KEY
from models.actions.checker import violations
from models.actions.plan import plan
from models.actions.publication import judge
from models.actions.settings import Limits, StoreLimits

SEED = 20170103
THREADS = 2


def random_instances(count: int, *, seed: int) -> dict[str, float | int]:
    """Plans of small random markets: limits broken, widest gap, milliseconds."""
    broken, gaps, seconds = 0, [], []
    for i in range(count):
        frame, limits = instance(seed + i)
        started = time.perf_counter()
        made = plan(frame, limits)
        seconds.append(time.perf_counter() - started)
        broken += len(violations(made.rows, frame, limits))
        gaps.append(float(made.solver["gap"]))
    return {
        "instances": count,
        "violations": broken,
        "widest_gap": max(gaps),
        "median_ms": 1000 * statistics.median(seconds),
    }


def simulated_market(seed: int, *, base_units: float) -> dict[str, Any]:
    """Every plan of one market, valued with the true effects, per week and after true costs."""
    estimated, true = estimated_and_true(seed, base_units=base_units)
    limits = limits_of(estimated)
    ours = plan(estimated, limits, threads=THREADS)
    best = plan(true, limits, threads=THREADS)
    worth = true.select(*KEY, (pl.col("value") - pl.col("cost")).alias("worth"))

    def value(rows: pl.DataFrame) -> float:
        return float(rows.select(KEY).join(worth, on=list(KEY), how="left")["worth"].sum())

    simple = baselines(estimated, limits, seed=seed)
    values = {"plan": value(ours.rows), "best": value(best.rows)} | {
        name: value(rows) for name, rows in simple.items()
    }
    # What the rule costs that a lift which rests on a model alone is not planned.
    as_if = estimated.with_columns(pl.lit("experiment").alias("evidence"))
    values["plan_if_all_proven"] = value(plan(as_if, limits, threads=THREADS).rows)
    provable = true.with_columns(estimated["evidence"])
    values["best_of_proven"] = value(plan(provable, limits, threads=THREADS).rows)
    verdict = judge(ours.rows, simple[CURRENT])
    return {
        "seed": seed,
        "values": values,
        "proven_share": float((estimated["evidence"] != "model_only").to_numpy().mean()),
        "regret": 1 - values["plan"] / values["best"],
        "regret_among_proven": 1 - values["plan"] / values["best_of_proven"],
        "regret_if_all_proven": 1 - values["plan_if_all_proven"] / values["best"],
        "over_top_response": (values["plan"] - values[TOP_RESPONSE]) / values["best"],
        "decision": verdict.decision,
        "claimed_low": verdict.low,
        "true_difference": values["plan"] - values[CURRENT],
    }


def full_chain(*, stores: int, products: int, seed: int) -> dict[str, Any]:
    """Seconds, gap and violations of the whole chain; hard: every action pays, money is short."""
    frame = chain(stores=stores, products=products, seed=seed)
    found: dict[str, Any] = {"candidates": frame.height, "stores": stores, "products": products}
    for name, limits in {
        "defaults": Limits(budget=5000.0),
        "wide_store_limits": Limits(
            budget=0.02 * sum(frame["cost"]),
            store=StoreLimits(
                budget=400.0, display_slots=40, mailer_slots=80, actions=150, category_cap=12
            ),
        ),
    }.items():
        started = time.perf_counter()
        made = plan(frame, limits, threads=THREADS)
        found[name] = {
            "seconds": time.perf_counter() - started,
            "actions": made.rows.height,
            "violations": len(violations(made.rows, frame, limits)),
            **{key: made.solver[key] for key in ("gap", "columns", "rows", "status")},
        }
    found["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return found


def main(arguments: list[str] | None = None) -> int:
    """Run all parts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--instances", type=int, default=1000)
    parser.add_argument("--markets", type=int, default=3)
    parser.add_argument(
        "--base-units", type=float, default=20.0, help="weekly units of a product in a store"
    )
    parser.add_argument("--stores", type=int, default=111)
    parser.add_argument("--products", type=int, default=600)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--json", type=Path, help="write the result to this file")
    given = parser.parse_args(arguments)
    started = time.perf_counter()
    console = Console(highlight=False)

    small = random_instances(given.instances, seed=given.seed)
    console.print(
        f"{small['instances']:,} instances: {small['violations']} limits broken, widest gap "
        f"{small['widest_gap']:.4%}, {small['median_ms']:.0f} ms each"
    )
    whole = full_chain(stores=given.stores, products=given.products, seed=given.seed)
    for name in ("defaults", "wide_store_limits"):
        part = whole[name]
        console.print(
            f"full chain, {name}: {whole['candidates']:,} candidates, {part['actions']:,} actions "
            f"in {part['seconds']:.1f} s, gap {part['gap']:.4%}, {part['violations']} broken"
        )
    markets = [
        simulated_market(given.seed + i, base_units=given.base_units) for i in range(given.markets)
    ]
    console.print(_table(markets))
    pooled = _pooled(markets)
    for name, value in pooled.items():
        console.print(f"{name} {value:.3f}")
    if given.json:
        write_result(
            given.json,
            benchmark="actions",
            figures={
                "instances": small,
                "full_chain": whole,
                "markets": markets,
                "seconds": time.perf_counter() - started,
                "seed": given.seed,
                "base_units": given.base_units,
            },
            ratios=pooled,
        )
        print(f"written to {given.json}")
    return 0


def _pooled(markets: list[dict[str, Any]]) -> dict[str, float]:
    """Over all markets: sums first, so that a small one does not count as much as a large one."""
    total = {
        name: float(np.sum([m["values"][name] for m in markets])) for name in markets[0]["values"]
    }
    best = total["best"]
    return {
        "regret": 1 - total["plan"] / best,
        "regret_among_proven": 1 - total["plan"] / total["best_of_proven"],
        "regret_if_all_proven": 1 - total["plan_if_all_proven"] / best,
        "over_top_response": (total["plan"] - total[TOP_RESPONSE]) / best,
        "over_greedy_ratio": (total["plan"] - total["greedy_ratio"]) / best,
    }


def _table(markets: list[dict[str, Any]]) -> Table:
    table = Table(title="True worth of each plan, per week")
    table.add_column("plan")
    for market in markets:
        table.add_column(f"market {market['seed']}", justify="right")
    for name in markets[0]["values"]:
        table.add_row(name, *(f"{market['values'][name]:,.0f}" for market in markets))
    table.add_row("regret", *(f"{market['regret']:.1%}" for market in markets))
    return table


if __name__ == "__main__":
    sys.exit(main())
