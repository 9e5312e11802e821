"""Rankings of next-basket data: the learned ones and every baseline, on the same events.

Whatever is chosen (parameters of the neighbour baselines, trees of the ranker) is chosen on the
origins to learn from; the origin to judge on is read once, to be ranked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
import polars as pl

from models import xgboost_booster
from models.evaluation.metrics import mean_metrics, per_event
from models.ranking import baselines, lightgbm_ranker, neural_ranker, xgboost_ranker
from models.ranking.basket_history import numbered_history
from models.ranking.dataset import LABEL
from models.ranking.neighbours import TIFU, UPCF, TifuParams, UpcfParams, tifu_knn, up_cf
from models.ranking.next_basket import TRAIN_EVENTS, Origin, Split, baseline_inputs
from models.ranking.next_basket_features import Neighbours, examples, feature_names
from models.ranking.order import OrderBy, top
from models.ranking.tuning import sample_households

Progress = Callable[[str], None]

MODEL = "xgboost"

# Slower than the served ranker's default, and stopped where unseen households are ranked best.
PARAMS: Mapping[str, Any] = MappingProxyType(
    {
        "eta": 0.12,
        "max_depth": 5,
        "min_child_weight": 20.0,
        "reg_lambda": 5.0,
        "colsample_bytree": 0.6,
    }
)
ROUNDS = (20, 40, 60, 80, 100, 125, 150)

# One model per fold of households learns from the others; their mean ranks better than one model
# of all, and what each has not seen tells how many trees to keep.
FOLDS = 3

# The published neighbour methods are judged with the setting that suits the data best, out of
# those of their papers and those that suit a grocer's year.
TIFU_SETTINGS = (TIFU, TifuParams(m=7, r_b=0.9, r_g=0.7), TifuParams(m=3, r_b=0.9, r_g=0.9))
UPCF_SETTINGS = (UPCF, UpcfParams(r=25, alpha=0.75, q=20.0), UpcfParams(r=100, alpha=0.5, q=50.0))


@dataclass(frozen=True)
class Outcome:
    """Every system's ranking of the test origin.

    Attributes:
        rankings: System to ``household_id, as_of, product_id, rank``; ``MODEL`` is the learned one.
        trained_on: Events learned from.
        candidates: Candidates of the test events.
        candidate_recall: Share of what was bought next that they hold.
        rounds: Trees kept.
        settings: What was chosen for the neighbour methods.
        importance: ``feature, gain``.
    """

    rankings: Mapping[str, pl.DataFrame]
    trained_on: int
    candidates: int
    candidate_recall: float
    rounds: int
    settings: Neighbours
    importance: pl.DataFrame


def rank_all(split: Split, *, k: int, seed: int, on_progress: Progress = lambda _: None) -> Outcome:
    """Rank the test origin with the baselines, and with models learned from the earlier origins.

    Args:
        split: From ``next_basket``.
        k: Length of a ranking.
        seed: Of every sample and fit.
        on_progress: Called with a line before every step.

    Raises:
        ValueError: No candidate of the earlier origins was bought.
    """
    on_progress("settings of TIFU-kNN and UP-CF, on the last origin to learn from")
    settings = choose_neighbours(split.train[-1], k=k)
    features = feature_names(timed=split.timed)
    learn = _training_examples(split, settings=settings, k=k, seed=seed, on_progress=on_progress)
    on_progress(f"candidates and features of {split.test.events.height:,} test events")
    asked = examples(
        split.test,
        households=split.test.events["household_id"],
        settings=settings,
        timed=split.timed,
        seed=seed,
        labelled=False,
        k=k,
    )
    on_progress(f"xgboost on {learn.height:,} candidates")
    purchases = pl.concat(origin.purchases for origin in split.train)
    model = fit_folds(learn, purchases, features=features, k=k, seed=seed)
    rankings = {MODEL: best(asked, model.score(asked), k=k)}
    on_progress("lightgbm")
    other = lightgbm_ranker.train(learn, features=features, seed=seed)
    rankings["lightgbm"] = best(asked, lightgbm_ranker.score_frame(other, asked), k=k)
    on_progress("neural")
    other = neural_ranker.train(learn, features=features, seed=seed)
    rankings["neural"] = best(asked, neural_ranker.score_frame(other, asked), k=k)
    on_progress("baselines")
    rankings |= rank_baselines(split.test, timed=split.timed, settings=settings, k=k)
    pair = ["household_id", "product_id"]
    held = split.test.purchases.join(asked.select(pair), on=pair, how="semi").height
    return Outcome(
        rankings=rankings,
        trained_on=learn.select(pl.struct("as_of", "household_id").n_unique()).item(),
        candidates=asked.height,
        candidate_recall=held / split.test.purchases.height,
        rounds=model.rounds,
        settings=settings,
        importance=model.importance(),
    )


def rank_baselines(
    origin: Origin, *, timed: bool, settings: Neighbours, k: int
) -> dict[str, pl.DataFrame]:
    """All eight baselines at one origin, by their registered names."""
    counts, baskets = baseline_inputs(origin, timed=timed)
    params: dict[str, Any] = {"tifu_knn": settings.tifu, "up_cf": settings.upcf}
    found = {
        name: rank(counts, events=origin.events, k=k) for name, rank in baselines.BASELINES.items()
    }
    numbered = baselines.Baskets.of(baskets)
    for name, rank in baselines.BASKET_BASELINES.items():
        chosen = {"params": params[name]} if name in params else {}
        found[name] = rank(numbered, events=origin.events, k=k, **chosen)
    return found


def choose_neighbours(origin: Origin, *, k: int) -> Neighbours:
    """The settings of TIFU-kNN and of UP-CF with the highest NDCG@k at an origin."""
    known = numbered_history(origin.history)
    households = origin.events["household_id"]

    def quality(rank: Callable[..., pl.DataFrame], params: TifuParams | UpcfParams) -> float:
        found = rank(known, households=households, limit=k, params=params)
        ranking = found.with_columns(pl.lit(origin.as_of, dtype=pl.Date).alias("as_of"))
        return mean_metrics(per_event(ranking, origin.purchases, k=k), k=k)[f"ndcg@{k}"]

    return Neighbours(
        tifu=max(TIFU_SETTINGS, key=partial(quality, tifu_knn)),
        upcf=max(UPCF_SETTINGS, key=partial(quality, up_cf)),
    )


@dataclass(frozen=True)
class Folds:
    """Models of the same kind, each learned without one fold of the households.

    Attributes:
        models: UBJSON of each.
        rounds: Trees kept in each.
    """

    models: tuple[bytes, ...]
    rounds: int

    def score(self, frame: pl.DataFrame) -> pl.Series:
        """Mean of the models' scores, one per row."""
        scores = [xgboost_ranker.score_frame(model, frame) for model in self.models]
        return (sum(scores[1:], start=scores[0]) / len(scores)).alias("score")

    def importance(self) -> pl.DataFrame:
        """``feature, gain``: mean over the models, largest first."""
        return (
            pl.concat(xgboost_booster.importance(model) for model in self.models)
            .group_by("feature", maintain_order=True)
            .agg(pl.col("gain").mean())
            .sort("gain", "feature", descending=[True, False])
        )


