"""Batch scoring of a week: every household's candidates, next to bare ``inplace_predict``.

Ours is the path of the graph: a frame of examples becomes a matrix, is scored, and is cut to the
offers of each household. Bare is XGBoost's fastest call on the same matrix, ready made. The model
is a small one trained here on made-up data of the real shape, so no lake is needed.

    python benchmarks/scoring.py [--json FILE] [--households N] [--candidates N] [--repeat N]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from datetime import date, datetime
from datetime import time as time_of_day
from pathlib import Path

import numpy as np
import polars as pl
from rich.console import Console
from rich.progress import track
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.report import write_result
from models import xgboost_booster
from models.ranking import xgboost_ranker
from models.ranking.inputs import FEATURES
from models.ranking.offers import ranked_offers
from models.ranking.order import OrderBy, top

# The Complete Journey's panel.
HOUSEHOLDS = 2_469
CANDIDATES = 500
# As many as the graph stores per household.
OFFERS = 20
AS_OF = date(2018, 1, 1)
SEED = 20170102
TARGET = 0.70

_TRAIN_HOUSEHOLDS = 200
# Most features of a pair are unknown until the household has bought the product.
_MISSING = 0.2


def week(*, households: int, candidates: int, seed: int) -> pl.DataFrame:
    """Examples of one week, laid out as ``dataset.examples`` does; the label follows features."""
    rng = np.random.default_rng(seed)
    rows = households * candidates
    products = np.array([f"{i:07d}" for i in range(max(20_000, candidates))])
    chosen = np.concatenate(
        [
            np.sort(rng.choice(products.size, size=candidates, replace=False))
            for _ in range(households)
        ]
    )
    features = {}
    drive = np.zeros(rows)
    for i, name in enumerate(FEATURES.names):
        values = rng.gamma(1.0, 10.0, size=rows).astype(np.float32)
        drive += values / (10.0 * (i + 1))
        features[name] = pl.Series(name, values).set(pl.Series(rng.random(rows) < _MISSING), None)
    label = drive + rng.gumbel(size=rows) > np.quantile(drive, 0.95)
    return pl.DataFrame(
        {
            "household_id": np.repeat([f"{i:024x}" for i in range(households)], candidates),
            "product_id": products[chosen],
        }
    ).with_columns(
        pl.lit(AS_OF).alias("as_of"),
        pl.lit(datetime.combine(AS_OF, time_of_day())).alias("known_at"),
        pl.lit("personal").alias("source"),
        *features.values(),
        pl.Series("label", label.astype(np.int8)),
    )


def ours(model: bytes, rows: pl.DataFrame) -> pl.DataFrame:
    scores = xgboost_ranker.score_frame(model, rows)
    scored = rows.select("household_id", "product_id", "as_of", "known_at", "source").with_columns(
        scores.alias("score")
    )
    return ranked_offers(scored, k=OFFERS, model_version="benchmark")


def check(offers: pl.DataFrame, rows: pl.DataFrame, scores: np.ndarray) -> None:
    """Refuse a fast answer that is not the right one.

    Raises:
        RuntimeError: The offers are not those of a plain sort of the bare scores.
    """
    plain = top(
        rows.lazy()
        .select("household_id", "as_of", "product_id")
        .with_columns(pl.Series("score", scores).cast(pl.Float64)),
        group=("as_of", "household_id"),
        order=(OrderBy("score"),),
        limit=OFFERS,
    ).collect()
    columns = ["household_id", "rank", "product_id", "score"]
    if not offers.select(columns).equals(plain.select(columns)):
        raise RuntimeError("the offers differ from a plain sort of bare scores")


def measure(*, households: int, candidates: int, repeat: int) -> dict[str, float]:
    """Median seconds of ours and bare; a warm-up each, then turns, so that load hits both alike."""
    learned = week(households=_TRAIN_HOUSEHOLDS, candidates=candidates, seed=SEED)
    model = xgboost_ranker.train(
        learned, features=FEATURES.names, rounds=xgboost_ranker.DEFAULT_ROUNDS, seed=SEED
    )
    rows = week(households=households, candidates=candidates, seed=SEED + 1).drop("label")
    booster = xgboost_booster.load(model)
    matrix = xgboost_booster.to_matrix(rows, FEATURES.names)
    runs: dict[str, Callable[[], object]] = {
        "liftgraph": lambda: ours(model, rows),
        "bare": lambda: booster.inplace_predict(matrix),
    }
    check(ours(model, rows), rows, booster.inplace_predict(matrix))
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in track(range(repeat), description="scoring", console=Console(stderr=True)):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(took) for name, took in seconds.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", type=Path, help="write the result to this file")
    parser.add_argument("--households", type=int, default=HOUSEHOLDS)
    parser.add_argument("--candidates", type=int, default=CANDIDATES, help="per household")
    parser.add_argument("--repeat", type=int, default=9, help="timed runs of each")
    arguments = parser.parse_args()

    rows = arguments.households * arguments.candidates
    medians = measure(
        households=arguments.households,
        candidates=arguments.candidates,
        repeat=arguments.repeat,
    )
    ratio = medians["bare"] / medians["liftgraph"]

    table = Table(
        title=f"{arguments.households:,} households x {arguments.candidates:,} candidates x "
        f"{len(FEATURES.names)} features, {xgboost_ranker.DEFAULT_ROUNDS} trees"
    )
    table.add_column("path")
    table.add_column("median s", justify="right")
    table.add_column("rows per second", justify="right")
    for name, took in medians.items():
        table.add_row(name, f"{took:.3f}", f"{rows / took:,.0f}")
    Console().print(table)
    print(f"scoring_vs_bare {ratio:.2f} (at least {TARGET:.2f})")
    if arguments.json:
        write_result(
            arguments.json,
            benchmark="scoring",
            figures={
                "liftgraph_s": medians["liftgraph"],
                "bare_s": medians["bare"],
                "rows_per_s": rows / medians["liftgraph"],
                "bare_rows_per_s": rows / medians["bare"],
                "rows": rows,
                "households": arguments.households,
                "candidates": arguments.candidates,
                "features": len(FEATURES.names),
                "trees": xgboost_ranker.DEFAULT_ROUNDS,
                "offers": OFFERS,
                "repetitions": arguments.repeat,
            },
            ratios={"scoring_vs_bare": ratio},
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
