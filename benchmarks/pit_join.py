"""Point-in-time assembly next to bare joins: 100,000 labels against 1,000,000 x 20 features.

All three get the same unsorted frames and must answer the label rows in their own order with the
20 features appended, so each pays for the sorting it needs. ``join_asof`` and ``ASOF`` run bare;
assembly also refuses duplicates, overlaps and nulls, and checks the row count.

    python benchmarks/pit_join.py [--json FILE] [--repeat N]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
from rich.console import Console
from rich.progress import track
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.report import write_result
from models.features.point_in_time import assemble

LABELS = 100_000
FEATURES = 1_000_000
COLUMNS = 20
# As many entities as the Complete Journey panel has households, rounded.
ENTITIES = 2_500
YEAR_SECONDS = 364 * 86_400
START = datetime.fromisoformat("2017-01-02T05:00:00")
SEED = 20170102
BUDGET = 1.5


def inputs() -> tuple[pl.DataFrame, pl.DataFrame]:
    """Unsorted labels and features with text keys and distinct feature times per entity."""
    rng = np.random.default_rng(SEED)
    names = np.array([f"{i:012x}" for i in range(ENTITIES)])
    per_entity = FEATURES // ENTITIES
    seconds = np.concatenate(
        [rng.choice(YEAR_SECONDS, size=per_entity, replace=False) for _ in range(ENTITIES)]
    )
    order = rng.permutation(FEATURES)
    features = _frame(names[np.repeat(np.arange(ENTITIES), per_entity)[order]], seconds[order])
    values = {f"f{i:02d}": rng.random(FEATURES, dtype=np.float32) for i in range(COLUMNS)}
    labels = _frame(
        names[rng.integers(ENTITIES, size=LABELS)], rng.integers(YEAR_SECONDS, size=LABELS)
    ).with_columns(pl.Series("label", rng.integers(2, size=LABELS), dtype=pl.Int8))
    return labels, features.with_columns(**{n: pl.Series(v) for n, v in values.items()})


def _frame(entities: np.ndarray, seconds: np.ndarray) -> pl.DataFrame:
    at = pl.lit(START) + pl.duration(seconds=pl.col("seconds"))
    return pl.DataFrame({"household_id": entities, "seconds": seconds}).select(
        "household_id", at.cast(pl.Datetime("us")).alias("at")
    )


def assembled(labels: pl.DataFrame, features: pl.DataFrame) -> pl.DataFrame:
    return assemble(labels, features, on="household_id", label_time="at", feature_time="at")


def polars_bare(labels: pl.DataFrame, features: pl.DataFrame) -> pl.DataFrame:
    return (
        labels.with_row_index("row")
        .sort("at")
        .join_asof(features.sort("at"), on="at", by="household_id", check_sortedness=False)
        .sort("row")
        .drop("row")
    )


def duckdb_bare(labels: pl.DataFrame, features: pl.DataFrame) -> pl.DataFrame:
    with duckdb.connect() as connection:
        # A registered frame counts as one row, for which DuckDB picks a loop that takes minutes.
        connection.execute("set asof_loop_join_threshold = 0")
        connection.register("l", labels.with_row_index("row"))
        connection.register("f", features)
        return connection.sql(
            'select l.* exclude (row), f.* exclude (household_id, "at") from l asof left join f '
            'on l.household_id = f.household_id and l."at" >= f."at" order by l.row'
        ).pl()


def measure(
    contenders: dict[str, Callable[[pl.DataFrame, pl.DataFrame], pl.DataFrame]], *, repeat: int
) -> dict[str, float]:
    """Median seconds of each contender; one warm-up each, then turns, so that load hits all alike.

    Raises:
        RuntimeError: A contender lost or reordered a label, or disagrees with the others.
    """
    labels, features = inputs()
    expected = polars_bare(labels, features)
    for name, run in contenders.items():
        answer = run(labels, features)
        if answer.height != LABELS or not answer.select(labels.columns).equals(labels):
            raise RuntimeError(f"{name} answered {answer.height:,} rows, not the {LABELS:,} labels")
        if not answer.equals(expected):
            raise RuntimeError(f"{name} joined other features than polars join_asof")
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in track(range(repeat), description="pit_join", console=Console(stderr=True)):
        for name, run in contenders.items():
            started = time.perf_counter()
            run(labels, features)
            seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(took) for name, took in seconds.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", type=Path, help="write the result to this file")
    parser.add_argument("--repeat", type=int, default=9, help="timed runs of each contender")
    arguments = parser.parse_args()

    bare = {"polars join_asof": polars_bare, "duckdb asof": duckdb_bare}
    medians = measure({"liftgraph assemble": assembled, **bare}, repeat=arguments.repeat)
    ours = medians["liftgraph assemble"]
    ratio = ours / min(medians[name] for name in bare)

    table = Table(title=f"{LABELS:,} labels x {FEATURES:,} feature rows x {COLUMNS} features")
    table.add_column("contender")
    table.add_column("median s", justify="right")
    table.add_column("over ours", justify="right")
    for name, took in medians.items():
        table.add_row(name, f"{took:.3f}", f"{took / ours:.2f}")
    Console().print(table)
    print(f"over_fastest {ratio:.2f} (at most {BUDGET}); {LABELS:,} of {LABELS:,} label rows kept")
    if arguments.json:
        write_result(
            arguments.json,
            benchmark="pit_join",
            figures={
                "assemble_s": ours,
                "polars_join_asof_s": medians["polars join_asof"],
                "duckdb_asof_s": medians["duckdb asof"],
                "labels": LABELS,
                "labels_kept": LABELS,
                "feature_rows": FEATURES,
                "features": COLUMNS,
                "repetitions": arguments.repeat,
            },
            ratios={"over_fastest": ratio},
        )
        print(f"written to {arguments.json}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
