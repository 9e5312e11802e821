"""The offer ranker beside every baseline on anybody's baskets.

    python benchmarks/ranking.py DATA [--split last-basket|calendar] [--days 7] [--k 10]
        [--json FILE]

DATA is a Parquet or CSV file (or a folder of Parquet files) with ``household_id, basket_id,
product_id`` and ``sold_at`` (a date or time) or ``order`` (a number); other columns are ignored.
``last-basket`` foresees what is in every household's last basket when it stands at the till,
``calendar`` all purchases of the last ``--days`` days of the data. Of what is to be foreseen only
the time is known, to every system alike; and no model sees what everybody bought of late.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.arguments import positive
from benchmarks.report import write_result
from models.evaluation.bootstrap import Interval, paired_interval
from models.evaluation.metrics import METRICS, mean_metrics, per_event
from models.ranking.next_basket import (
    CALENDAR,
    LAST_BASKET,
    WINDOW_DAYS,
    Split,
    calendar,
    last_basket,
    next_basket_data,
)
from models.ranking.next_basket_model import MODEL, Outcome, rank_all
from models.ranking.tuning import sample_households

# Above either, a seeded sample of households: about 3 GB and three minutes on two cores.
HOUSEHOLDS = 5_000
LINES = 2_500_000

SEED = 20170102
REFERENCE = "gp_topfreq"
CHALLENGERS = (MODEL, "lightgbm", "neural")

COLUMNS = ("household_id", "basket_id", "product_id")
CLOCKS = ("sold_at", "order")


@dataclass(frozen=True)
class Judged:
    """Metrics of every system and the paired intervals of the learned one minus each baseline."""

    metrics: dict[str, dict[str, float]]
    differences: dict[str, dict[str, Interval]]
    events: int


def read(path: Path, *, seed: int, progress: Callable[[str], None]) -> pl.DataFrame:
    """The needed columns of a file, of a sample of households if there are too many.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is neither Parquet nor CSV, or lacks a column.
    """
    if not path.exists():
        raise FileNotFoundError(f"no file {path}; name a Parquet or CSV file with baskets")
    if path.is_dir():
        lines = pl.scan_parquet(path / "*.parquet")
    elif path.suffix in {".parquet", ".pq"}:
        lines = pl.scan_parquet(path)
    elif path.suffix in {".csv", ".gz"}:
        # Ids stay text: 007 is not 7.
        texts = dict.fromkeys(COLUMNS, pl.String)
        lines = pl.scan_csv(path, try_parse_dates=True, schema_overrides=texts)
    else:
        raise ValueError(f"{path} is neither Parquet nor CSV; convert it to one of them")
    schema = lines.collect_schema()
    missing = [name for name in COLUMNS if name not in schema]
    clock = next((name for name in CLOCKS if name in schema), None)
    if missing or clock is None:
        raise ValueError(
            f"{path}: no column {', '.join(missing or ['sold_at or order'])} among "
            f"{list(schema)}; rename or add it"
        )
    lines = lines.select(*COLUMNS, clock)
    counts = lines.group_by("household_id").agg(pl.len().alias("lines")).collect()
    progress(f"{counts['lines'].sum():,} lines of {counts.height:,} households in {path.name}")
    kept = _sample(counts, seed=seed)
    if kept.len() < counts.height:
        progress(f"a sample of {kept.len():,} households, to bound memory and time")
        lines = lines.filter(pl.col("household_id").is_in(kept.implode()))
    return lines.collect()


def judge(outcome: Outcome, purchases: pl.DataFrame, *, k: int, seed: int) -> Judged:
    """Every ranking on the same events."""
    events = {name: per_event(found, purchases, k=k) for name, found in outcome.rankings.items()}
    return Judged(
        metrics={name: mean_metrics(frame, k=k) for name, frame in events.items()},
        differences={
            name: {
                f"{metric}@{k}": paired_interval(events[MODEL], frame, column, seed=seed)
                for metric, column in METRICS.items()
            }
            for name, frame in events.items()
            if name != MODEL
        },
        events=events[MODEL].height,
    )


def run(
    frame: pl.DataFrame,
    *,
    split: str,
    k: int,
    seed: int,
    days: int = WINDOW_DAYS,
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[Judged, Outcome, Split]:
    """Split, learn, rank and judge.

    Args:
        frame: As ``read`` returns it.
        split: ``last-basket`` or ``calendar``.
        k: Length of a ranking.
        seed: Of everything drawn.
        days: Length of the calendar split's window.
        progress: Called with a line before every step.

    Raises:
        ValueError: The data cannot be used, or not for this split.
    """
    data = next_basket_data(frame)
    held_out = last_basket(data) if split == LAST_BASKET else calendar(data, days=days)
    outcome = rank_all(held_out, k=k, seed=seed, on_progress=progress)
    return judge(outcome, held_out.test.purchases, k=k, seed=seed), outcome, held_out


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark; 2 if the data cannot be used."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="Parquet or CSV file with baskets")
    parser.add_argument("--split", choices=[LAST_BASKET, CALENDAR], default=LAST_BASKET)
    parser.add_argument(
        "--days", type=positive, default=WINDOW_DAYS, help="what the calendar split holds out"
    )
    parser.add_argument("--k", type=positive, default=10, help="length of a ranking")
    parser.add_argument("--seed", type=int, default=SEED, help="of everything drawn")
    parser.add_argument("--json", type=Path, help="write the result to this file")
    given = parser.parse_args(arguments)

    started = time.perf_counter()
    errors = Console(stderr=True, highlight=False)

    def progress(line: str) -> None:
        errors.print(f"[{time.perf_counter() - started:6.1f} s] {line}", markup=False)

    try:
        frame = read(given.data, seed=given.seed, progress=progress)
        judged, outcome, split = run(
            frame,
            split=given.split,
            k=given.k,
            seed=given.seed,
            days=given.days,
            progress=progress,
        )
    except (ValueError, FileNotFoundError, pl.exceptions.PolarsError) as error:
        errors.print(f"benchmarks/ranking.py: {error}", style="bold red", markup=False)
        return 2
    seconds = time.perf_counter() - started
    progress("done")
    ratios = _ratios(judged, k=given.k)
    Console().print(_table(judged, title=_title(given, judged), k=given.k))
    for name, ratio in ratios.items():
        print(f"{name} {ratio:.3f}")
    if given.json:
        figures = _figures(frame, given.split, given.days, judged, outcome, split)
        figures |= {"seconds": seconds, "k": given.k, "seed": given.seed}
        write_result(
            given.json,
            benchmark="ranking",
            figures=figures,
            ratios=ratios,
            models=judged.metrics,
        )
        print(f"written to {given.json}")
    return 0


def _sample(counts: pl.DataFrame, *, seed: int) -> pl.Series:
    """Households to keep: at most ``HOUSEHOLDS`` of them, with at most ``LINES`` lines."""
    if counts.height <= HOUSEHOLDS and counts["lines"].sum() <= LINES:
        return counts["household_id"]
    fitting = max(1, int(counts.height * LINES / counts["lines"].sum()))
    return sample_households(counts["household_id"], size=min(HOUSEHOLDS, fitting), seed=seed)


def _ratios(judged: Judged, *, k: int) -> dict[str, float]:
    """NDCG of the learned ranker over the reference and over the best baseline."""
    ndcg = {name: metrics[f"ndcg@{k}"] for name, metrics in judged.metrics.items()}
    baselines = {name: value for name, value in ndcg.items() if name not in CHALLENGERS}
    over = {"ndcg_over_gp_topfreq": baselines[REFERENCE], "ndcg_over_best": max(baselines.values())}
    return {name: ndcg[MODEL] / value for name, value in over.items() if value > 0}


def _figures(
    frame: pl.DataFrame, how: str, days: int, judged: Judged, outcome: Outcome, split: Split
) -> dict[str, Any]:
    return {
        "split": how,
        "days": days if how == CALENDAR else None,
        "timed": split.timed,
        "lines": frame.height,
        "households": frame["household_id"].n_unique(),
        "products": frame["product_id"].n_unique(),
        "test_events": judged.events,
        "training_events": outcome.trained_on,
        "training_origins": len(split.train),
        "rounds": outcome.rounds,
        "candidates": outcome.candidates,
        "candidate_recall": outcome.candidate_recall,
        "tifu_knn": asdict(outcome.settings.tifu),
        "up_cf": asdict(outcome.settings.upcf),
        "differences": {
            name: {metric: interval.as_dict() for metric, interval in values.items()}
            for name, values in judged.differences.items()
        },
        "importance": dict(outcome.importance.head(15).rows()),
    }


def _title(given: argparse.Namespace, judged: Judged) -> str:
    return f"{given.data.name}, {given.split}: {judged.events:,} events"


def _table(judged: Judged, *, title: str, k: int) -> Table:
    table = Table(title=title)
    table.add_column("system")
    for metric in METRICS:
        table.add_column(f"{metric}@{k}", justify="right")
    # The interval is the paired one of the NDCG, 95 %.
    table.add_column(f"{MODEL} ahead by", justify="right", no_wrap=True)
    ranked = sorted(judged.metrics, key=lambda name: -judged.metrics[name][f"ndcg@{k}"])
    for name in ranked:
        interval = judged.differences.get(name, {}).get(f"ndcg@{k}")
        table.add_row(
            name,
            *(f"{judged.metrics[name][f'{metric}@{k}']:.4f}" for metric in METRICS),
            f"{interval.estimate:+.3f} ({interval.low:+.3f} to {interval.high:+.3f})"
            if interval
            else "",
        )
    return table


if __name__ == "__main__":
    sys.exit(main())
