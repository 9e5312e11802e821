"""Known effects injected into a panel and refitted: are they recovered, and are nulls left alone?

Every run sells the panel's units anew under effects drawn with its own seed, estimates them from
all weeks but the last, and compares the lift of each action in the last week with the truth. Some
runs inject nothing at all. Without a panel, simulated markets of whole stores take its place, each
run with a market of its own.

    python benchmarks/plasmode.py [PANEL.parquet] [--runs N] [--null-runs N] [--json FILE]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

import polars as pl
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.report import write_result
from models.lift.action_lift import action_lift
from models.lift.effects import Effects, estimate_effects
from models.simulator.market import Market
from models.simulator.panel import market_panel, true_lift
from models.simulator.plasmode import Plasmode, PlasmodeSettings, plasmode
from models.simulator.recovery import Recovery, mean_and_error, recovery
from models.simulator.settings import MarketSettings

# Markets that nothing was set on.
SEED = 20180101
RUNS = 10
NULL_RUNS = 5
# A year and a half of whole stores: promotions are seen, and seen apart from the season.
MARKET = MarketSettings(stores=30, products=90, weeks=79)

console = Console(stderr=True)


@dataclass(frozen=True)
class Run:
    """One refit and how it went."""

    kind: str
    seed: int
    seconds: float
    found: Recovery


def usable(panel: pl.DataFrame) -> pl.DataFrame:
    """The rows that effects may be estimated on: weeks that ended, what was on the shelf."""
    panel = panel.filter(pl.col("units").is_not_null())
    for flag in ("active", "plan_known"):
        if flag in panel.columns:
            panel = panel.filter(pl.col(flag))
    return panel


def markets(*, runs: int, settings: MarketSettings) -> Iterator[Plasmode]:
    """Simulated markets with their truth in the last week."""
    for run in range(runs):
        market = Market(settings, seed=SEED + run)
        last = market.weeks[-1]
        yield Plasmode(panel=market_panel(market), truth=true_lift(market, weeks=[last]), last=last)


def injected(
    panel: pl.DataFrame, effects: Effects, *, runs: int, settings: PlasmodeSettings
) -> Iterator[Plasmode]:
    for run in range(runs):
        yield plasmode(panel, effects, settings=settings, seed=SEED + run)


def refit(kind: str, seed: int, made: Plasmode) -> Run:
    """Estimate on the weeks before the last, and compare the last week's lift with the truth."""
    started = time.perf_counter()
    week = pl.col("week_start")
    effects = estimate_effects(made.panel.filter(week < made.last))
    lift = action_lift(effects, made.panel.filter(week == made.last))
    run = Run(kind, seed, time.perf_counter() - started, recovery(lift, made.truth))
    console.print(f"{kind} {seed}: {run.seconds:.0f} s, {_short(run.found)}")
    return run


def _short(found: Recovery) -> str:
    def said(value: float | None) -> str:
        return "-" if value is None else f"{value:.3f}"

    return (
        f"slope {said(found.slope)}, coverage {said(found.coverage)}, sign "
        f"{said(found.sign_accuracy)}, nulls claimed {said(found.null_claimed)}, "
        f"claimed {said(found.claimed)}"
    )


def summary(runs: list[Run]) -> dict[str, float]:
    """Means over runs, each with its Monte-Carlo error.

    Raises:
        ValueError: No run injected effects.
    """
    figures: dict[str, float] = {}
    for kind in ("effects", "null"):
        of_kind = [r.found for r in runs if r.kind == kind]
        if not of_kind:
            continue
        names = ["coverage", "null_claimed", "claimed"]
        if kind == "effects":
            names += ["slope", "own_slope", "sign_accuracy", "claimed_true", "total_ratio"]
        for name in names:
            values = [getattr(f, name) for f in of_kind]
            if any(v is not None for v in values):
                mean, error = mean_and_error(values)
                figures[f"{kind}_{name}"] = mean
                if len(of_kind) > 1:
                    figures[f"{kind}_{name}_error"] = error
        figures[f"{kind}_runs"] = len(of_kind)
    figures["refits"] = len(runs)
    figures["refit_s"] = sum(r.seconds for r in runs) / len(runs)
    return figures


def table(figures: dict[str, float]) -> Table:
    shown = Table(title="Known effects, refitted", show_header=True)
    for heading in ("figure", "mean", "± error"):
        shown.add_column(heading, justify="left" if heading == "figure" else "right")
    for name, value in figures.items():
        if not name.endswith("_error"):
            error = figures.get(f"{name}_error")
            shown.add_row(name, f"{value:.3f}", "" if error is None else f"{error:.3f}")
    return shown


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("panel", type=Path, nargs="?", help="a demand panel; else made-up markets")
    parser.add_argument("--runs", type=int, default=RUNS, help="with effects injected")
    parser.add_argument("--null-runs", type=int, default=NULL_RUNS, help="with nothing injected")
    parser.add_argument(
        "--weeks-until",
        type=date.fromisoformat,
        help="leave out the panel's weeks from this Monday on",
    )
    parser.add_argument("--json", type=Path, help="write the result to this file")
    arguments = parser.parse_args()
    if arguments.runs < 1:
        parser.error("--runs: give at least 1")
    runs: list[Run] = []
    if arguments.panel is None:
        made = {
            "effects": markets(runs=arguments.runs, settings=MARKET),
            "null": markets(runs=arguments.null_runs, settings=MARKET.without_effects()),
        }
    else:
        panel = usable(pl.read_parquet(arguments.panel))
        if arguments.weeks_until:
            panel = panel.filter(pl.col("week_start") < arguments.weeks_until)
        effects = estimate_effects(panel)
        settings = PlasmodeSettings()
        made = {
            "effects": injected(panel, effects, runs=arguments.runs, settings=settings),
            "null": injected(
                panel, effects, runs=arguments.null_runs, settings=settings.without_effects()
            ),
        }
    for kind, plasmodes in made.items():
        runs += [refit(kind, SEED + i, p) for i, p in enumerate(plasmodes)]
    figures = summary(runs)
    Console().print(table(figures))
    if arguments.json:
        write_result(
            arguments.json,
            benchmark="plasmode",
            figures=figures
            | {
                "panel": arguments.panel.name if arguments.panel else "simulated",
                "by_run": [
                    {"kind": r.kind, "seed": r.seed, "seconds": r.seconds} | asdict(r.found)
                    for r in runs
                ],
            },
            ratios={},
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
