"""The model families that compete for the ranking, each in the form that a search can drive."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import polars as pl
from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from models.ranking import (
    lightgbm_ranker,
    neural_ranker,
    xgboost_classifier,
    xgboost_ranker,
)
from models.ranking.sampling import learnable, thin_negatives
from models.ranking.study import Space

# Twenty rank the tuning weeks no better (NDCG@10 .3015; six .3011) and take four times as long.
NEGATIVES_PER_POSITIVE = 5.0


@dataclass(frozen=True)
class Family:
    """One way to learn a ranking.

    Attributes:
        name: As in reports.
        file: Where a trained model lies, beside those of other families.
        space: What a search may vary.
        defaults: A sound start, and the first trial of every search.
        rounds: Trees, or passes over the data.
        identity: What else a trained model depends on, as JSON values.
        prepare: ``(examples, features, seed, threads)`` to the form the family learns from.
        fit: ``(prepared, params, rounds, seed, threads)`` to a model's bytes, the same for any
            number of threads.
        score: Model and examples to scores, larger is better.
    """

    name: str
    file: str
    space: Space
    defaults: Mapping[str, Any]
    rounds: int
    identity: Mapping[str, Any]
    prepare: Callable[[pl.DataFrame, Sequence[str], int, int], Any]
    fit: Callable[[Any, Mapping[str, Any], int, int, int], bytes]
    score: Callable[[bytes, pl.DataFrame], pl.Series]

    def train(
        self,
        examples: pl.DataFrame,
        *,
        features: Sequence[str],
        params: Mapping[str, Any],
        seed: int,
        threads: int,
    ) -> bytes:
        """Learn from labelled examples, sorted as ``dataset.examples`` does."""
        prepared = self.prepare(examples, features, seed, threads)
        return self.fit(prepared, params, self.rounds, seed, threads)


def _thin(examples: pl.DataFrame, *, seed: int) -> pl.DataFrame:
    return thin_negatives(learnable(examples), per_positive=NEGATIVES_PER_POSITIVE, seed=seed)


# Ranges around values that work on any basket data; regularisation on a log scale.
_TREES: Space = MappingProxyType(
    {
        "eta": FloatDistribution(0.05, 0.3, log=True),
        "max_depth": IntDistribution(3, 7),
        "min_child_weight": FloatDistribution(3.0, 100.0, log=True),
        "reg_lambda": FloatDistribution(0.1, 30.0, log=True),
        "colsample_bytree": FloatDistribution(0.4, 1.0),
    }
)

XGBOOST = Family(
    name="xgboost",
    file="model.ubj",
    space=_TREES,
    defaults=xgboost_ranker.DEFAULT_PARAMS,
    rounds=xgboost_ranker.DEFAULT_ROUNDS,
    identity={
        "fixed": dict(xgboost_ranker.FIXED_PARAMS),
        "negatives": NEGATIVES_PER_POSITIVE,
    },
    prepare=lambda rows, features, seed, threads: xgboost_ranker.prepare(
        _thin(rows, seed=seed), features=features, threads=threads
    ),
    fit=lambda data, params, rounds, seed, threads: xgboost_ranker.fit(
        data, params=params, rounds=rounds, seed=seed, threads=threads
    ),
    score=xgboost_ranker.score_frame,
)

CLASSIFIER = Family(
    name="xgboost_classifier",
    file="classifier.ubj",
    space=_TREES,
    defaults=xgboost_classifier.DEFAULT_PARAMS,
    rounds=xgboost_classifier.DEFAULT_ROUNDS,
    identity={
        "fixed": dict(xgboost_classifier.FIXED_PARAMS),
        "negatives": xgboost_classifier.NEGATIVES_PER_POSITIVE,
    },
    prepare=lambda rows, features, seed, threads: xgboost_classifier.prepare(
        rows, features=features, seed=seed, threads=threads
    ),
    fit=lambda data, params, rounds, seed, threads: xgboost_classifier.fit(
        data, params=params, rounds=rounds, seed=seed, threads=threads
    ),
    score=xgboost_classifier.score_frame,
)

LIGHTGBM = Family(
    name="lightgbm",
    file="lightgbm.txt",
    space=MappingProxyType(
        {
            "learning_rate": FloatDistribution(0.05, 0.3, log=True),
            "num_leaves": IntDistribution(8, 96, log=True),
            "min_data_in_leaf": IntDistribution(20, 400, log=True),
            "lambda_l2": FloatDistribution(0.1, 30.0, log=True),
            "feature_fraction": FloatDistribution(0.4, 1.0),
        }
    ),
    defaults=lightgbm_ranker.DEFAULT_PARAMS,
    rounds=lightgbm_ranker.DEFAULT_ROUNDS,
    identity={
        "fixed": dict(lightgbm_ranker.FIXED_PARAMS),
        "negatives": NEGATIVES_PER_POSITIVE,
    },
    prepare=lambda rows, features, seed, threads: lightgbm_ranker.prepare(
        _thin(rows, seed=seed), features=features, threads=threads
    ),
    fit=lambda data, params, rounds, seed, threads: lightgbm_ranker.fit(
        data, params=params, rounds=rounds, seed=seed, threads=threads
    ),
    score=lightgbm_ranker.score_frame,
)

NEURAL = Family(
    name="neural",
    file="neural.npz",
    space=MappingProxyType(
        {
            "hidden": CategoricalDistribution((16, 32, 64)),
            "alpha": FloatDistribution(1e-6, 1e-1, log=True),
            "learning_rate_init": FloatDistribution(3e-4, 1e-2, log=True),
        }
    ),
    defaults=neural_ranker.DEFAULT_PARAMS,
    rounds=neural_ranker.EPOCHS,
    identity={
        "batch": neural_ranker.BATCH,
        "clip": neural_ranker.CLIP,
        "negatives": neural_ranker.NEGATIVES_PER_POSITIVE,
    },
    prepare=lambda rows, features, seed, _: neural_ranker.prepare(
        rows, features=features, seed=seed
    ),
    fit=lambda data, params, rounds, seed, _: neural_ranker.fit(
        data, params=params, epochs=rounds, seed=seed
    ),
    score=neural_ranker.score_frame,
)

# The served one first.
FAMILIES: tuple[Family, ...] = (XGBOOST, CLASSIFIER, LIGHTGBM, NEURAL)
