"""How far features have moved from a stored reference: the population stability index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Reference = Mapping[str, Any]

BINS = 10
# Rows that deciles need; more cost time and change nothing.
SAMPLE = 50_000
# Siddiqi, Credit Risk Scorecards (2006): from .25 on a population has shifted.
DRIFTED = 0.25
# An empty bin counts as half a row, or one row would be infinite drift.
_HALF_A_ROW = 0.5
_NONE: NDArray[np.float64] = np.array([], dtype=np.float64)


def reference(features: NDArray[np.float32], names: Sequence[str]) -> dict[str, Any]:
    """What a population looked like, small enough to keep as JSON.

    Args:
        features: (rows, features), NaN for missing.
        names: Of the features.

    Returns:
        Feature to the inner edges of its deciles and its counts per bin, missing values last.

    Raises:
        ValueError: Names and columns differ, or there is no row.
    """
    if features.shape[1] != len(names) or not len(features):
        raise ValueError(
            f"reference(): {features.shape} features for {len(names)} names; give a row per "
            "candidate and a column per name"
        )
    sampled = _sample(features)
    found = {}
    for place, name in enumerate(names):
        column = sampled[:, place]
        present = column[np.isfinite(column)]
        inner = np.linspace(0, 1, BINS + 1)[1:-1]
        edges = np.unique(np.quantile(present.astype(np.float64), inner)) if len(present) else _NONE
        found[name] = {
            "edges": [float(e) for e in edges],
            "counts": _counts(column, edges).tolist(),
        }
    return found


def stability_index(
    stored: Reference, features: NDArray[np.float32], names: Sequence[str]
) -> dict[str, float]:
    """PSI of each feature: sum over bins of (p - q) ln(p / q).

    Args:
        stored: From ``reference``.
        features: (rows, features) now.
        names: Of the features.

    Returns:
        Feature to index, for the features that both have.
    """
    sampled = _sample(features)
    found = {}
    for place, name in enumerate(names):
        if name not in stored:
            continue
        then = np.asarray(stored[name]["counts"], dtype=np.float64)
        now = _counts(sampled[:, place], np.asarray(stored[name]["edges"]))
        p, q = (np.maximum(c, _HALF_A_ROW) / np.maximum(c, _HALF_A_ROW).sum() for c in (now, then))
        found[name] = float(((p - q) * np.log(p / q)).sum())
    return found


def _counts(column: NDArray[np.float32], edges: NDArray[np.float64]) -> NDArray[np.int64]:
    missing = ~np.isfinite(column)
    # A value on an edge belongs to the bin below it, so that a heap of equal values stays together.
    bins = np.searchsorted(edges, column[~missing].astype(np.float64), side="left")
    counts = np.bincount(bins, minlength=len(edges) + 1)
    return np.append(counts, missing.sum())


def _sample(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Every so-manieth row: the same ones each time."""
    return features[:: max(len(features) // SAMPLE, 1)]
