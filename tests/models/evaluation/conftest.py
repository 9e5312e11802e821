from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from models.evaluation.ranking import evaluate_ranking
from models.evaluation.result import EvaluationResult, Lineage
from models.evaluation.sources import candidate_events

FIRST = date(2017, 10, 30)
PRODUCTS = [f"p{i}" for i in range(8)]
SOURCES = {"personal": "personal_rank", "global": "global_rank"}
HOUSEHOLDS = [f"hh{i:010}" for i in range(50)]


def rankings_and_truth() -> tuple[dict[str, pl.DataFrame], pl.DataFrame]:
    """A model that mostly sees what will be bought, and two baselines that do not."""
    rng = np.random.default_rng(1)
    lists: dict[str, list] = {"xgboost": [], "g_topfreq": [], "gp_topfreq": []}
    truth = []
    for week in (FIRST + timedelta(weeks=w) for w in range(3)):
        for household in HOUSEHOLDS:
            liking = rng.random(8)
            truth += [(household, week, PRODUCTS[i]) for i in np.flatnonzero(liking > 0.7)]
            for name, noise in (("xgboost", 0.3), ("gp_topfreq", 0.8), ("g_topfreq", 5.0)):
                order = np.argsort(-(liking + noise * rng.random(8)))
                lists[name] += [(household, week, PRODUCTS[p], r + 1) for r, p in enumerate(order)]
    keys = {"household_id": pl.String, "as_of": pl.Date, "product_id": pl.String}
    frames = {
        name: pl.DataFrame(rows, schema={**keys, "rank": pl.Int32}, orient="row")
        for name, rows in lists.items()
    }
    return frames, pl.DataFrame(truth, schema=keys, orient="row")


def evaluated(**changes: object) -> EvaluationResult:
    rankings, truth = rankings_and_truth()
    lines = truth.sample(fraction=0.5, seed=1).select(
        "household_id", "product_id", week_start=pl.lit(FIRST - timedelta(weeks=2))
    )
    candidates = rankings["xgboost"].with_columns(
        pl.when(pl.col("rank") <= 4).then("rank").alias("personal_rank"),
        pl.col("rank").alias("global_rank"),
    )
    given = {
        "model": "xgboost",
        "purchases": truth,
        "lines": lines.lazy(),
        "candidates": candidate_events(candidates, truth, sources=SOURCES),
        "sources": tuple(SOURCES),
        "importance": pl.DataFrame({"feature": ["hp_habit", "p_<popular>"], "gain": [0.7, 0.3]}),
        "lineage": Lineage(
            model_version="v-7",
            data_snapshot="412",
            feature_set_hash="abc123",
            git_revision="deadbeef",
            seed=3,
            maturity_cut=FIRST,
            train_as_ofs=(FIRST - timedelta(weeks=1),),
            params={"eta": 0.1},
        ),
        "k": 3,
        "seed": 3,
        "draws": 300,
        **changes,
    }
    return evaluate_ranking(rankings, **given)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def result() -> EvaluationResult:
    return evaluated()
