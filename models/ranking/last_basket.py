"""What a household's last basket says about its next one, from the baskets of all households.

Two features of a household and a product: ``co_purchase``, how much more often than by chance the
product is in one basket with those of the last basket, and ``follows``, how much more often it is
in the basket after them (itself among them: what is bought again at once). Both are differences of
shares, averaged over the last basket's products.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from models.ranking.basket_history import BasketHistory

LAST_BASKET = ("co_purchase", "follows")

# Pairs are counted for the products in most baskets: 16 MB of float32 for each feature.
PAIRED_PRODUCTS = 2000


def last_basket_says(history: BasketHistory, pairs: pl.DataFrame) -> list[pl.Series]:
    """Both features for pairs of household and product.

    Args:
        history: All that is known.
        pairs: ``household_id, product_id``, sorted by neither.

    Returns:
        ``LAST_BASKET`` (Float32) in the order of ``pairs``; null for a household without a history
        and a product that is not among the ``PAIRED_PRODUCTS`` in most baskets.
    """
    from scipy import sparse

    column = _columns(history)
    size = int(column.max(initial=-1)) + 1
    last = np.cumsum(history.baskets) - 1
    counted = column[history.product] >= 0
    rows = (last[history.household] - history.ago)[counted]
    baskets = sparse.csr_matrix(
        (np.ones(len(rows), dtype=np.float32), (rows, column[history.product[counted]])),
        shape=(int(history.baskets.sum()), size),
    )
    followed = np.ones(baskets.shape[0], dtype=bool)
    followed[last] = False
    before, after = baskets[followed], baskets[np.flatnonzero(followed) + 1]
    together = (baskets.T @ baskets).toarray()
    np.fill_diagonal(together, 0.0)
    tables = (
        _more_than_chance(together, given=baskets, what=baskets),
        _more_than_chance((before.T @ after).toarray(), given=before, what=after),
    )
    household = _place(history.households, pairs["household_id"])
    product = _place(history.products, pairs["product_id"])
    target = np.where(product >= 0, column[product], -1) if len(column) else product
    known = np.flatnonzero((household >= 0) & (target >= 0))
    asked, row = np.unique(household[known], return_inverse=True)
    latest = baskets[last[asked]]
    sizes = np.maximum(np.diff(latest.indptr), 1)[:, None]
    answers = []
    for name, table in zip(LAST_BASKET, tables, strict=True):
        values = np.full(pairs.height, np.nan, dtype=np.float32)
        values[known] = ((latest @ table) / sizes)[row, target[known]]
        answers.append(pl.Series(name, values).fill_nan(None))
    return answers


def _columns(history: BasketHistory) -> np.ndarray:
    """Per product its column among the counted ones, or -1."""
    baskets = np.bincount(history.product, minlength=history.shape[1])
    common = np.sort(np.argsort(-baskets, kind="stable")[:PAIRED_PRODUCTS])
    column = np.full(history.shape[1], -1, dtype=np.int64)
    column[common] = np.arange(len(common))
    return column


def _more_than_chance(counts: np.ndarray, *, given: np.ndarray, what: np.ndarray) -> np.ndarray:
    def times(baskets: np.ndarray) -> np.ndarray:
        return np.asarray(baskets.sum(axis=0), dtype=np.float32).ravel()

    share = times(what) / max(what.shape[0], 1)
    return counts / np.maximum(times(given), 1.0)[:, None] - share


def _place(ids: pl.Series, wanted: pl.Series) -> np.ndarray:
    """Position of each wanted id, or -1."""
    index = pl.DataFrame({"id": ids, "place": np.arange(ids.len(), dtype=np.int64)})
    found = (
        wanted.cast(pl.String)
        .to_frame("id")
        .join(index, on="id", how="left", maintain_order="left")
    )
    return found["place"].fill_null(-1).to_numpy()
