"""A challenger: a small neural network that predicts each purchase by itself (pointwise).

scikit-learn's MLPClassifier learns it; a model is an ``.npz`` of its weights and of what inputs are
scaled by, and plain numpy scores it. scikit-learn is imported where it is used.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from models.ranking.dataset import LABEL
from models.ranking.sampling import learnable, thin_negatives
from models.xgboost_booster import to_matrix

# As many as the rankers get.
NEGATIVES_PER_POSITIVE = 5.0
# Enough on the tuning weeks to be level with trees that take five times as long.
EPOCHS = 6
BATCH = 512

# Inputs this many standard deviations out say no more than "very large".
CLIP = 5.0

# A feature missing more seldom than this, or nearly always, tells nothing by being missing.
RARE = 0.01

# 200,000 rows of a hundred inputs take 80 MB.
_ROWS_AT_A_TIME = 200_000

DEFAULT_PARAMS: Mapping[str, Any] = {
    "hidden": 32,
    "alpha": 1e-4,
    "learning_rate_init": 2e-3,
}


@dataclass(frozen=True)
class Inputs:
    """How features become inputs: signed log, standardised, zero where missing, and flags.

    Attributes:
        features: Names, in the order of the matrix.
        mean: Of each feature after the log, over known values.
        scale: Standard deviation of the same; 1 where it is 0.
        flagged: Positions of the features whose absence is an input of its own.
    """

    features: tuple[str, ...]
    mean: np.ndarray
    scale: np.ndarray
    flagged: np.ndarray

    @classmethod
    def of(cls, matrix: np.ndarray, features: Sequence[str]) -> Inputs:
        """Learn the scaling from a matrix with NaN where a value is missing."""
        mean = np.zeros(matrix.shape[1], dtype=np.float32)
        scale = np.ones(matrix.shape[1], dtype=np.float32)
        flagged: dict[bytes, int] = {}
        for i in range(matrix.shape[1]):
            missing = np.isnan(matrix[:, i])
            known = _signed_log(matrix[~missing, i].astype(np.float64))
            if known.size:
                mean[i] = known.mean()
                scale[i] = known.std() or 1.0
            if RARE < missing.mean() < 1 - RARE:
                # Features of one source are missing together: one flag for all of them.
                flagged.setdefault(np.packbits(missing).tobytes(), i)
        positions = np.array(list(flagged.values()), dtype=np.int64)
        return cls(features=tuple(features), mean=mean, scale=scale, flagged=positions)

    def apply(self, matrix: np.ndarray) -> np.ndarray:
        """Inputs of the network, float32, rows x (features + flags)."""
        scaled = (_signed_log(matrix) - self.mean) / self.scale
        flags = np.isnan(matrix[:, self.flagged]).astype(np.float32)
        return np.hstack([np.clip(np.nan_to_num(scaled), -CLIP, CLIP), flags])


@dataclass(frozen=True)
class NeuralData:
    """Examples in the form the network takes."""

    inputs: Inputs
    matrix: np.ndarray
    labels: np.ndarray


def prepare(
    examples: pl.DataFrame,
    *,
    features: Sequence[str],
    seed: int,
    negatives_per_positive: float = NEGATIVES_PER_POSITIVE,
) -> NeuralData:
    """Scale labelled examples; most of what was not bought is left out by a seeded hash.

    Args:
        examples: Frame of ``dataset.examples`` with ``label``, sorted by as-of, household and
            product.
        features: Feature columns.
        seed: Of the hash.
        negatives_per_positive: Candidates kept that were not bought, for each that was.

    Raises:
        ValueError: Rows are not sorted, or no event has a bought candidate.
    """
    rows = thin_negatives(learnable(examples), per_positive=negatives_per_positive, seed=seed)
    matrix = to_matrix(rows, features)
    inputs = Inputs.of(matrix, features)
    return NeuralData(inputs=inputs, matrix=inputs.apply(matrix), labels=rows[LABEL].to_numpy())


def fit(data: NeuralData, *, params: Mapping[str, Any], seed: int, epochs: int = EPOCHS) -> bytes:
    """Train on prepared data.

    Args:
        data: From ``prepare``.
        params: ``hidden`` (units of the one hidden layer) and MLPClassifier's ``alpha`` and
            ``learning_rate_init``.
        seed: Of the weights and of the order of the rows.
        epochs: Passes over the rows.

    Returns:
        Weights and scaling as ``.npz``.

    Raises:
        ValueError: ``params`` has other names.
    """
    if set(params) != set(DEFAULT_PARAMS):
        raise ValueError(
            f"fit(): parameters {sorted(params)} given, {sorted(DEFAULT_PARAMS)} are what this "
            "model family has; give all of them and no others"
        )
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier
    from threadpoolctl import threadpool_limits

    network = MLPClassifier(
        hidden_layer_sizes=(int(params["hidden"]),),
        alpha=params["alpha"],
        learning_rate_init=params["learning_rate_init"],
        batch_size=min(BATCH, data.labels.size),
        max_iter=epochs,
        random_state=seed,
    )
    # One thread: how many share a product of matrices decides its last bits.
    with warnings.catch_warnings(), threadpool_limits(limits=1, user_api="blas"):
        warnings.simplefilter("ignore", ConvergenceWarning)
        network.fit(data.matrix, data.labels)
    layers = zip(network.coefs_, network.intercepts_, strict=True)
    arrays = {
        f"{kind}_{i}": array.astype(np.float32)
        for i, layer in enumerate(layers)
        for kind, array in zip(("weights", "bias"), layer, strict=True)
    }
    content = io.BytesIO()
    np.savez(
        content,
        features=np.array(data.inputs.features),
        mean=data.inputs.mean,
        scale=data.inputs.scale,
        flagged=data.inputs.flagged,
        **arrays,
    )
    return content.getvalue()


def train(
    examples: pl.DataFrame,
    *,
    features: Sequence[str],
    params: Mapping[str, Any] = DEFAULT_PARAMS,
    seed: int,
    epochs: int = EPOCHS,
) -> bytes:
    """``prepare`` and ``fit`` in one call; arguments and errors as theirs."""
    return fit(
        prepare(examples, features=features, seed=seed), params=params, seed=seed, epochs=epochs
    )


def score_frame(model: bytes, frame: pl.DataFrame) -> pl.Series:
    """Score examples by the feature names the model carries, whatever their order in ``frame``.

    Args:
        model: From ``train``.
        frame: Examples.

    Returns:
        ``score`` (Float64): log-odds of a purchase, too high because negatives were left out;
        larger is better.
    """
    from threadpoolctl import threadpool_limits

    with np.load(io.BytesIO(model), allow_pickle=False) as held:
        arrays = {name: held[name] for name in held.files}
    inputs = Inputs(
        features=tuple(arrays["features"].tolist()),
        mean=arrays["mean"],
        scale=arrays["scale"],
        flagged=arrays["flagged"],
    )

    def scored(rows: pl.DataFrame) -> np.ndarray:
        return _forward(arrays, inputs.apply(to_matrix(rows, inputs.features)))

    # A part is one core's work.
    cores = len(os.sched_getaffinity(0))
    with threadpool_limits(limits=1, user_api="blas"), ThreadPoolExecutor(cores) as pool:
        parts = list(pool.map(scored, _slices(frame)))
    return pl.Series("score", np.concatenate(parts) if parts else [], dtype=pl.Float64)


def _forward(arrays: Mapping[str, np.ndarray], values: np.ndarray) -> np.ndarray:
    last = sum(name.startswith("weights_") for name in arrays) - 1
    for i in range(last):
        values = np.maximum(values @ arrays[f"weights_{i}"] + arrays[f"bias_{i}"], 0.0)
    return (values @ arrays[f"weights_{last}"] + arrays[f"bias_{last}"])[:, 0].astype(np.float64)


def _slices(frame: pl.DataFrame) -> Iterator[pl.DataFrame]:
    for start in range(0, frame.height, _ROWS_AT_A_TIME):
        yield frame.slice(start, _ROWS_AT_A_TIME)


def _signed_log(values: np.ndarray) -> np.ndarray:
    # Not log1p: a value this small is nothing after scaling, and log takes a tenth of the time.
    return np.copysign(np.log(np.abs(values) + 1), values)
