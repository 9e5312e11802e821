"""A challenger: LightGBM LambdaMART over the same features.

Method: Burges, MSR-TR-2010-82; software: Ke et al., NIPS 2017. A model is its text, which carries
the feature names. Training on rows in the same order gives the same bytes on every run and with any
number of threads. LightGBM is imported where it is used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from models.ranking.dataset import LABEL
from models.ranking.sampling import group_sizes, learnable
from models.xgboost_booster import to_matrix

if TYPE_CHECKING:
    import lightgbm as lgb

# As many as XGBoost gets, less the one that LightGBM keeps for what is missing.
MAX_BIN = 63

# Given to the data as well as to training: LightGBM refuses data made with other ones.
_DATA_PARAMS: Mapping[str, Any] = {
    "max_bin": MAX_BIN,
    # Filtering would depend on the min_data_in_leaf of whichever trial came first.
    "feature_pre_filter": False,
    "verbosity": -1,
}

FIXED_PARAMS: Mapping[str, Any] = {
    **_DATA_PARAMS,
    "objective": "lambdarank",
    "lambdarank_truncation_level": 15,
    "deterministic": True,
    # Left to itself LightGBM times both layouts and takes the faster, which differs by run.
    "force_row_wise": True,
}

# As many as XGBoost gets.
DEFAULT_ROUNDS = 80

# A sound start before any tuning.
DEFAULT_PARAMS: Mapping[str, Any] = {
    "learning_rate": 0.12,
    "num_leaves": 16,
    "min_data_in_leaf": 100,
    "lambda_l2": 5.0,
    "feature_fraction": 0.5,
}

# The one line of a model's text that depends on the machine.
_THREADS_LINE = "[num_threads:"


@dataclass(frozen=True)
class LightgbmData:
    """Examples in the form LightGBM takes: binned, with labels and one group per event."""

    data: lgb.Dataset
    features: tuple[str, ...]
    rows: int
    events: int


def prepare(
    examples: pl.DataFrame, *, features: Sequence[str], threads: int | None = None
) -> LightgbmData:
    """Bin labelled examples; events in which no candidate was bought are left out.

    Args:
        examples: Frame of ``dataset.examples`` with ``label``, sorted by as-of, household and
            product.
        features: Feature columns.
        threads: Threads to use; all by default. The result does not depend on it.

    Raises:
        ValueError: Rows are not sorted, or no event has a bought candidate.
    """
    useful = learnable(examples)
    import lightgbm as lgb

    sizes = group_sizes(useful)
    data = lgb.Dataset(
        to_matrix(useful, features),
        label=useful[LABEL].to_numpy(),
        group=sizes,
        feature_name=list(features),
        params={**_DATA_PARAMS, **_threads(threads)},
    )
    return LightgbmData(
        data=data.construct(), features=tuple(features), rows=useful.height, events=sizes.size
    )


def fit(
    data: LightgbmData,
    *,
    params: Mapping[str, Any],
    rounds: int,
    seed: int,
    threads: int | None = None,
) -> bytes:
    """Train on prepared data.

    Args:
        data: From ``prepare``.
        params: LightGBM parameters beside the fixed ones.
        rounds: Number of trees.
        seed: Of row and column sampling.
        threads: As for ``prepare``.

    Returns:
        The model as UTF-8 text.

    Raises:
        ValueError: ``params`` would override a fixed parameter.
    """
    fixed = sorted(set(params) & {*FIXED_PARAMS, "seed", "num_threads"})
    if fixed:
        raise ValueError(
            f"fit(): {fixed} are fixed for this model family; remove them from the parameters"
        )
    import lightgbm as lgb

    settings = {**FIXED_PARAMS, **params, "seed": seed, **_threads(threads)}
    booster = lgb.train(settings, data.data, num_boost_round=rounds)
    lines = booster.model_to_string().splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith(_THREADS_LINE)).encode()


def train(
    examples: pl.DataFrame,
    *,
    features: Sequence[str],
    params: Mapping[str, Any] = DEFAULT_PARAMS,
    rounds: int = DEFAULT_ROUNDS,
    seed: int,
    threads: int | None = None,
) -> bytes:
    """``prepare`` and ``fit`` in one call; arguments and errors as theirs."""
    data = prepare(examples, features=features, threads=threads)
    return fit(data, params=params, rounds=rounds, seed=seed, threads=threads)


def load(model: bytes) -> lgb.Booster:
    """The booster of a model's text."""
    import lightgbm as lgb

    return lgb.Booster(model_str=model.decode())


def score_frame(model: bytes | lgb.Booster, frame: pl.DataFrame) -> pl.Series:
    """Score examples by the feature names the model carries, whatever their order in ``frame``.

    Args:
        model: Text from ``train``, or a booster that is kept loaded.
        frame: Examples.

    Returns:
        ``score`` (Float64); larger is better, comparable within one event.
    """
    booster = load(model) if isinstance(model, bytes) else model
    scores = booster.predict(to_matrix(frame, booster.feature_name()))
    return pl.Series("score", scores, dtype=pl.Float64)


def _threads(threads: int | None) -> dict[str, int]:
    return {} if threads is None else {"num_threads": threads}
