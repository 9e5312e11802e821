"""Nearest-neighbour next-basket methods: TIFU-kNN and UP-CF.

TIFU-kNN: Hu, He, Gao and Zhang, "Modeling Personalized Item Frequency Information for
Next-basket Recommendation", SIGIR 2020. UP-CF: Faggioli, Polato and Aiolli, "Recency Aware
Collaborative Filtering for Next Basket Recommendation", UMAP 2020.

Both score every product for every household, those it never bought among them, and serve as a
baseline (the best 10) and as a source of candidates (the best 100). Households are worked on in
blocks; the result depends neither on the blocks nor on the number of threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from models.ranking.basket_history import BasketHistory, basket_history, best_of_blocks, best_of_one

if TYPE_CHECKING:
    from scipy import sparse


@dataclass(frozen=True)
class TifuParams:
    """Parameters of TIFU-kNN, in the paper's names.

    Attributes:
        m: Baskets per group.
        r_b: Weight of a basket relative to the next later one of its group, in (0, 1].
        r_g: Weight of a group relative to the next later one, in (0, 1].
        k: Neighbours.
        alpha: Weight of the household's own vector; the neighbours' mean has the rest.
    """

    m: int = 10
    r_b: float = 1.0
    r_g: float = 0.6
    k: int = 300
    alpha: float = 0.7

    def __post_init__(self) -> None:
        if not (
            self.m >= 1
            and self.k >= 1
            and 0 < self.r_b <= 1
            and 0 < self.r_g <= 1
            and 0 <= self.alpha <= 1
        ):
            raise ValueError(
                f"{self}: m and k must be 1 or more, r_b and r_g above 0 and at most 1, alpha in "
                "0..1"
            )


@dataclass(frozen=True)
class UpcfParams:
    """Parameters of UP-CF, in the paper's names.

    Attributes:
        r: Latest baskets of a household that count for its popularity of a product.
        alpha: Asymmetry of the similarity, in 0..1; .5 is the cosine.
        q: Locality: the power that similarities are raised to, above 0.
    """

    r: int = 50
    alpha: float = 0.75
    q: float = 5.0

    def __post_init__(self) -> None:
        if not (self.r >= 1 and 0 <= self.alpha <= 1 and self.q > 0):
            raise ValueError(f"{self}: r must be 1 or more, alpha in 0..1, q above 0")


# Defaults are the best of 14 and of 12 settings tried around the papers' on as-of weeks 2017-09-04
# and 2017-10-16 of The Complete Journey: NDCG@10 .291 and .285 (plain GP-TopFreq: .275). TIFU-kNN
# with the paper's m 7, r_b .9, r_g .7 has .286.
TIFU = TifuParams()
UPCF = UpcfParams()


def tifu_knn(
    history: pl.DataFrame | BasketHistory,
    *,
    limit: int,
    households: pl.Series | None = None,
    params: TifuParams = TIFU,
    threads: int | None = None,
) -> pl.DataFrame:
    """TIFU-kNN: decayed personal frequency, blended with that of the most similar households.

    A household's baskets form groups of ``m``, counted back from the latest; the oldest group may
    hold fewer. A group's vector is the mean of its baskets with weights r_b^j, j baskets before
    the group's latest; the household's vector u is the mean of its groups with weights r_g^i.
    The score is alpha*u + (1 - alpha)*mean of u over the k other households nearest in Euclidean
    distance (of equals, the first ids).

    Args:
        history: ``household_id, product_id, basket_id, at`` before the as-of, or from
            ``basket_history``.
        limit: Products per household.
        households: To score; all by default. Neighbours are sought among all in ``history``.
        params: Parameters.
        threads: Blocks at a time; one per core by default.

    Returns:
        ``household_id, product_id, rank (Int32, 1..limit), score (Float64)``, sorted by household
        and rank; equal scores are ordered by product id. Scores of zero are left out, so a
        household without a history has no row.

    Raises:
        ValueError: A value of ``history`` is missing, or ``limit`` is below 1.
    """
    past = _counted(history)
    users = tifu_vectors(past, params=params)
    by_product = users.T.tocsr()
    norms = np.asarray(users.multiply(users).sum(axis=1), dtype=np.float32).ravel()
    neighbours = min(params.k, past.shape[0] - 1)

    def score(block: np.ndarray) -> np.ndarray:
        weights = np.zeros((past.shape[0], len(block)), dtype=np.float32)
        if neighbours:
            # |u - v|^2 less |u|^2, which is the same for all v.
            distance = norms - 2.0 * (users[block] @ by_product).toarray()
            distance[np.arange(len(block)), block] = np.inf
            nearest = _smallest(distance, neighbours)
            weights[nearest.T, np.arange(len(block))] = (1.0 - params.alpha) / neighbours
        weights[block, np.arange(len(block))] = params.alpha
        return by_product @ weights

    return best_of_blocks(past, score, households=households, limit=limit, threads=threads)


def tifu_vectors(past: BasketHistory, *, params: TifuParams = TIFU) -> sparse.csr_matrix:
    """Households x products, Float32: each household's vector u of ``tifu_knn``."""
    return past.matrix(_tifu_weights(past, params))


