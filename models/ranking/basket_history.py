"""Who bought what in which basket, as integers: the form that neighbours, ALS and cadence count in.

Ids become positions in their sorted order, so a tie between positions is a tie between ids and is
broken the same way. A basket is known by household and basket id, and stands where its first line
does; the same product twice in one basket, or the same line twice, counts once.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from models.ranking.order import RANK

if TYPE_CHECKING:
    from collections.abc import Callable

    from scipy import sparse

# Scores of one block of households are dense: 64 x 60,000 products x 4 bytes are 15 MB.
BLOCK = 64

# Dense cells of one block, whatever the number of products: 128 MB of float32.
BLOCK_CELLS = 32_000_000

# The cut of a ranking is first guessed from the products bought by most, to look at few cells.
GUESSED_FROM = 4096

# Equal scores summed in another order differ in the last bits of a float32; 17 of 24 bits stay.
_HALF_STEP = np.int32(0x40)
_KEPT_BITS = np.int32(~0x7F)
# More than a score can lose by that.
_BELOW = np.float32(1 - 1e-4)

KEYS = ("household_id", "product_id", "basket_id", "at")

SCHEMA = pl.Schema(
    {
        "household_id": pl.String,
        "product_id": pl.String,
        "rank": RANK,
        "score": pl.Float64,
    }
)


@dataclass(frozen=True)
class BasketHistory:
    """Purchases by position, one row per household, basket and product.

    Attributes:
        households: Their ids, ascending.
        products: Their ids, ascending.
        household: Position in ``households``; rows are sorted by it, then by ``product``, ``ago``.
        product: Position in ``products``.
        ago: Baskets the household has bought since: 0 is its latest basket.
        baskets: Baskets per household.
    """

    households: pl.Series
    products: pl.Series
    household: np.ndarray
    product: np.ndarray
    ago: np.ndarray
    baskets: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        return self.households.len(), self.products.len()

    def matrix(self, weight: np.ndarray) -> sparse.csr_matrix:
        """Households x products, Float32: the sum of ``weight`` (one per row) over each pair."""
        from scipy import sparse

        pair = self.household.astype(np.int64) * self.shape[1] + self.product
        starts = np.flatnonzero(np.r_[True, pair[1:] != pair[:-1]]) if len(pair) else pair
        values = np.add.reduceat(weight.astype(np.float64), starts) if len(pair) else weight
        rows = self.household[starts]
        indptr = np.r_[0, np.cumsum(np.bincount(rows, minlength=self.shape[0]))]
        return sparse.csr_matrix(
            (values.astype(np.float32), self.product[starts].astype(np.int32), indptr),
            shape=self.shape,
        )


def basket_history(history: pl.DataFrame) -> BasketHistory:
    """Number the baskets of every household back from its latest.

    Args:
        history: ``household_id, product_id, basket_id, at``; ``at`` is anything sortable (a time,
            an order). The baskets of one time are ordered by basket id. Ids that are Enums of
            sorted texts, as of ``sorted_enums``, save half the time.

    Raises:
        ValueError: A value is missing.
    """
    lines = history.select(*KEYS)
    _check_whole(lines, "basket_history()")
    household, households = _positions(lines["household_id"])
    product, products = _positions(lines["product_id"])
    rows = lines.select(household, product, "basket_id", "at")
    baskets = (
        rows.group_by("household_id", "basket_id")
        .agg(pl.col("at").min())
        .sort("household_id", "at", "basket_id")
        .with_columns(
            (pl.len() - 1 - pl.int_range(pl.len())).over("household_id").cast(pl.Int32).alias("ago")
        )
    )
    numbered = rows.join(
        baskets.select("household_id", "basket_id", "ago"),
        on=["household_id", "basket_id"],
        how="left",
    )
    return _history(numbered, households=households, products=products)


def numbered_history(history: pl.DataFrame) -> BasketHistory:
    """As ``basket_history`` for baskets that are numbered already.

    Args:
        history: ``household_id, product_id`` (Enums of sorted texts), ``ago``; every basket of a
            household is there.
    """
    household, households = _positions(history["household_id"])
    product, products = _positions(history["product_id"])
    numbered = pl.DataFrame([household, product, history["ago"].cast(pl.Int32)])
    return _history(numbered, households=households, products=products)


@dataclass(frozen=True)
class BasketLog:
    """A long history that is cut at many times: numbered and sorted once.

    Attributes:
        rows: ``household_id, product_id`` (Enums of sorted texts), ``number`` (Int32: of the
            basket, in its household's order), and what cuts are made by; one row per household,
            product and basket, sorted by household, product and latest basket first.
    """

    rows: pl.DataFrame

    def cut(self, *kept: pl.Expr) -> BasketHistory:
        """The history of the rows for which all of ``kept`` are true.

        Equal to ``basket_history`` of these lines where they are those before a time, or between
        two: then a basket's place among the others does not depend on the cut.
        """
        rows = self.rows.filter(*kept) if kept else self.rows
        household, households = _positions(rows["household_id"])
        product, products = _positions(rows["product_id"])
        owner, number = household.to_numpy(), rows["number"].to_numpy()
        last = np.zeros(households.len(), dtype=np.int32)
        starts = np.flatnonzero(np.r_[True, owner[1:] != owner[:-1]]) if len(owner) else owner
        if len(owner):
            last[:] = np.maximum.reduceat(number, starts)
        ago = last[owner] - number
        baskets = np.zeros(households.len(), dtype=np.int64)
        if len(owner):
            baskets[:] = np.maximum.reduceat(ago, starts).astype(np.int64) + 1
        return BasketHistory(
            households=households,
            products=products,
            household=owner,
            product=product.to_numpy(),
            ago=ago,
            baskets=baskets,
        )


def basket_log(history: pl.DataFrame) -> BasketLog:
    """Number the baskets of every household once, for many cuts.

    Args:
        history: As for ``basket_history``; further columns are kept to cut by, of the first line of
            a product in a basket.

    Raises:
        ValueError: A value is missing.
    """
    _check_whole(history, "basket_log()")
    coded = sorted_enums(history, ("household_id", "product_id", "basket_id"))
    numbers = (
        coded.group_by("household_id", "basket_id")
        .agg(pl.col("at").min())
        .sort("household_id", "at", "basket_id")
        .select(
            "household_id",
            "basket_id",
            pl.int_range(pl.len(), dtype=pl.Int32).over("household_id").alias("number"),
        )
    )
    rows = (
        coded.join(numbers, on=["household_id", "basket_id"], how="left")
        .sort("household_id", "product_id", "number", "at", descending=[False, False, True, False])
        .unique(["household_id", "product_id", "number"], keep="first", maintain_order=True)
        .drop("basket_id")
    )
    return BasketLog(rows)


def _check_whole(lines: pl.DataFrame, asked: str) -> None:
    missing = {
        name: count
        for name, count in lines.select(*KEYS).null_count().row(0, named=True).items()
        if count
    }
    if missing:
        raise ValueError(
            f"{asked}: missing values {missing} among {lines.height:,} rows; every "
            "purchase needs a household, a basket, a product and its place in time: drop the rest"
        )


def _history(
    numbered: pl.DataFrame, *, households: pl.Series, products: pl.Series
) -> BasketHistory:
    rows = (
        numbered.select("household_id", "product_id", "ago")
        .unique()
        .sort("household_id", "product_id", "ago")
    )
    household, ago = rows["household_id"].to_numpy(), rows["ago"].to_numpy()
    baskets = np.zeros(households.len(), dtype=np.int64)
    np.maximum.at(baskets, household, ago + 1)
    return BasketHistory(
        households=households,
        products=products,
        household=household,
        product=rows["product_id"].to_numpy(),
        ago=ago,
        baskets=baskets,
    )


def sorted_enums(frame: pl.DataFrame, columns: tuple[str, ...]) -> pl.DataFrame:
    """Id columns as Enums of their sorted texts, for histories that are cut several times."""
    texts = {
        name: frame[name].cast(pl.String)
        for name in columns
        if not isinstance(frame.schema[name], pl.Enum)
    }
    return frame.with_columns(
        ids.cast(pl.Enum(ids.unique().sort())).alias(name) for name, ids in texts.items()
    )


def best_of_blocks(
    history: BasketHistory,
    score: Callable[[np.ndarray], np.ndarray],
    *,
    households: pl.Series | None,
    limit: int,
    threads: int | None,
) -> pl.DataFrame:
    """The products with the highest scores above zero, household by household.

    Args:
        history: What the scores are about.
        score: Positions of some households to a Float32 array, products x those households.
        households: Ids to score; all of the history by default, unknown ones are left out.
        limit: Products per household.
        threads: Blocks scored at a time; one per core by default. The result does not depend on
            it.

    Returns:
        ``household_id, product_id, rank (Int32), score (Float64)``, sorted by household and rank;
        equal scores by product id.

    Raises:
        ValueError: ``limit`` is below 1.
    """
    if limit < 1:
        raise ValueError(f"a ranking of {limit} products was asked for; give a limit of 1 or more")
    wanted = np.arange(history.shape[0])
    if households is not None:
        asked = households.unique().cast(pl.String)
        known = history.households.is_in(asked.implode())
        wanted = np.flatnonzero(known.to_numpy())
    size = max(1, min(BLOCK, BLOCK_CELLS // max(history.shape[1], 1)))
    buyers = np.bincount(history.product, minlength=history.shape[1])
    popular = np.sort(np.argsort(-buyers, kind="stable")[: max(GUESSED_FROM, limit)])
    blocks = [wanted[start : start + size] for start in range(0, len(wanted), size)]

    def one(block: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        row, product, rank, value = _best(score(block), popular=popular, limit=limit)
        return block[row], product, rank, value

    with ThreadPoolExecutor(max_workers=threads or _cores()) as pool:
        found = list(pool.map(one, blocks))
    if not found:
        return pl.DataFrame(schema=SCHEMA)
    row, product, rank, value = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return pl.DataFrame(
        {
            "household_id": history.households.gather(row),
            "product_id": history.products.gather(product),
            "rank": rank.astype(np.int32),
            "score": value.astype(np.float64),
        },
        schema=SCHEMA,
    )


def best_of_one(scores: np.ndarray, *, limit: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As ``best_of_blocks`` for one household: products x 1 scores to positions, ranks, values."""
    popular = np.arange(min(len(scores), max(GUESSED_FROM, limit)))
    _, product, rank, value = _best(scores, popular=popular, limit=limit)
    return product, rank, value


def _best(
    scores: np.ndarray, *, popular: np.ndarray, limit: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Column, row, rank and value of the ``limit`` best positive cells of every column."""
    guess = scores[popular].T
    at = guess.shape[1] - limit
    # Any part's cut is at or below the cut of the whole.
    cut = np.partition(guess, at, axis=1)[:, at] if at >= 0 else np.zeros(len(guess), np.float32)
    possible = scores >= np.maximum(cut * _BELOW, np.finfo(np.float32).tiny)
    product, row = np.divmod(np.flatnonzero(possible), len(guess))
    value = scores[product, row]
    bits = value.view(np.int32)
    bits += _HALF_STEP
    bits &= _KEPT_BITS
    order = np.lexsort((product, -value, row))
    row, product, value = row[order], product[order], value[order]
    rank = np.arange(len(row)) - np.searchsorted(row, row) + 1
    kept = rank <= limit
    return row[kept], product[kept], rank[kept], value[kept]


def _positions(ids: pl.Series) -> tuple[pl.Series, pl.Series]:
    if not isinstance(ids.dtype, pl.Enum):
        texts = ids.cast(pl.String)
        ids = texts.cast(pl.Enum(texts.unique().sort()))
    # A cut of a longer history knows ids that do not occur in it.
    codes = ids.to_physical().to_numpy()
    occurs = np.bincount(codes, minlength=len(ids.dtype.categories)) > 0  # type: ignore[attr-defined]
    position = np.cumsum(occurs, dtype=np.int32) - 1
    names = ids.dtype.categories.filter(pl.Series(occurs))  # type: ignore[attr-defined]
    return pl.Series(ids.name, position[codes], dtype=pl.Int32), names


def _cores() -> int:
    return len(os.sched_getaffinity(0))
