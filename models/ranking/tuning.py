"""Tuning of the offer ranker: which weeks, which households, and what a trial is worth.

Validation is by week, never at random, and no week after the last tuning week is looked at: the
weeks that the report is about stay unseen. Every family gets the same trials, weeks and households.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from datetime import date
from typing import Any

import numpy as np
import polars as pl

from models.evaluation.metrics import mean_metrics, per_event
from models.ranking.dataset import LABEL
from models.ranking.families import Family
from models.ranking.offers import ranked_offers
from models.ranking.study import OnTrial, Params, StudyResult, search, study_name

K = 10

# A trial first learns from one household in this many; the worse half stops there. A first look at
# fewer trees would favour those that learn fast and end badly.
FIRST_LOOK = 3


def tune(
    examples: pl.DataFrame,
    *,
    family: Family,
    purchases: pl.DataFrame,
    features: Sequence[str],
    train_as_ofs: Sequence[date],
    validation_as_ofs: Sequence[date],
    last_as_of: date,
    data_snapshot: str,
    storage: str,
    seed: int,
    trials: int,
    households: int | None = None,
    threads: int = 1,
    on_trial: OnTrial | None = None,
) -> StudyResult:
    """Search the parameters with which a family ranks the validation weeks best by NDCG@10.

    Args:
        examples: Labelled examples of both lists of as-ofs, sorted as ``dataset.examples`` does.
        family: What is tuned.
        purchases: ``household_id, product_id, as_of`` of everything bought in the validation weeks,
            candidates or not.
        features: Feature columns.
        train_as_ofs: As-ofs to train on.
        validation_as_ofs: As-ofs to judge on, all after the training ones.
        last_as_of: Last as-of that tuning may look at.
        data_snapshot: Names the data; another snapshot is another study.
        storage: SQLAlchemy address of the studies.
        seed: Of the sample of households, of the sampler and of training.
        trials: Finished trials to reach.
        households: Households to sample; all by default.
        threads: Of each trial; on a sample more than one wait for each other longer than they work.
        on_trial: Called after each trial of this process.

    Raises:
        ValueError: Weeks overlap, are out of order, come after ``last_as_of`` or have no examples.
    """
    check_weeks(train_as_ofs, validation_as_ofs, last_as_of=last_as_of)
    name = study_name(
        f"ranking-{family.name}",
        space=family.space,
        data_snapshot=data_snapshot,
        features=list(features),
        weeks=[[str(w) for w in sorted(ws)] for ws in (train_as_ofs, validation_as_ofs)],
        households=households,
        first_look=FIRST_LOOK,
        rounds=family.rounds,
        seed=seed,
        start=dict(family.defaults),
        identity=dict(family.identity),
    )
    kept = sample_households(examples["household_id"], size=households, seed=seed)
    fewer = sample_households(kept, size=max(1, kept.len() // FIRST_LOOK), seed=seed)
    sample = _of(examples, kept)
    learned = sample.filter(pl.col("as_of").is_in(list(train_as_ofs)))
    validation = sample.filter(pl.col("as_of").is_in(list(validation_as_ofs))).drop(LABEL)
    truth = _of(purchases.filter(pl.col("as_of").is_in(list(validation_as_ofs))), kept)
    # Prepared on first use: a search that only looks back needs none.
    prepared: dict[str, Any] = {}

    def value(part: str, rows: pl.DataFrame, params: Params) -> float:
        if part not in prepared:
            prepared[part] = family.prepare(rows, features, seed, threads)
        model = family.fit(prepared[part], params, family.rounds, seed, threads)
        return ndcg(family.score(model, validation), validation, truth=truth)

    def objective(params: Params) -> Generator[float, None, float]:
        yield value("fewer", _of(learned, fewer), params)
        return value("all", learned, params)

    return search(
        objective,
        space=family.space,
        storage=storage,
        name=name,
        seed=seed,
        trials=trials,
        start=dict(family.defaults),
        on_trial=on_trial,
    )


def judge(score: pl.Series, candidates: pl.DataFrame, *, truth: pl.DataFrame) -> pl.DataFrame:
    """How well scores rank, event by event.

    Args:
        score: Of each candidate.
        candidates: ``household_id, product_id, as_of, known_at, source``, further columns ignored.
        truth: ``household_id, product_id, as_of`` of everything bought, candidates or not.

    Returns:
        As ``metrics.per_event`` at 10.
    """
    rows = candidates.select(
        "household_id",
        "product_id",
        "as_of",
        "known_at",
        "source",
        score.alias("score"),
    )
    return per_event(ranked_offers(rows, k=K, model_version=""), truth, k=K)


def ndcg(score: pl.Series, candidates: pl.DataFrame, *, truth: pl.DataFrame) -> float:
    """Mean NDCG@10 over events; arguments as for ``judge``."""
    return mean_metrics(judge(score, candidates, truth=truth), k=K)[f"ndcg@{K}"]


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


def _of(frame: pl.DataFrame, households: pl.Series) -> pl.DataFrame:
    return frame.filter(pl.col("household_id").is_in(households.implode()))
