"""Panel, training, lift and planning for a whole chain, at the real size and at ten times it.

A simulated household panel (``models.simulator``) is laid down first, unmeasured. Each stage then
runs in a process of its own on what the stage before left, and reports its seconds and its peak
memory. ``time_10x_over_linear`` is the time at the large scale over the large scale times the time
at the small one.

    python benchmarks/demand_scale.py [--scales 1 10] [--threads 2] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import polars as pl
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.report import write_result
from models.calendar import ONE_WEEK
from models.simulator.market import Market
from models.simulator.panel import market_panel
from models.simulator.settings import household_panel

SEED = 20170102
STAGES = ("panel", "training", "lift", "planning")
# The drinks of the bundled year, as far as stores keep them on the shelf.
STORES, PRODUCTS, ASSORTMENT = 111, 2_000, 0.25
STORES_AT_ONCE = 37
PANEL_WEEKS_AT_ONCE = 14
# One trial: the search costs the same at any size per trial.
TRIALS = 1

console = Console(stderr=True)


def market_of(scale: int) -> Market:
    settings = household_panel(stores=STORES * scale, products=PRODUCTS)
    return Market(replace(settings, assortment=ASSORTMENT), seed=SEED)


def lay_down(folder: Path, scale: int) -> None:
    """Sales, trips, plan and products of the market, as files a block of stores at a time."""
    market = market_of(scale)
    market.products().select("product_id", "category", "manufacturer_id", "type").with_columns(
        week_start=pl.lit(market.weeks[0] - ONE_WEEK)
    ).write_parquet(folder / "products.parquet")
    stores = range(market.settings.stores)
    for first in range(0, len(stores), STORES_AT_ONCE):
        rows = market_panel(market, stores=stores[first : first + STORES_AT_ONCE])
        shown = (pl.col("display") != "0") | (pl.col("mailer") != "0")
        keys = ["store_id", "product_id", "week_start"]
        rows.filter(pl.col("units") > 0).select(
            *keys,
            "units",
            "revenue",
            (pl.col("units") * pl.col("base_price")).alias("regular_value"),
            pl.col("revenue").alias("loyalty_value"),
            "display",
            "mailer",
        ).write_parquet(folder / f"sold-{first:05d}.parquet")
        rows.filter(shown).select(*keys, "display", "mailer").write_parquet(
            folder / f"promotions-{first:05d}.parquet"
        )
        rows.select("store_id", "week_start", "panel_trips").unique().write_parquet(
            folder / f"trips-{first:05d}.parquet"
        )


# -- stages, each in its own process -------------------------------------------------------------


def run_panel(folder: Path, _threads: int) -> int:
    from models.demand.panel import demand_panel
    from models.demand.prices import Sales

    promotions = pl.read_parquet(folder / "promotions-*.parquet")
    products = pl.read_parquet(folder / "products.parquet")
    trips = pl.read_parquet(folder / "trips-*.parquet")
    weeks = sorted(trips["week_start"].unique().to_list())
    # The last week is the coming one: its plan is known, its sales are not.
    ended = pl.col("week_start") < weeks[-1]
    sales = Sales(
        sold=pl.scan_parquet(folder / "sold-*.parquet")
        .filter(ended)
        .sort("store_id", "product_id", "week_start")
        .collect(),
        trips=trips.filter(ended),
    )
    rows = 0
    for first in range(0, len(weeks), PANEL_WEEKS_AT_ONCE):
        made = demand_panel(
            sales,
            promotions,
            products,
            weeks=weeks[first : first + PANEL_WEEKS_AT_ONCE],
            last_sold=weeks[-2],
        )
        made.write_parquet(folder / f"panel-{first:03d}.parquet")
        rows += made.height
    return rows


def run_training(folder: Path, threads: int) -> int:
    from models.demand.series import OPTIONAL, REQUIRED
    from models.demand.training import train

    panel = pl.scan_parquet(folder / "panel-*.parquet").select(*REQUIRED, *OPTIONAL)
    sold = panel.filter(pl.col("units").is_not_null())
    last = sold.select(pl.col("week_start").max()).collect().item()
    made = train(
        panel,
        last=last,
        data_snapshot="scale",
        storage=f"sqlite:///{folder / 'study.db'}",
        seed=SEED,
        trials=TRIALS,
        threads=threads,
    )
    return sum(made.rows.values())


def run_lift(folder: Path, _threads: int) -> int:
    from models.lift.action_lift import action_lift
    from models.lift.effects import estimate_effects

    panel = (
        pl.scan_parquet(folder / "panel-*.parquet")
        .filter(pl.col("active"))
        .select(
            "store_id",
            "product_id",
            "week_start",
            "units",
            "base_price",
            "discount",
            "display",
            "mailer",
            "category",
            "type",
        )
        .collect()
    )
    week = panel["week_start"].max()
    targets = panel.filter(pl.col("week_start") == week)
    effects = estimate_effects(panel.filter(pl.col("week_start") < week))
    made = action_lift(effects, targets)
    made.write_parquet(folder / "lift.parquet")
    return made.height


def run_planning(folder: Path, threads: int) -> int:
    from models.actions.candidates import candidates
    from models.actions.settings import ActionSettings
    from models.actions.standing import standing_plan, weeks_since_promotion
    from models.actions.weekly import week_plan
    from models.lift.actions import ACTIONS

    lift = pl.read_parquet(folder / "lift.parquet").drop_nulls(["base_price", "category"])
    week = lift["week_start"].to_list()[0]
    past = (
        pl.scan_parquet(folder / "panel-*.parquet")
        .filter(pl.col("week_start") >= week - 26 * ONE_WEEK)
        .select(
            "store_id", "product_id", "week_start", "display", "mailer", "discount", "plan_known"
        )
        .collect()
    )
    declared = ActionSettings()
    rows = candidates(
        lift,
        actions=ACTIONS,
        economics=declared.economics,
        promoted=weeks_since_promotion(past, week=week),
        current=standing_plan(past, week=week, actions=ACTIONS),
    )
    week_plan(rows, declared, threads=threads)
    return rows.height


RUN = {
    "panel": run_panel,
    "training": run_training,
    "lift": run_lift,
    "planning": run_planning,
}


def stage(name: str, folder: Path, threads: int) -> None:
    """Run a stage here and print what it took, for the process that started this one."""
    started = time.perf_counter()
    rows = RUN[name](folder, threads)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"seconds": seconds, "peak_gb": peak, "rows": rows}))


def measured(name: str, folder: Path, threads: int) -> dict[str, float]:
    """A stage in a process of its own.

    Raises:
        RuntimeError: It failed; with what it said.
    """
    command = [sys.executable, str(Path(__file__).resolve()), "--stage", name]
    command += ["--folder", str(folder), "--threads", str(threads)]
    limits = {n: str(threads) for n in ("POLARS_MAX_THREADS", "OMP_NUM_THREADS")}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | limits
    )
    if done.returncode:
        raise RuntimeError(f"stage {name} in {folder} failed:\n{done.stderr[-3000:]}")
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--scales", type=int, nargs="+", default=[1, 10])
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where the data lies; a temporary one else")
    parser.add_argument("--stage", choices=STAGES, help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path, help="write the result to this file")
    arguments = parser.parse_args()
    if arguments.stage:
        stage(arguments.stage, arguments.folder, arguments.threads)
        return 0
    if min(arguments.scales) < 1:
        parser.error("--scales: give whole numbers from 1")
    figures: dict[str, float] = {}
    shown = Table(title="A whole chain")
    for heading in ("scale", "stage", "rows", "seconds", "peak GB"):
        shown.add_column(heading, justify="right")
    with tempfile.TemporaryDirectory() as temporary:
        for scale in arguments.scales:
            folder = (arguments.folder or Path(temporary)) / f"{scale}x"
            if not (folder / "products.parquet").exists():
                folder.mkdir(parents=True, exist_ok=True)
                lay_down(folder, scale)
            for name in arguments.stages:
                took = measured(name, folder, arguments.threads)
                figures |= {
                    f"{name}_{scale}x_s": took["seconds"],
                    f"{name}_{scale}x_peak_gb": took["peak_gb"],
                    f"{name}_{scale}x_rows": took["rows"],
                }
                shown.add_row(
                    f"{scale}x",
                    name,
                    f"{took['rows']:,.0f}",
                    f"{took['seconds']:.1f}",
                    f"{took['peak_gb']:.2f}",
                )
                console.print(f"{scale}x {name}: {took['seconds']:.1f} s, {took['peak_gb']:.2f} GB")
            figures[f"total_{scale}x_s"] = sum(figures[f"{n}_{scale}x_s"] for n in arguments.stages)
            figures[f"peak_{scale}x_gb"] = max(
                figures[f"{n}_{scale}x_peak_gb"] for n in arguments.stages
            )
    ratios = {}
    small, large = min(arguments.scales), max(arguments.scales)
    if large > small:
        linear = large / small
        ratios["time_10x_over_linear"] = figures[f"total_{large}x_s"] / (
            linear * figures[f"total_{small}x_s"]
        )
        for name in arguments.stages:
            ratios[f"{name}_over_linear"] = figures[f"{name}_{large}x_s"] / (
                linear * figures[f"{name}_{small}x_s"]
            )
    Console().print(shown, ratios)
    if arguments.json:
        write_result(arguments.json, benchmark="demand_scale", figures=figures, ratios=ratios)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
