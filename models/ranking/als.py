"""Matrix factorisation of who bought what: implicit-feedback ALS.

Hu, Koren and Volinsky, "Collaborative Filtering for Implicit Feedback Datasets", ICDM 2008, by the
``implicit`` library. It knows neither order nor time: a baseline, and a score for pairs that a
household has no history of.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from models.ranking.basket_history import BasketHistory, basket_history, best_of_blocks

if TYPE_CHECKING:
    from scipy import sparse


@dataclass(frozen=True)
class AlsParams:
    """Parameters of ALS, in the paper's names.

    Attributes:
        factors: f, length of a household's and a product's vector.
        regularization: lambda.
        alpha: Confidence per purchase: a pair bought in r baskets has confidence 1 + alpha*r.
        iterations: Sweeps over households and products.
    """

    factors: int = 64
    regularization: float = 30.0
    alpha: float = 0.5
    iterations: int = 4

    def __post_init__(self) -> None:
        if not (
            self.factors >= 1
            and self.iterations >= 1
            and self.regularization > 0
            and self.alpha > 0
        ):
            raise ValueError(
                f"{self}: factors and iterations must be 1 or more, regularization and alpha "
                "above 0"
            )


# The best of 19 settings on as-of weeks 2017-09-04 and 2017-10-16 of The Complete Journey: NDCG@10
# .160, where alpha 10 and lambda .1 have .059. 128 factors gain .005 for twice the time, 6 sweeps
# nothing over 4 (.158 and .159) for a third more.
ALS = AlsParams()

# Of the vectors that sweeps start from, as the library's own.
_SMALL = np.float32(0.01)


@dataclass(frozen=True)
class Factors:
    """Vectors whose inner product says how much a household is expected to like a product.

    Attributes:
        households: Float32, households of the history x factors.
        products: Float32, products of the history x factors.
    """

    households: np.ndarray
    products: np.ndarray


def als(
    history: pl.DataFrame | BasketHistory,
    *,
    limit: int,
    seed: int,
    households: pl.Series | None = None,
    params: AlsParams = ALS,
    threads: int | None = None,
) -> pl.DataFrame:
    """The products with the largest inner product with a household's vector.

    Args:
        history: ``household_id, product_id, basket_id, at`` before the as-of, or from
            ``basket_history``.
        limit: Products per household.
        seed: Of the vectors that the sweeps start from.
        households: To score; all by default. All in ``history`` are factorised.
        params: Parameters.
        threads: To use; one per core by default. The result does not depend on it.

    Returns:
        ``household_id, product_id, rank (Int32, 1..limit), score (Float64)``, sorted by household
        and rank; equal scores are ordered by product id. Scores of zero and less are left out, so a
        household without a history has no row.

    Raises:
        ValueError: A value of ``history`` is missing, or ``limit`` is below 1.
    """
    past = history if isinstance(history, BasketHistory) else basket_history(history)
    found = factorise(past, params=params, seed=seed, threads=threads)
    return best_of_factors(past, found, limit=limit, households=households, threads=threads)


def best_of_factors(
    past: BasketHistory,
    found: Factors,
    *,
    limit: int,
    households: pl.Series | None = None,
    threads: int | None = None,
) -> pl.DataFrame:
    """As ``als``, with the vectors of ``factorise``."""

    def score(block: np.ndarray) -> np.ndarray:
        return found.products @ found.households[block].T

    return best_of_blocks(past, score, households=households, limit=limit, threads=threads)


def factorise(
    history: BasketHistory,
    *,
    params: AlsParams = ALS,
    seed: int,
    threads: int | None = None,
    earlier: tuple[BasketHistory, Factors] | None = None,
) -> Factors:
    """Factorise the counts of baskets; a history without a row has vectors of zero.

    Args:
        history: From ``basket_history``.
        params: As for ``als``.
        seed: As for ``als``.
        threads: As for ``als``.
        earlier: A history of some weeks before and its vectors, to start from: it then takes fewer
            sweeps.
    """
    confidence = history.matrix(np.ones(len(history.household)))
    if not confidence.nnz:
        empty = (np.zeros((size, params.factors), dtype=np.float32) for size in history.shape)
        return Factors(*empty)
    confidence.data = 1.0 + np.float32(params.alpha) * confidence.data
    start = None if earlier is None else _carried(history, *earlier, seed=seed)
    return _fitted(confidence, params=params, seed=seed, threads=threads, start=start)


def _carried(
    history: BasketHistory, before: BasketHistory, found: Factors, *, seed: int
) -> Factors:
    """Vectors of who and what was known before, small random ones of the rest."""
    rng = np.random.default_rng(seed)

    def of(ids: pl.Series, known: pl.Series, vectors: np.ndarray) -> np.ndarray:
        made = rng.random((ids.len(), vectors.shape[1]), dtype=np.float32) * _SMALL
        places = pl.DataFrame({"id": known.cast(pl.String)}).with_row_index("place")
        at = pl.DataFrame({"id": ids.cast(pl.String)}).join(
            places, on="id", how="left", maintain_order="left"
        )["place"]
        there = at.is_not_null().to_numpy()
        made[there] = vectors[at.drop_nulls().to_numpy()]
        return made

    return Factors(
        of(history.households, before.households, found.households),
        of(history.products, before.products, found.products),
    )


def _fitted(
    confidence: sparse.csr_matrix,
    *,
    params: AlsParams,
    seed: int,
    threads: int | None,
    start: Factors | None,
) -> Factors:
    from implicit.cpu.als import AlternatingLeastSquares
    from threadpoolctl import threadpool_limits

    # BLAS on one thread: implicit runs threads of its own, and sums keep their order.
    with threadpool_limits(1, user_api="blas"):
        model = AlternatingLeastSquares(
            factors=params.factors,
            regularization=params.regularization,
            iterations=params.iterations,
            random_state=seed,
            num_threads=threads or 0,
        )
        if start is not None:
            model.user_factors, model.item_factors = start.households, start.products
        model.fit(confidence, show_progress=False)
    return Factors(households=model.user_factors, products=model.item_factors)
