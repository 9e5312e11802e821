"""Tuning of the offer ranker: which weeks, which households, which parameters.

Validation is by week, never at random, and no week after the last tuning week is looked at: the
weeks that the report is about stay unseen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from types import MappingProxyType

import numpy as np
import polars as pl
from optuna.distributions import FloatDistribution, IntDistribution

from models.evaluation.metrics import mean_metrics, per_event
from models.ranking import xgboost_ranker
from models.ranking.dataset import LABEL
from models.ranking.offers import ranked_offers
from models.ranking.study import Params, Space, StudyResult, search, study_name

K = 10

# Ranges around values that work on any basket data; regularisation on a log scale.
SPACE: Space = MappingProxyType(
    {
        "eta": FloatDistribution(0.08, 0.3, log=True),
        "max_depth": IntDistribution(3, 7),
        "min_child_weight": FloatDistribution(5.0, 100.0, log=True),
        "reg_lambda": FloatDistribution(0.1, 30.0, log=True),
        "colsample_bytree": FloatDistribution(0.4, 1.0),
    }
)


def tune(
    examples: pl.DataFrame,
    *,
    purchases: pl.DataFrame,
    features: Sequence[str],
    train_as_ofs: Sequence[date],
    validation_as_ofs: Sequence[date],
    last_as_of: date,
    data_snapshot: str,
    storage: str,
    seed: int,
    rounds: int,
    trials: int,
    households: int | None = None,
    space: Space = SPACE,
    start: Mapping[str, object] = xgboost_ranker.DEFAULT_PARAMS,
    on_trial: Callable[[int, Params, float], None] | None = None,
) -> StudyResult:
    """Search the parameters that rank the validation weeks best by NDCG@10.

    Args:
        examples: Labelled examples of both lists of as-ofs, sorted as ``dataset.examples`` does.
        purchases: ``household_id, product_id, as_of`` of everything bought in the validation weeks,
            candidates or not.
        features: Feature columns.
        train_as_ofs: As-ofs to train on.
        validation_as_ofs: As-ofs to judge on, all after the training ones.
        last_as_of: Last as-of that tuning may look at.
        data_snapshot: Names the data; another snapshot is another study.
        storage: SQLAlchemy address of the studies.
        seed: Of the sample of households, of the sampler and of training.
        rounds: Trees per trial.
        trials: Finished trials to reach.
        households: Households to sample; all by default.
        space: Search space.
        start: Parameters of the first trial.
        on_trial: Called after each trial with index, parameters and value.

    Raises:
        ValueError: Weeks overlap, are out of order, come after ``last_as_of`` or have no examples.
    """
    check_weeks(train_as_ofs, validation_as_ofs, last_as_of=last_as_of)
    name = study_name(
        "ranking",
        space=space,
        data_snapshot=data_snapshot,
        features=list(features),
        weeks=[[str(w) for w in sorted(ws)] for ws in (train_as_ofs, validation_as_ofs)],
        households=households,
        rounds=rounds,
        seed=seed,
        start=dict(start),
        fixed=dict(xgboost_ranker.FIXED_PARAMS),
    )
    kept = sample_households(examples["household_id"], size=households, seed=seed)
    sample = examples.filter(pl.col("household_id").is_in(kept.implode()))
    data = xgboost_ranker.prepare(
        sample.filter(pl.col("as_of").is_in(list(train_as_ofs))), features=features
    )
    validation = sample.filter(pl.col("as_of").is_in(list(validation_as_ofs)))
    matrix = xgboost_ranker.to_matrix(validation, features)
    rows = validation.drop(*features, LABEL)
    truth = purchases.filter(
        pl.col("as_of").is_in(list(validation_as_ofs))
        & pl.col("household_id").is_in(kept.implode())
    )

    def objective(params: Params) -> float:
        model = xgboost_ranker.fit(data, params=params, rounds=rounds, seed=seed)
        scored = rows.with_columns(pl.Series("score", xgboost_ranker.score(model, matrix)))
        ranking = ranked_offers(scored, k=K, model_version=name)
        return mean_metrics(per_event(ranking, truth, k=K), k=K)[f"ndcg@{K}"]

    return search(
        objective,
        space=space,
        storage=storage,
        name=name,
        seed=seed,
        trials=trials,
        start=dict(start),
        on_trial=on_trial,
    )


def check_weeks(
    train_as_ofs: Sequence[date], validation_as_ofs: Sequence[date], *, last_as_of: date
) -> None:
    """Refuse a split that would let tuning see what it must not.

    Raises:
        ValueError: A list is empty, validation does not follow training, or a week comes after
            ``last_as_of``.
    """
    if not train_as_ofs or not validation_as_ofs:
        raise ValueError(
            "tuning needs training and validation as-ofs, got "
            f"{len(train_as_ofs)} and {len(validation_as_ofs)}"
        )
    if max(train_as_ofs) >= min(validation_as_ofs):
        raise ValueError(
            f"tuning: training runs to {max(train_as_ofs)} but validation starts at "
            f"{min(validation_as_ofs)}; validate on weeks after the training ones"
        )
    if max(validation_as_ofs) > last_as_of:
        raise ValueError(
            f"tuning: validation as-of {max(validation_as_ofs)} is after {last_as_of}, the last "
            "one that tuning may look at; later weeks are for the report alone"
        )


def sample_households(ids: pl.Series, *, size: int | None, seed: int) -> pl.Series:
    """A seeded sample of households, the same for any order of ``ids``.

    Args:
        ids: Household ids, repeated or not.
        size: How many; all if ``None`` or if there are fewer.
        seed: Of the draw.
    """
    known = ids.unique().sort()
    if size is None or size >= known.len():
        return known
    drawn = np.random.default_rng(seed).choice(known.len(), size=size, replace=False)
    return known.gather(np.sort(drawn))
