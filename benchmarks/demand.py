"""The demand model beside every baseline on anybody's panel.

    python benchmarks/demand.py PANEL.parquet [--last 13] [--horizon 1] [--json FILE]

PANEL is a Parquet or CSV file (or a folder of Parquet files) with ``store_id, product_id,
week_start, units, price, base_price, discount, display, mailer`` and, where known, ``revenue,
category, manufacturer_id, type, panel_trips``; these may be missing or null. ``display`` and
``mailer`` are codes, "0" is none; ``discount`` is a share of the base price. Each of the last
``--last`` weeks is forecast from the weeks up to ``--horizon`` weeks before it and its own plan.
All models that learn are learned anew every ``REFIT_WEEKS`` weeks from what is known by then; what
is chosen is chosen once, on weeks before the first one forecast.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.arguments import positive
from benchmarks.report import write_result
from models import xgboost_booster
from models.calendar import ONE_WEEK, weeks_between
from models.demand import baselines
from models.demand.dispersion import fit_dispersion
from models.demand.examples import demand_examples
from models.demand.protocol import Origin, origins
from models.demand.series import as_text, checked
from models.demand.stopping import Stopped, learn, mean_of, stop
from models.evaluation.demand import MODEL, coverage, judge, randomised_pit
from models.evaluation.demand_held_out import demand_history
from models.evaluation.demand_levels import CATEGORY, CHAIN, ROWS
from models.evaluation.demand_metrics import METRICS

SEED = 20170102
# Two years of targets: a season is seen twice, and more rows cost without telling more.
TRAIN_WEEKS = 104
# History that the first example has, where there is as much.
WARM_UP_WEEKS = 26
# Weeks before the test that say how many trees are enough, and how sales scatter.
VALIDATION_WEEKS = 8
# A model is at most so old when it forecasts: a quarter is learned in two goes.
REFIT_WEEKS = 7
# Ids and codes stay text: 007 is not 7.
TEXTS = dict.fromkeys(
    ("store_id", "product_id", "display", "mailer", "category", "manufacturer_id"), pl.String
)
# Above it the oldest training weeks are left out: about 4 GB.
MAX_ROWS = 1_500_000


@dataclass(frozen=True)
class Outcome:
    """What a run found: ``judge`` of the test weeks, and facts of the run."""

    levels: dict[str, dict[str, Any]]
    facts: dict[str, Any]


def read(path: Path) -> pl.DataFrame:
    """The file's rows.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is neither Parquet nor CSV.
    """
    if not path.exists():
        raise FileNotFoundError(f"no file {path}; name a Parquet or CSV file with a demand panel")
    if path.is_dir():
        return pl.read_parquet(path / "*.parquet")
    if path.suffix in {".parquet", ".pq"}:
        return pl.read_parquet(path)
    if path.suffix in {".csv", ".gz"}:
        return pl.read_csv(path, try_parse_dates=True, schema_overrides=TEXTS)
    raise ValueError(f"{path} is neither Parquet nor CSV; convert it to one of them")


def run(
    panel: pl.DataFrame,
    *,
    last: int,
    horizon: int = 1,
    seed: int = SEED,
    threads: int | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """Learn from the weeks before the last ones, forecast those, and judge.

    Args:
        panel: As ``read`` returns it.
        last: Weeks to forecast.
        horizon: Weeks ahead.
        seed: Of everything drawn.
        threads: To use; all by default.
        progress: Called with a line before every step.

    Raises:
        ValueError: The panel cannot be used, or is too short.
    """
    rows = as_text(checked(panel))
    test, train = split(rows, last=last, horizon=horizon)
    progress(
        f"{rows.height:,} rows, {rows['store_id'].n_unique():,} stores, "
        f"{rows['product_id'].n_unique():,} products, {len(train)} weeks to learn from"
    )
    examples = demand_examples(panel, targets=[*train, *test], horizon=horizon).filter(
        pl.col("units").is_not_null()
    )
    learned = examples.filter(pl.col("week_start").is_in(train))
    judged = examples.filter(pl.col("week_start").is_in(test))
    validation = train[-min(VALIDATION_WEEKS, max(1, len(train) // 4)) :]
    progress(f"{learned.height:,} rows to learn from, {judged.height:,} to forecast; training")
    stopped = stop(
        learned, validation_weeks=validation, seed=seed, threads=threads, on_step=progress
    )
    forecasts, models = _rolled(
        examples,
        stopped,
        origins(test, train=train, horizon=horizon, available=test, every=REFIT_WEEKS),
        seed=seed,
        threads=threads,
        progress=progress,
    )
    history = demand_history(panel_of(rows), before_week=test[0])
    levels = judge(judged, forecasts, history=history, seed=seed)
    dispersion = fit_dispersion(stopped.units, stopped.means)
    pit = randomised_pit(
        judged["units"].to_numpy(), forecasts[MODEL].to_numpy(), dispersion, seed=seed
    )
    return Outcome(
        levels=levels,
        facts={
            "rows": rows.height,
            "test_rows": judged.height,
            "training_rows": learned.height,
            "test_weeks": [str(w) for w in test],
            "settings": [dict(each.params) | {"rounds": each.rounds} for each in stopped.settings],
            "validation_deviance": stopped.deviance,
            "coverage": coverage(pit, judged["week_start"])["covered"],
            "dispersion": dispersion.as_dict(),
            "importance": dict(xgboost_booster.importance(models[0]).head(15).rows()),
        },
    )


def _rolled(
    examples: pl.DataFrame,
    stopped: Stopped,
    stretches: Sequence[Origin],
    *,
    seed: int,
    threads: int | None,
    progress: Callable[[str], None],
) -> tuple[dict[str, pl.Series], tuple[bytes, ...]]:
    """Every model's forecasts, stretch by stretch, and the models of the first stretch."""
    parts: dict[str, list[pl.Series]] = {}
    first: tuple[bytes, ...] = ()
    for origin in stretches:
        learned = examples.filter(pl.col("week_start").is_in(origin.train))
        judged = examples.filter(pl.col("week_start").is_in(origin.targets))
        made = baselines.forecasts(
            learned, judged, seed=seed, rounds=stopped.settings[0].rounds, threads=threads
        )
        models = learn(learned, stopped.settings, seed=seed, threads=threads)
        first = first or models
        for name, mean in (made | {MODEL: mean_of(models, judged)}).items():
            parts.setdefault(name, []).append(mean.alias("mean"))
        progress(f"weeks {origin.targets[0]} to {origin.targets[-1]} are forecast")
    return {name: pl.concat(means) for name, means in parts.items()}, first


