"""One household's candidates and features anew, from its lines and the facts of the week.

The functions are those of training and of the batch path; only what does not depend on the
household (``week_facts``) is not made again. So the rows are those that the batch functions give
when the household's new lines are appended: to the bit, while everybody else stands still.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from models.ranking import candidates as sources
from models.ranking import inputs
from models.ranking.basket_history import basket_history
from models.ranking.context import with_context
from models.ranking.dataset import examples
from models.ranking.household_plans import HouseholdFrames, HouseholdPlans
from models.ranking.neighbours import tifu_knn_of_one, tifu_vectors
from models.ranking.week_facts import PRODUCT_COLUMNS, WeekFacts

if TYPE_CHECKING:
    from scipy import sparse

# An as-of is the end of the hour of the newest event: rows do not depend on seconds, and the
# features of all households that shop within the hour stand at one instant.
_HOUR_SECONDS = 3600


def as_of_after(newest: datetime, *, facts: WeekFacts) -> datetime:
    """The instant at which a household stands whose newest line was sold at ``newest``.

    The first full hour after the sale, and never before the start of the facts' week: what was
    sold before that is in the facts.
    """
    return max(hour_after(newest), facts.instant)


def hour_after(newest: datetime) -> datetime:
    """The first full hour after a moment."""
    return newest.replace(minute=0, second=0, microsecond=0) + timedelta(seconds=_HOUR_SECONDS)


def fresh_examples(
    facts: WeekFacts,
    *,
    household_id: str,
    lines: pl.DataFrame,
    at: datetime,
    plans: HouseholdPlans | None = None,
) -> pl.DataFrame:
    """Candidates and features of one household as they stand at ``at``.

    Args:
        facts: Of the week.
        household_id: Pseudonym.
        lines: All lines of the household, ``LINE_COLUMNS``, those of the facts among them; only
            what was sold before ``at`` counts.
        at: Naive UTC, from ``as_of_after``.
        plans: Of the facts, kept between calls to save most of the time.

    Returns:
        As ``dataset.examples`` for this household: sorted by product; no rows without a line in the
        364 days before ``at``.
    """
    past = lines.filter(pl.col("sold_at") < at)
    frames = (plans or HouseholdPlans(facts)).frames(past, at=at)
    stores = sources.own_store(frames.household_store.lazy()).collect()
    close = neighbours_of_one(facts, past, household_id=household_id)
    united = (
        sources.unite(
            frames.household.lazy().select("household_id", "as_of", "known_at"),
            _proposals(facts, frames, stores, close, household_id=household_id),
        )
        .join(
            close.lazy().select("product_id", sources.NEIGHBOURS_SCORE), on="product_id", how="left"
        )
        .collect()
    )
    return examples(
        _in_context(facts, frames, stores, united),
        household=frames.household.lazy(),
        product=_product_frame(facts, united["product_id"]).lazy(),
        household_product=frames.household_product.lazy(),
        features=inputs.FEATURES,
    )


def neighbours_of_one(facts: WeekFacts, lines: pl.DataFrame, *, household_id: str) -> pl.DataFrame:
    """What ``candidates.neighbours`` proposes to one household, the others as in the facts.

    Returns:
        ``household_id, product_id, as_of, rank, neighbours_score``.
    """
    from scipy import sparse

    own = basket_history(
        lines.select("household_id", "product_id", "basket_id", pl.col("sold_at").alias("at"))
    )
    vectors, by_product, names = _with_products(facts, own.products.cast(pl.String))
    others = facts.vector_households
    one = int(np.searchsorted(others, household_id))
    known = one < len(others) and others[one] == household_id
    vector = tifu_vectors(own)
    columns = names.search_sorted(own.products.cast(pl.String)).to_numpy()
    vector = sparse.csr_matrix(
        (vector.data, columns[vector.indices], vector.indptr), shape=(1, len(names))
    )
    nearness = facts.norms - 2.0 * np.asarray((vector @ by_product).todense(), dtype=np.float32)[0]
    after = vectors[one + 1 :] if known else vectors[one:]
    if known:
        nearness[one] = 0.0
    else:
        nearness = np.insert(nearness, one, 0.0)
    whole = sparse.vstack([vectors[:one], vector, after], format="csr", dtype=np.float32)
    product, rank, score = tifu_knn_of_one(
        whole, one=one, nearness=nearness, limit=inputs.NEIGHBOURS_LIMIT
    )
    return pl.DataFrame(
        {
            "household_id": [household_id] * len(product),
            "product_id": names.gather(product),
            "as_of": [facts.as_of] * len(product),
            "rank": rank.astype(np.int32),
            sources.NEIGHBOURS_SCORE: score.astype(np.float64).astype(np.float32),
        },
        schema_overrides={"household_id": pl.String, "product_id": pl.String, "as_of": pl.Date},
    )


def _with_products(
    facts: WeekFacts, bought: pl.Series
) -> tuple[sparse.csr_matrix, sparse.csr_matrix, pl.Series]:
    """The vectors, their transpose and their columns' ids, with a column for each product."""
    from scipy import sparse

    names, known = facts.vector_products, facts.vector_columns
    new = [name for name in bought.to_list() if name not in known]
    if not new:
        return facts.vectors, facts.by_product, names
    widened = pl.concat([names, pl.Series(names.name, new, dtype=pl.String)]).sort()
    moved = widened.search_sorted(names).to_numpy()
    old = facts.vectors
    vectors = sparse.csr_matrix(
        (old.data, moved[old.indices], old.indptr), shape=(old.shape[0], len(widened))
    )
    return vectors, vectors.T.tocsr(), widened


