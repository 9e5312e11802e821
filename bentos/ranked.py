"""Ranking one request's candidates: by the first model that does not fail, or by popularity."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from bentos.arms import Answerer, Serving
from bentos.told import Said
from models.release.routing import Arm
from models.serving.order import top_k
from models.serving.snapshot import Candidates, Snapshot

logger = logging.getLogger("liftgraph.serving")


@dataclass(frozen=True)
class Ranked:
    """Candidates in the order of one model, or of popularity without one.

    Attributes:
        answerer: Whose order it is.
        scores: (n,) float32, None without a model.
        order: Positions of the served rows.
        said: Probability and reasons of each served row.
        told_seconds: Spent on working those out.
    """

    answerer: Answerer | None
    scores: np.ndarray | None
    order: np.ndarray
    said: list[Said]
    told_seconds: float = 0.0


def rank(
    serving: Serving, arm: Arm, candidates: Candidates, owner: str | None, k: int
) -> tuple[Ranked, str | None]:
    """The order of the first model that does not fail, and what the first failure was.

    Args:
        serving: Who may be asked.
        arm: Whose turn it is.
        candidates: To order.
        owner: Whose rows of the snapshot they are; None for rows that are not from it.
        k: How many are served.
    """
    error: str | None = None
    for answerer in serving.answerers(arm):
        try:
            return _rank(answerer, candidates, owner, k), error
        except Exception as failure:  # noqa: BLE001
            # Whatever a model does, its request is answered by another one.
            described = f"{type(failure).__name__}: {failure}"
            _tell_once(answerer.model.tag, type(failure).__name__)
            error = error or described
    # Stored most popular first.
    order = np.arange(min(k, len(serving.snapshot.popular.product_codes)))
    return Ranked(None, None, order, [(None, ())] * len(order)), error


def offers_of(snapshot: Snapshot, candidates: Candidates, ranked: Ranked) -> list[dict[str, Any]]:
    """The served rows in the shape of ``schemas.Offer``."""
    names = snapshot.names
    order, scores = ranked.order, ranked.scores
    chosen = zip(
        candidates.product_codes[order].tolist(),
        candidates.source_codes[order].tolist(),
        [None] * len(order) if scores is None else scores[order].tolist(),
        ranked.said,
        strict=True,
    )
    return [
        {
            "rank": place,
            "product_id": names.products[product],
            "score": score,
            "probability": probability,
            "reasons": list(reasons),
            "source": names.sources[source],
            **{name: column[product] for name, column in names.attributes.items()},
        }
        for place, (product, source, score, (probability, reasons)) in enumerate(chosen, start=1)
    ]


@lru_cache(maxsize=256)
def _tell_once(tag: str, kind: str) -> None:
    """One trace a model and kind of failure: the decision log has each, and traces cost time."""
    logger.exception("model %s failed (%s)", tag, kind)


def _rank(answerer: Answerer, candidates: Candidates, owner: str | None, k: int) -> Ranked:
    scores = answerer.model.score(candidates.features)
    order = top_k(scores, k)
    telling = answerer.told.of(
        owner, candidates.product_codes[order].tolist(), candidates.features[order]
    )
    return Ranked(answerer, scores, order, telling.said, telling.seconds)
