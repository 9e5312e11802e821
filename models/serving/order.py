"""How scored candidates become a ranking: one rule for the service and the batch path."""

from __future__ import annotations

import numpy as np


def top_k(scores: np.ndarray, k: int) -> np.ndarray:
    """Positions of the ``k`` best scores, best first.

    Equal scores keep the order of the rows, which a snapshot sorts by product id, so that the same
    candidates always give the same ranking.

    Args:
        scores: (n,) one score per candidate.
        k: How many to return; fewer when there are fewer candidates.

    Raises:
        ValueError: A score is NaN: the model or its features are broken.
    """
    if np.isnan(scores).any():
        raise ValueError(
            f"{int(np.isnan(scores).sum())} of {len(scores)} scores are NaN: "
            "check the model file and the feature values of the snapshot"
        )
    return np.argsort(-scores, kind="stable")[:k]