def fit_folds(
    learn: pl.DataFrame, purchases: pl.DataFrame, *, features: Sequence[str], k: int, seed: int
) -> Folds:
    """Train with ``PARAMS`` and keep the trees that rank households not seen in training best.

    Args:
        learn: Labelled examples, sorted by as-of, household and product.
        purchases: ``household_id, as_of, product_id`` of what was bought next, candidates or not.
        features: Feature columns.
        k: Cut-off of the NDCG.
        seed: Of the folds and of training.

    Raises:
        ValueError: No candidate was bought.
    """
    fit = partial(
        xgboost_ranker.train, features=features, params=PARAMS, rounds=ROUNDS[-1], seed=seed
    )
    households = learn["household_id"].unique().sort()
    shuffled = households.sample(fraction=1.0, shuffle=True, seed=seed)
    aside = [pl.col("household_id").is_in(shuffled[i::FOLDS].implode()) for i in range(FOLDS)]
    bought = learn.select(
        pl.col(LABEL).filter(~fold).max().alias(str(i)) for i, fold in enumerate(aside)
    )
    if households.len() < FOLDS or bought.fill_null(0).min_horizontal().item() < 1:
        # Too few households to put any aside.
        return Folds(models=(fit(learn),), rounds=ROUNDS[-1])
    boosters = [xgboost_booster.load(fit(learn.filter(~fold))) for fold in aside]
    unseen = [learn.filter(fold) for fold in aside]
    matrices = [xgboost_booster.to_matrix(frame, features) for frame in unseen]
    asked = pl.concat(frame.select("household_id", "as_of", "product_id") for frame in unseen)
    bought = purchases.join(asked, on=["household_id", "as_of"], how="semi")

    def quality(rounds: int) -> float:
        scores = np.concatenate(
            [
                booster.inplace_predict(matrix, iteration_range=(0, rounds))
                for booster, matrix in zip(boosters, matrices, strict=True)
            ]
        )
        ranking = best(asked, pl.Series("score", scores, dtype=pl.Float64), k=k)
        return mean_metrics(per_event(ranking, bought, k=k), k=k)[f"ndcg@{k}"]

    rounds = max(ROUNDS, key=quality)
    kept = (bytes(booster[:rounds].save_raw(raw_format="ubj")) for booster in boosters)
    return Folds(models=tuple(kept), rounds=rounds)


def best(frame: pl.DataFrame, scores: pl.Series, *, k: int) -> pl.DataFrame:
    """The k rows with the highest scores per household and as-of; ties by product id."""
    return top(
        frame.lazy()
        .select("household_id", "as_of", "product_id")
        .with_columns(scores.alias("score")),
        group=("as_of", "household_id"),
        order=(OrderBy("score"),),
        limit=k,
    ).collect()


def _training_examples(
    split: Split, *, settings: Neighbours, k: int, seed: int, on_progress: Progress
) -> pl.DataFrame:
    per_origin = max(1, TRAIN_EVENTS // len(split.train))
    frames = []
    for number, origin in enumerate(split.train, start=1):
        ids = sample_households(origin.events["household_id"], size=per_origin, seed=seed + number)
        on_progress(
            f"candidates and features of origin {number} of {len(split.train)}, {len(ids):,} events"
        )
        frames.append(
            examples(
                origin,
                households=ids,
                settings=settings,
                timed=split.timed,
                seed=seed,
                labelled=True,
                k=k,
            )
        )
    return pl.concat(frames)