def panel_of(rows: pl.DataFrame) -> pl.DataFrame:
    """A checked panel without rows that only serve as history."""
    return rows.filter(pl.col("active"), pl.col("units").is_not_null())


def split(rows: pl.DataFrame, *, last: int, horizon: int) -> tuple[list[date], list[date]]:
    """Weeks to forecast and weeks to learn from, the latter known when the first is forecast.

    Raises:
        ValueError: The panel is too short.
    """
    known = panel_of(rows)
    held = known["week_start"].unique().sort().to_list()
    if len(held) <= last:
        raise ValueError(
            f"the panel has {len(held)} weeks with sales, {last} of them to forecast: nothing is "
            "left to learn from; give more weeks or a smaller --last"
        )
    test = held[-last:]
    first = held[0] + horizon * ONE_WEEK
    end = test[0] - horizon * ONE_WEEK
    present = set(held)
    usable = [w for w in weeks_between(first, end) if w in present]
    warm = max(0, min(WARM_UP_WEEKS, len(usable) - TRAIN_WEEKS // 2))
    train = usable[warm:][-TRAIN_WEEKS:]
    counts = dict(known.group_by("week_start").len().rows())
    while sum(counts[w] for w in train) > MAX_ROWS:
        train = train[1:]
    if len(train) < 2:  # noqa: PLR2004
        raise ValueError(
            f"the panel leaves {len(train)} week(s) to learn from {horizon} week(s) ahead; at "
            f"least {last + horizon + 2} weeks are needed"
        )
    return test, train


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark; 2 if the data cannot be used."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("panel", type=Path, help="Parquet or CSV file with a demand panel")
    parser.add_argument("--last", type=positive, default=13, help="weeks to forecast")
    parser.add_argument("--horizon", type=positive, default=1, help="weeks ahead")
    parser.add_argument("--seed", type=int, default=SEED, help="of everything drawn")
    parser.add_argument("--threads", type=positive, help="threads of the learners")
    parser.add_argument("--json", type=Path, help="write the result to this file")
    given = parser.parse_args(arguments)

    started = time.perf_counter()
    errors = Console(stderr=True, highlight=False)

    def progress(line: str) -> None:
        errors.print(f"[{time.perf_counter() - started:6.1f} s] {line}", markup=False)

    try:
        found = run(
            read(given.panel),
            last=given.last,
            horizon=given.horizon,
            seed=given.seed,
            threads=given.threads,
            progress=progress,
        )
    except (ValueError, FileNotFoundError, pl.exceptions.PolarsError) as error:
        errors.print(f"benchmarks/demand.py: {error}", style="bold red", markup=False)
        return 2
    seconds = time.perf_counter() - started
    progress("done")
    models = found.levels[ROWS]["models"]
    asked = f"{given.panel.name}, {given.last} weeks, {given.horizon} ahead"
    Console().print(_table(models, title=f"{asked}: {found.levels[ROWS]['rows']:,} rows"))
    floor = found.levels[ROWS]["poisson_floor"]["wape"]
    print(f"zero forecast: WAPE 1.000; Poisson floor: WAPE {floor:.3f}")
    print(f"95 % interval covers {found.facts['coverage']:.3f}")
    ratios = _ratios(models)
    for name, ratio in ratios.items():
        print(f"{name} {ratio:.3f}")
    if given.json:
        levels = {name: found.levels[name] for name in (ROWS, CHAIN, CATEGORY)}
        write_result(
            given.json,
            benchmark="demand",
            figures=found.facts
            | levels
            | {"seconds": seconds}
            | {name: getattr(given, name) for name in ("last", "horizon", "seed")},
            ratios=ratios,
            models=models,
        )
        print(f"written to {given.json}")
    return 0


def _ratios(models: dict[str, dict[str, float]]) -> dict[str, float]:
    wape = {name: values["wape"] for name, values in models.items()}
    others = {name: value for name, value in wape.items() if name != MODEL}
    return {
        "wape_over_scan_pro": wape[MODEL] / wape["scan_pro"],
        "wape_over_best": wape[MODEL] / min(others.values()),
    }


def _table(models: dict[str, dict[str, float]], *, title: str) -> Table:
    table = Table(title=title)
    table.add_column("model")
    for metric in METRICS:
        table.add_column(metric, justify="right")
    for name in sorted(models, key=lambda each: models[each]["wape"]):
        values = [models[name].get(metric, np.nan) for metric in METRICS]
        table.add_row(name, *("" if np.isnan(v) else f"{v:.4f}" for v in values))
    return table


if __name__ == "__main__":
    sys.exit(main())
