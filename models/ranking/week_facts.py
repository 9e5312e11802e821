"""What a week's candidates are made from beside a household's own lines, ready for one household.

Made once for an as-of week by the functions that make all candidates of the week, so that an
event recomputes one household's row without reading the lake. Pure: tables in memory, which may be
memory-mapped; where they lie is not here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from models.features.as_of import AsOf
from models.features.product_versions import in_force
from models.ranking import candidates as sources
from models.ranking import inputs
from models.ranking.basket_history import basket_history
from models.ranking.context import STORE_CONTEXT
from models.ranking.line_store import (
    LINE_ARRAYS,
    LINE_COLUMNS,
    LINE_TABLES,
    LineStore,
    line_store,
)
from models.ranking.neighbours import tifu_vectors
from models.ranking.order import top
from models.ranking.proposals import Known, promotion_plan, types_at

if TYPE_CHECKING:
    from scipy import sparse

_ORDERED_BY = tuple(o.column for o in inputs.GLOBAL_ORDER)
# Product features that a model sees or an order needs.
PRODUCT_COLUMNS = tuple(dict.fromkeys((*inputs.FEATURES.product, *_ORDERED_BY)))

# Each is a frame; a week without any of it has no rows.
TABLES = (
    *LINE_TABLES,
    "products",
    "everybody",
    "in_store",
    "promoted",
    "of_type",
    "coupons",
    "store_products",
    "plan",
    "vector_households",
    "vector_products",
)
_VECTOR_ARRAYS = ("vector_data", "vector_indices", "vector_indptr")
ARRAYS = (*LINE_ARRAYS, *_VECTOR_ARRAYS)


@dataclass(frozen=True)
class WeekFacts:
    """Tables of one as-of week.

    Attributes:
        as_of: Monday.
        instant: Its start, naive UTC.
        time_zone: Of the business.
        tables: ``TABLES``; those of ``line_store`` hold the year before. ``products``: attributes
            in force and ``PRODUCT_COLUMNS``, sorted by id. ``everybody``, ``in_store``,
            ``promoted``, ``coupons``: ranked proposals, of which the last three name a store, a
            store and a household. ``of_type``: the best products of each type.
            ``store_products``: ``STORE_CONTEXT`` by store. ``plan``: of the week, by product.
            ``vector_households``, ``vector_products``: ids of the vectors' rows and columns.
        arrays: ``ARRAYS``: the lines', and TIFU vectors of all households as compressed sparse
            rows.
    """

    as_of: date
    instant: datetime
    time_zone: str
    tables: Mapping[str, pl.DataFrame]
    arrays: Mapping[str, np.ndarray]

    def lines_of(self, household_id: str) -> pl.DataFrame:
        """The household's lines of the year, oldest first; none for a stranger."""
        return self.lines.of(household_id)

    @cached_property
    def lines(self) -> LineStore:
        return LineStore(
            tables={name: self.tables[name] for name in LINE_TABLES},
            arrays={name: self.arrays[name] for name in LINE_ARRAYS},
        )

    def coupons_of(self, household_id: str) -> pl.DataFrame:
        first, end = self._places["coupons"].get(household_id, (0, 0))
        return self.tables["coupons"][first:end]

    def of_store(self, table: str, store_id: str) -> pl.DataFrame:
        """Rows of ``in_store``, ``promoted`` or ``store_products`` of one store."""
        first, end = self._places[table].get(store_id, (0, 0))
        return self.tables[table][first:end]

    def products(self, product_ids: pl.Series) -> pl.DataFrame:
        """Rows of ``products``; an id that nobody listed or bought has none."""
        rows = [r for r in map(self._product_rows.get, product_ids.to_list()) if r is not None]
        return self.tables["products"][rows]

    def plan_of(self, product_ids: pl.Series) -> pl.DataFrame:
        """The week's promotion plan of some products, in all stores."""
        plan = self.tables["plan"]
        return plan.filter(pl.col("product_id").is_in(product_ids.implode()))

    @cached_property
    def vectors(self) -> sparse.csr_matrix:
        """Households x products, float32, rows and columns by ascending id."""
        from scipy import sparse

        shape = (self.tables["vector_households"].height, self.tables["vector_products"].height)
        data, indices, indptr = (self.arrays[name] for name in _VECTOR_ARRAYS)
        return sparse.csr_matrix((data, indices, indptr), shape=shape)

    @cached_property
    def by_product(self) -> sparse.csr_matrix:
        """The transpose, by rows."""
        return self.vectors.T.tocsr()

    @cached_property
    def norms(self) -> np.ndarray:
        """(households,) float32: |v|^2."""
        squares = self.vectors.multiply(self.vectors).sum(axis=1)
        return np.asarray(squares, dtype=np.float32).ravel()

    @cached_property
    def vector_households(self) -> np.ndarray:
        return self.tables["vector_households"]["household_id"].to_numpy().astype("U12")

    @cached_property
    def vector_products(self) -> pl.Series:
        return self.tables["vector_products"]["product_id"]

    @cached_property
    def vector_columns(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.vector_products)}

    @cached_property
    def _product_rows(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.tables["products"]["product_id"])}

    @cached_property
    def _places(self) -> dict[str, dict[str, tuple[int, int]]]:
        return {
            table: _runs(self.tables[table][column])
            for table, column in (
                ("coupons", "household_id"),
                ("in_store", "store_id"),
                ("promoted", "store_id"),
                ("store_products", "store_id"),
            )
        }

    def warm(self) -> WeekFacts:
        """Make what is made on first use, so that the first event is as quick as the others."""
        self.lines_of("")
        _ = (self.by_product, self.norms, self.vector_households, self.vector_columns)
        _ = (self._product_rows, self._places)
        return self


