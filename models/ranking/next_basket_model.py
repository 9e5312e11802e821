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

import polars as pl

from models.evaluation.metrics import mean_metrics, per_event
from models.ranking import baselines, lightgbm_ranker, neural_ranker, xgboost_ranker
from models.ranking.neighbours import TIFU, UPCF, TifuParams, UpcfParams
from models.ranking.next_basket import TRAIN_EVENTS, Origin, Split, baseline_inputs
from models.ranking.next_basket_features import Neighbours, examples, feature_names
from models.ranking.order import OrderBy, top
from models.ranking.tuning import sample_households

Progress = Callable[[str], None]

MODEL = "xgboost"

# Slower than the served ranker's default, and stopped where unseen households are ranked best.
PARAMS: Mapping[str, Any] = MappingProxyType(
    {
        "eta": 0.1,
        "max_depth": 5,
        "min_child_weight": 20.0,
        "reg_lambda": 5.0,
        "colsample_bytree": 0.6,
    }
)
ROUNDS = (20, 40, 60, 80, 100, 120, 150)

# Share of the households whose events decide how many trees are kept; they are not learned from.
VALIDATION_SHARE = 0.15

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
    settings = choose_neighbours(split.train[-1], timed=split.timed, k=k)
    features = feature_names(timed=split.timed)
    learn = _training_examples(split, settings=settings, seed=seed, on_progress=on_progress)
    on_progress(f"candidates and features of {split.test.events.height:,} test events")
    asked = examples(
        split.test,
        households=split.test.events["household_id"],
        settings=settings,
        timed=split.timed,
        seed=seed,
        labelled=False,
    )
    on_progress(f"xgboost on {learn.height:,} candidates")
    model, rounds = fit_stopped(learn, split.train, features=features, k=k, seed=seed)
    rankings = {MODEL: best(asked, xgboost_ranker.score_frame(model, asked), k=k)}
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
        rounds=rounds,
        settings=settings,
        importance=xgboost_ranker.importance(model),
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
    for name, rank in baselines.BASKET_BASELINES.items():
        chosen = {"params": params[name]} if name in params else {}
        found[name] = rank(baskets, events=origin.events, k=k, **chosen)
    return found


def choose_neighbours(origin: Origin, *, timed: bool, k: int) -> Neighbours:
    """The settings of TIFU-kNN and of UP-CF with the highest NDCG@k at an origin."""
    _, baskets = baseline_inputs(origin, timed=timed)

    def quality(rank: Callable[..., pl.DataFrame], params: TifuParams | UpcfParams) -> float:
        ranking = rank(baskets, events=origin.events, k=k, params=params)
        return mean_metrics(per_event(ranking, origin.purchases, k=k), k=k)[f"ndcg@{k}"]

    return Neighbours(
        tifu=max(TIFU_SETTINGS, key=partial(quality, baselines.tifu_knn)),
        upcf=max(UPCF_SETTINGS, key=partial(quality, baselines.up_cf)),
    )


def fit_stopped(
    learn: pl.DataFrame, origins: Sequence[Origin], *, features: Sequence[str], k: int, seed: int
) -> tuple[bytes, int]:
    """Train with ``PARAMS`` and keep the trees that rank some households it never saw best.

    Args:
        learn: Labelled examples, sorted by as-of, household and product.
        origins: Where they are from, for what was bought next.
        features: Feature columns.
        k: Cut-off of the NDCG.
        seed: Of the households and of training.

    Returns:
        The booster as UBJSON, and how many rounds it has.

    Raises:
        ValueError: No candidate was bought.
    """
    households = learn["household_id"].n_unique()
    kept = sample_households(
        learn["household_id"], size=round(households * VALIDATION_SHARE), seed=seed
    )
    aside = pl.col("household_id").is_in(kept.implode())
    validation = learn.filter(aside)
    bought = pl.concat([origin.purchases for origin in origins]).filter(aside)
    train = partial(
        xgboost_ranker.train, features=features, params=PARAMS, rounds=ROUNDS[-1], seed=seed
    )
    if not validation.height or validation["label"].max() != 1:
        # Too few households to put any aside.
        return train(learn), ROUNDS[-1]
    booster = xgboost_ranker.load(train(learn.filter(~aside)))
    matrix = xgboost_ranker.to_matrix(validation, features)
    asked = validation.select("household_id", "as_of", "product_id")
    bought = bought.join(asked, on=["household_id", "as_of"], how="semi")

    def quality(rounds: int) -> float:
        scores = booster.inplace_predict(matrix, iteration_range=(0, rounds))
        ranking = best(asked, pl.Series("score", scores, dtype=pl.Float64), k=k)
        return mean_metrics(per_event(ranking, bought, k=k), k=k)[f"ndcg@{k}"]

    rounds = max(ROUNDS, key=quality)
    return bytes(booster[:rounds].save_raw(raw_format="ubj")), rounds


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
    split: Split, *, settings: Neighbours, seed: int, on_progress: Progress
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
            )
        )
    return pl.concat(frames)