def tifu_knn_of_one(
    vectors: sparse.csr_matrix,
    *,
    one: int,
    nearness: np.ndarray,
    limit: int,
    params: TifuParams = TIFU,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``tifu_knn`` of one household, adding in the same order: equal to the bit.

    Args:
        vectors: Households x products, of ``tifu_vectors``.
        one: Row of the household.
        nearness: (households,) float32: |v|^2 - 2uv of each household v to this one's u.
        limit: Products.
        params: Parameters.

    Returns:
        Product columns, ranks from 1 and scores (float32), best first.
    """
    from scipy import sparse

    households = vectors.shape[0]
    weights = np.zeros((households, 1), dtype=np.float32)
    neighbours = min(params.k, households - 1)
    if neighbours:
        distance = nearness.astype(np.float32, copy=True)[None, :]
        distance[0, one] = np.inf
        weights[_smallest(distance, neighbours)[0], 0] = (1.0 - params.alpha) / neighbours
    weights[one, 0] = params.alpha
    # Rows without weight add nothing.
    rows = np.flatnonzero(weights[:, 0])
    scores = sparse.csr_matrix(vectors[rows].T) @ weights[rows]
    return best_of_one(np.asarray(scores, dtype=np.float32), limit=limit)


def up_cf(
    history: pl.DataFrame | BasketHistory,
    *,
    limit: int,
    households: pl.Series | None = None,
    params: UpcfParams = UPCF,
    threads: int | None = None,
) -> pl.DataFrame:
    """UP-CF: recent personal popularity, spread over households that bought the same products.

    A household's popularity of a product is the share of its last ``r`` baskets that hold it. The
    similarity of u to v, with I the products bought in the whole history, is
    |I_u & I_v| / (|I_u|^alpha * |I_v|^(1 - alpha)); the score is the sum over all v, u among them,
    of similarity^q times v's popularity.

    Args:
        history: As for ``tifu_knn``.
        limit: As for ``tifu_knn``.
        households: As for ``tifu_knn``.
        params: Parameters.
        threads: As for ``tifu_knn``.

    Returns:
        As ``tifu_knn``.

    Raises:
        ValueError: As ``tifu_knn``.
    """
    past = _counted(history)
    bought = past.matrix(np.ones(len(past.household)))
    bought.data[:] = 1.0
    buyers = bought.T.tocsr()
    sizes = np.diff(bought.indptr).astype(np.float32)
    recent = np.minimum(past.baskets, params.r)
    popularity = past.matrix((past.ago < params.r) / np.maximum(recent, 1)[past.household])
    popularity.eliminate_zeros()
    by_product = popularity.T.tocsr()
    left = sizes ** np.float32(-params.alpha)
    right = sizes ** np.float32(params.alpha - 1.0)

    def score(block: np.ndarray) -> np.ndarray:
        common = (bought[block] @ buyers).toarray()
        similarity = (common * left[block][:, None] * right) ** np.float32(params.q)
        return by_product @ np.ascontiguousarray(similarity.T)

    return best_of_blocks(past, score, households=households, limit=limit, threads=threads)


def _counted(history: pl.DataFrame | BasketHistory) -> BasketHistory:
    return history if isinstance(history, BasketHistory) else basket_history(history)


def _tifu_weights(past: BasketHistory, params: TifuParams) -> np.ndarray:
    baskets = past.baskets[past.household]
    group, position = np.divmod(past.ago, params.m)
    size = np.minimum(params.m, baskets - group * params.m)
    groups = -(-baskets // params.m)
    return params.r_b**position / size * params.r_g**group / groups


def _smallest(values: np.ndarray, count: int) -> np.ndarray:
    """Columns of the ``count`` smallest values of every row; of equals the first columns."""
    if count < values.shape[1]:
        last = np.partition(values, count - 1, axis=1)[:, count - 1 : count]
        below = values < last
        equal = values == last
        room = count - below.sum(axis=1, keepdims=True)
        chosen = below | (equal & (np.cumsum(equal, axis=1) <= room))
    else:
        chosen = np.ones(values.shape, dtype=bool)
    return np.nonzero(chosen)[1].reshape(len(values), -1)