def _proposals(
    facts: WeekFacts,
    frames: HouseholdFrames,
    stores: pl.DataFrame,
    close: pl.DataFrame,
    *,
    household_id: str,
) -> dict[str, pl.LazyFrame]:
    """As ``proposals``' sources, for one household."""
    store_id = stores["store_id"][0] if stores.height else ""

    def of_store(table: str) -> pl.LazyFrame:
        best = facts.of_store(table, store_id).lazy()
        return stores.lazy().join(best, on=["as_of", "store_id"]).drop("store_id")

    of_type = facts.tables["of_type"].lazy()
    return {
        sources.PERSONAL: sources.personal_frequency(
            frames.household_product.lazy(),
            order=inputs.PERSONAL_ORDER,
            limit=inputs.PERSONAL_LIMIT,
        ),
        sources.COUPON: facts.coupons_of(household_id).lazy(),
        sources.NEIGHBOURS: close.lazy(),
        sources.PROMOTED: of_store("promoted"),
        sources.STORE: of_store("in_store"),
        sources.SUBSTITUTE: sources.substitutes(
            frames.household_type.lazy(),
            of_type.drop("type"),
            of_type.select("product_id", "as_of", "type"),
            habit=inputs.TYPE_ORDER,
            order=inputs.GLOBAL_ORDER,
            types_limit=inputs.SUBSTITUTE_TYPES,
            limit=inputs.SUBSTITUTES_PER_TYPE,
        ),
        sources.GLOBAL: facts.tables["everybody"].lazy(),
    }


def _in_context(
    facts: WeekFacts, frames: HouseholdFrames, stores: pl.DataFrame, scored: pl.DataFrame
) -> pl.LazyFrame:
    store_id = stores["store_id"][0] if stores.height else ""
    products = scored["product_id"]
    stamp = pl.lit(facts.as_of).alias("as_of")
    return with_context(
        scored.lazy(),
        types=facts.products(products).filter("listed").select("product_id", stamp, "type").lazy(),
        household_type=frames.household_type.lazy(),
        stores=stores.lazy(),
        store_product=facts.of_store("store_products", store_id).lazy(),
        plan=facts.plan_of(products).lazy(),
    )


def _product_frame(facts: WeekFacts, product_ids: pl.Series) -> pl.DataFrame:
    return facts.products(product_ids).select(
        "product_id", pl.lit(facts.as_of).alias("as_of"), *PRODUCT_COLUMNS
    )