def week_facts(known: Known, *, as_of: date, instant: datetime, time_zone: str) -> WeekFacts:
    """Make the facts of a week, by the functions that make its candidates.

    Args:
        known: As for ``proposals.propose``, of this one week.
        as_of: Monday.
        instant: Its start, naive UTC.
        time_zone: Of the business.
    """
    lines = (
        known.lines.filter(
            pl.col("sold_at") < instant, pl.col("week_start") >= as_of - sources.WINDOW
        )
        .select(LINE_COLUMNS)
        .collect()
    )
    features = known.product.collect()
    types = types_at(known.products, as_ofs={as_of: instant})
    # Every store is a household of its own here, so that its lists are those of its households.
    stores = known.household_store.select(
        pl.col("store_id").alias("household_id"), "store_id", "as_of"
    ).unique()
    best = {
        "everybody": sources.global_frequency(
            features.lazy(), order=inputs.GLOBAL_ORDER, limit=inputs.GLOBAL_LIMIT
        ),
        "in_store": _named_store(
            sources.store_popular(
                stores, known.store_product, order=inputs.STORE_ORDER, limit=inputs.STORE_LIMIT
            )
        ),
        "promoted": _named_store(
            sources.promoted(
                stores,
                promotion_plan(known),
                features.lazy(),
                order=inputs.GLOBAL_ORDER,
                limit=inputs.PROMOTED_LIMIT,
            )
        ),
        "of_type": top(
            features.lazy()
            .select("product_id", "as_of", *_ORDERED_BY)
            .join(types.drop_nulls("type"), on=["product_id", "as_of"], how="inner"),
            group=("as_of", "type"),
            order=inputs.GLOBAL_ORDER,
            limit=inputs.SUBSTITUTES_PER_TYPE,
            keep=("product_id", *_ORDERED_BY),
        ).drop("rank"),
        "coupons": sources.coupon_linked(
            campaigns=known.campaigns,
            targets=known.targets,
            coupons=known.coupons,
            product=features.lazy(),
            as_ofs={as_of: instant},
            order=inputs.GLOBAL_ORDER,
            limit=inputs.COUPON_LIMIT,
        ).sort("household_id", "rank"),
        "store_products": known.store_product.select(
            "store_id", "product_id", "as_of", *STORE_CONTEXT.values()
        ).sort("store_id", "product_id"),
        "plan": promotion_plan(known).sort("product_id", "store_id"),
    }
    past = basket_history(
        lines.select("household_id", "product_id", "basket_id", pl.col("sold_at").alias("at"))
    )
    vectors = tifu_vectors(past)
    stored = line_store(lines)
    tables = {name: frame.collect() for name, frame in best.items()} | {
        **stored.tables,
        "products": _products(known, features, lines, as_of=as_of, instant=instant, zone=time_zone),
        "vector_households": past.households.cast(pl.String).alias("household_id").to_frame(),
        "vector_products": past.products.cast(pl.String).alias("product_id").to_frame(),
    }
    return WeekFacts(
        as_of=as_of,
        instant=instant,
        time_zone=time_zone,
        tables={name: tables[name] for name in TABLES},
        arrays={
            **stored.arrays,
            "vector_data": vectors.data,
            "vector_indices": vectors.indices.astype(np.int32),
            "vector_indptr": vectors.indptr.astype(np.int64),
        },
    )


def _products(
    known: Known,
    features: pl.DataFrame,
    lines: pl.DataFrame,
    *,
    as_of: date,
    instant: datetime,
    zone: str,
) -> pl.DataFrame:
    import narwhals as nw

    versions = nw.from_native(known.products)
    attributes = nw.to_native(
        in_force(versions, as_of=AsOf(instant=instant, week=as_of, time_zone=zone))
    ).collect()
    ids = pl.concat([attributes["product_id"], features["product_id"], lines["product_id"]])
    return (
        ids.unique()
        .sort()
        .to_frame()
        .join(
            attributes.with_columns(pl.lit(value=True).alias("listed")), on="product_id", how="left"
        )
        .join(features.select("product_id", *PRODUCT_COLUMNS), on="product_id", how="left")
        .with_columns(pl.col("listed").fill_null(value=False))
        .sort("product_id")
    )


def _named_store(proposed: pl.LazyFrame) -> pl.LazyFrame:
    return proposed.rename({"household_id": "store_id"}).sort("store_id", "rank")


def _runs(sorted_ids: pl.Series) -> dict[str, tuple[int, int]]:
    """Id to the first row and the row after the last, of a sorted column."""
    runs = sorted_ids.rle().struct.unnest()
    ends = runs["len"].cast(pl.Int64).cum_sum().to_list()
    return {
        name: (end - length, end)
        for name, length, end in zip(
            runs["value"].to_list(), runs["len"].to_list(), ends, strict=True
        )
    }
