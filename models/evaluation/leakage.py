"""Probes for leaks: signs that a model saw the week it is judged on.

Two of them. Labels shuffled within each event carry no information, so the model's order must do
no better on them than chance; if it does, the evaluation lets labels reach the ranking. And no
honest feature knows nearly by itself what will be bought; one that does comes from the future.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

EVENT_ORDER = ("as_of", "household_id")

# Averages out the luck of one shuffle; each costs a sort of the rows.
SHUFFLES = 5


@dataclass(frozen=True)
class LeakageProbe:
    """What the probes measured, on scored candidates of held-out events.

    Attributes:
        events: Events with a bought and an unbought candidate.
        ndcg: NDCG@k of the model among the candidates.
        shuffled_ndcg: The same after shuffling labels within events, mean of the shuffles.
        chance_ndcg: Its expectation for an order that knows nothing.
        shuffled_error: Standard error of ``shuffled_ndcg`` minus ``chance_ndcg``.
        strongest_feature: The feature that tells bought from unbought best by itself.
        strongest_auc: Its area under the ROC curve, in .5..1; either direction counts.
    """

    events: int
    ndcg: float
    shuffled_ndcg: float
    chance_ndcg: float
    shuffled_error: float
    strongest_feature: str
    strongest_auc: float


def leakage_probe(
    scored: pl.DataFrame, *, features: Sequence[str], k: int, seed: int, score: str = "score"
) -> LeakageProbe | None:
    """Probe scored candidates of one or more weeks.

    Args:
        scored: ``household_id, as_of, product_id``, the score, ``label`` (1 bought, 0 not) and the
            features; nulls among the features count as lower than any value.
        features: Columns to probe one by one.
        k: Length of the judged list.
        seed: Of the shuffles.
        score: Column of the model's score; a feature may have taken the usual name.

    Returns:
        ``None`` if no event has both a bought and an unbought candidate.
    """
    rows = scored.sort(
        *EVENT_ORDER, score, "product_id", descending=[False, False, True, False]
    ).filter(
        pl.col("label").max().over(*EVENT_ORDER) > 0,
        pl.col("label").min().over(*EVENT_ORDER) < 1,
    )
    if rows.is_empty():
        return None
    place = rows.select(pl.int_range(pl.len()).over(*EVENT_ORDER)).to_series().to_numpy()
    event = rows.select(pl.struct(*EVENT_ORDER).rle_id()).to_series().to_numpy()
    label = rows["label"].to_numpy().astype(np.float64)
    sizes = np.bincount(event)
    bought = np.bincount(event, weights=label).astype(np.int64)
    discount = np.where(place < k, 1 / np.log2(place + 2.0), 0.0)
    best = np.cumsum(1 / np.log2(np.arange(k) + 2.0))
    ideal = best[np.minimum(bought, k) - 1]

    def ndcg(labels: np.ndarray) -> np.ndarray:
        return np.bincount(event, weights=labels * discount) / ideal

    chance = bought / sizes * best[np.minimum(sizes, k) - 1] / ideal
    rng = np.random.default_rng(seed)
    shuffled = np.zeros(len(sizes))
    for _ in range(SHUFFLES):
        # Sorting random keys within events shuffles each event's labels among its own rows.
        order = np.lexsort((rng.random(len(label)), event))
        shuffled += ndcg(label[order]) / SHUFFLES
    excess = shuffled - chance
    aucs = {name: _auc(rows[name], label) for name in sorted(features)}
    strongest = max(aucs, key=lambda name: aucs[name]) if aucs else ""
    return LeakageProbe(
        events=len(sizes),
        ndcg=float(ndcg(label).mean()),
        shuffled_ndcg=float(shuffled.mean()),
        chance_ndcg=float(chance.mean()),
        shuffled_error=float(excess.std() / np.sqrt(len(sizes))),
        strongest_feature=strongest,
        strongest_auc=aucs.get(strongest, 0.5),
    )


def _auc(feature: pl.Series, label: np.ndarray) -> float:
    """Area under the ROC curve by ranks (Mann and Whitney, 1947), folded to .5..1."""
    values = feature.cast(pl.Float64).fill_nan(None).fill_null(float("-inf"))
    ranks = values.rank("average").to_numpy()
    positives = label.sum()
    negatives = len(label) - positives
    area = (ranks[label > 0].sum() - positives * (positives + 1) / 2) / (positives * negatives)
    return float(max(area, 1 - area))
