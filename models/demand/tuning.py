"""Tuning of the demand model: which weeks, which stores, and what a trial is worth.

Validation is by week, never at random. The search is that of the ranker: seeded, resumable, and
with a first look at fewer stores that stops the worse half.
"""

from __future__ import annotations

from collections.abc import Generator
from datetime import date
from types import MappingProxyType

import polars as pl
from optuna.distributions import FloatDistribution, IntDistribution

from models.demand import xgboost_demand
from models.demand.features import FEATURES
from models.demand.thinning import ZEROS_PER_SALE
from models.evaluation.demand_metrics import poisson_deviance
from models.ranking.study import OnTrial, Params, Space, StudyResult, search, study_name
from models.ranking.tuning import check_weeks, sample_households

# Ranges around values that work on sparse and on dense panels; regularisation on a log scale.
SPACE: Space = MappingProxyType(
    {
        "eta": FloatDistribution(0.03, 0.2, log=True),
        "max_depth": IntDistribution(4, 8),
        "min_child_weight": FloatDistribution(20.0, 1000.0, log=True),
        "reg_lambda": FloatDistribution(5.0, 300.0, log=True),
        "colsample_bytree": FloatDistribution(0.3, 1.0),
        "subsample": FloatDistribution(0.5, 1.0),
    }
)

# Stores that trials learn from and are judged on, and how many fewer a first look takes.
STORES = 48
FIRST_LOOK = 3


def tune(
    learned: pl.DataFrame,
    unseen: pl.DataFrame,
    *,
    last_week: date,
    data_snapshot: str,
    storage: str,
    seed: int,
    trials: int,
    rounds: int,
    stores: int | None = STORES,
    threads: int = 1,
    on_trial: OnTrial | None = None,
) -> StudyResult:
    """Search the parameters with the smallest Poisson deviance on the validation weeks.

    Args:
        learned: Labelled examples to learn from, sorted; zeros may be thinned.
        unseen: Labelled examples to judge on, every one of their weeks.
        last_week: Last week that tuning may look at.
        data_snapshot: Names the data; another one is another study.
        storage: SQLAlchemy address of the studies.
        seed: Of the sample of stores, of the sampler and of training.
        trials: Finished trials to reach.
        rounds: Trees of each trial.
        stores: To sample; all if ``None``.
        threads: Of each trial.
        on_trial: Called after each trial of this process; values are deviances below zero.

    Raises:
        ValueError: Weeks overlap, are out of order, come after ``last_week`` or have no examples.
    """
    weeks = [part["week_start"].unique().sort().to_list() for part in (learned, unseen)]
    check_weeks(*weeks, last_as_of=last_week)
    defaults = dict(xgboost_demand.DEFAULT_PARAMS)
    name = study_name(
        "demand-xgboost",
        space=SPACE,
        data_snapshot=data_snapshot,
        features=list(FEATURES),
        weeks=[[str(w) for w in part] for part in weeks],
        horizon=int(learned["horizon"][0]),
        stores=stores,
        first_look=FIRST_LOOK,
        # Their share is that of all weeks learned from, not of the stores sampled.
        zeros=[ZEROS_PER_SALE, "all weeks"],
        rounds=rounds,
        seed=seed,
        start=defaults,
        fixed=dict(xgboost_demand.FIXED_PARAMS),
    )
    kept = sample_households(learned["store_id"], size=stores, seed=seed)
    fewer = sample_households(kept, size=max(1, kept.len() // FIRST_LOOK), seed=seed)
    parts = {
        part: learned.filter(pl.col("store_id").is_in(chosen.implode()))
        for part, chosen in (("fewer", fewer), ("all", kept))
    }
    unseen = unseen.filter(pl.col("store_id").is_in(kept.implode()))
    # Prepared on first use: a search that only looks back needs none.
    prepared: dict[str, xgboost_demand.DemandData] = {}

    def value(part: str, params: Params) -> float:
        if part not in prepared:
            prepared[part] = xgboost_demand.prepare(parts[part], threads=threads)
        model = xgboost_demand.fit(
            prepared[part], params=params, rounds=rounds, seed=seed, threads=threads
        )
        mean = xgboost_demand.predict(model, unseen).to_numpy()
        return -poisson_deviance(unseen["units"].to_numpy(), mean)

    def objective(params: Params) -> Generator[float, None, float]:
        yield value("fewer", params)
        return value("all", params)

    return search(
        objective,
        space=SPACE,
        storage=storage,
        name=name,
        seed=seed,
        trials=trials,
        start=defaults,
        on_trial=on_trial,
    )
