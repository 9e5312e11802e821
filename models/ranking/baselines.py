"""Baseline rankings: what the ranker has to beat, computed from purchases alone.

Those of ``BASELINES`` take the counts of ``purchase_counts``, those of ``BASKET_BASELINES`` the
baskets of ``basket_lines``. All take the events to rank for and k, and return ``household_id,
as_of, rank (Int32, 1..k), product_id, score``, sorted by as-of, household and rank. Only weeks
before the as-of count. One purchase is one product on one receipt. Equal scores are ordered by
product id. Global top frequency fills a list up to k; its scores are everybody's (decayed)
purchases, those before it the method's own, so a score falls within each of the two parts only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from threading import Lock
from types import MappingProxyType

import numpy as np
import polars as pl

from models.ranking.als import ALS, Factors, best_of_factors, factorise
from models.ranking.basket_history import BasketHistory, BasketLog, basket_log, sorted_enums
from models.ranking.cadence import repeat_cadence as cadence_scores
from models.ranking.neighbours import TIFU, UPCF, TifuParams, UpcfParams
from models.ranking.neighbours import tifu_knn as tifu_knn_scores
from models.ranking.neighbours import up_cf as up_cf_scores
from models.ranking.order import RANK, OrderBy, top

Baseline = Callable[..., pl.DataFrame]

# Best of 3, 6, 9, 13, 18 and 26 weeks on as-of weeks 36-44 of The Complete Journey.
HALF_LIFE_WEEKS = 13.0

# A sum of floats depends on the order of its terms; ties must not.
SCORE_DECIMALS = 9

# Of the vectors that ALS starts from.
ALS_SEED = 20170102
# Sweeps from the vectors of the as-of before. On as-of weeks 37-42 one ranks as well as four from
# nothing (NDCG@10 .155 and .154), in a third of the time.
ALS_SWEEPS_FROM_EARLIER = 1

SCHEMA = pl.Schema(
    {
        "household_id": pl.String,
        "as_of": pl.Date,
        "rank": RANK,
        "product_id": pl.String,
        "score": pl.Float64,
    }
)


def purchase_counts(lines: pl.LazyFrame) -> pl.DataFrame:
    """Purchases per household, product and week, counted once for all baselines.

    Args:
        lines: ``household_id, product_id, basket_id, week_start``; a product printed twice on one
            receipt is one purchase.

    Returns:
        ``household_id, product_id, week_start, purchases`` (UInt32).
    """
    return (
        lines.select("household_id", "product_id", "week_start", "basket_id")
        .unique()
        .group_by("household_id", "product_id", "week_start")
        .agg(pl.len().alias("purchases"))
        .collect()
    )


@dataclass(frozen=True)
class Baskets:
    """What is in every basket, numbered once for all baselines that look at baskets.

    Attributes:
        lines: ``household_id, product_id`` (Enums of sorted texts), ``at`` (time of the sale),
            ``week_start``.
        log: The same, numbered.
    """

    lines: pl.DataFrame
    log: BasketLog
    _histories: dict[date, BasketHistory] = field(default_factory=dict)
    _cutting: Lock = field(default_factory=Lock)

    @classmethod
    def of(cls, lines: pl.DataFrame) -> Baskets:
        """Of ``household_id, product_id, basket_id, at, week_start``, products once a basket."""
        coded = sorted_enums(lines, ("household_id", "product_id", "basket_id"))
        return cls(lines=coded.drop("basket_id"), log=basket_log(coded))

    def before(self, as_of: date) -> BasketHistory:
        """The history before a week; cut once, whoever asks."""
        with self._cutting:
            if as_of not in self._histories:
                self._histories[as_of] = self.log.cut(pl.col("week_start") < as_of)
            return self._histories[as_of]


def basket_lines(lines: pl.LazyFrame) -> Baskets:
    """Read the baskets once for all baselines that look at them.

    Args:
        lines: ``household_id, product_id, basket_id, sold_at, week_start``; a product printed
            twice on one receipt is one purchase.
    """
    found = lines.select(
        "household_id", "product_id", "basket_id", pl.col("sold_at").alias("at"), "week_start"
    )
    return Baskets.of(found.unique().collect())


def g_topfreq(purchases: pl.DataFrame, *, events: pl.DataFrame, k: int) -> pl.DataFrame:
    """Global top frequency: the products bought most often by anybody.

    Args:
        purchases: From ``purchase_counts``.
        events: ``household_id, as_of`` to rank for.
        k: Length of a ranking.
    """
    return _rank(purchases, events=events, k=k, weight=_count, personal=False, everybody=True)


def p_topfreq(purchases: pl.DataFrame, *, events: pl.DataFrame, k: int) -> pl.DataFrame:
    """Personal top frequency; a household with fewer than k products has a shorter ranking.

    Args:
        purchases: As for ``g_topfreq``.
        events: As for ``g_topfreq``.
        k: Length of a ranking.
    """
    return _rank(purchases, events=events, k=k, weight=_count, personal=True, everybody=False)


def gp_topfreq(purchases: pl.DataFrame, *, events: pl.DataFrame, k: int) -> pl.DataFrame:
    """Personal top frequency, filled up to k by the global one.

    Args:
        purchases: As for ``g_topfreq``.
        events: As for ``g_topfreq``.
        k: Length of a ranking.
    """
    return _rank(purchases, events=events, k=k, weight=_count, personal=True, everybody=True)


def decayed_topfreq(
    purchases: pl.DataFrame,
    *,
    events: pl.DataFrame,
    k: int,
    half_life_weeks: float = HALF_LIFE_WEEKS,
) -> pl.DataFrame:
    """As ``gp_topfreq``, with a purchase losing half its weight every ``half_life_weeks``.

    Args:
        purchases: As for ``g_topfreq``.
        events: As for ``g_topfreq``.
        k: Length of a ranking.
        half_life_weeks: Above 0.

    Raises:
        ValueError: ``half_life_weeks`` is not above 0.
    """
    if not half_life_weeks > 0:
        raise ValueError(
            f"decayed_topfreq(): half_life_weeks is {half_life_weeks}; give a number above 0"
        )

    def decayed(weeks_ago: pl.Expr) -> pl.Expr:
        return pl.lit(0.5).pow(weeks_ago / half_life_weeks)

    return _rank(purchases, events=events, k=k, weight=decayed, personal=True, everybody=True)


BASELINES: Mapping[str, Baseline] = MappingProxyType(
    {
        "g_topfreq": g_topfreq,
        "p_topfreq": p_topfreq,
        "gp_topfreq": gp_topfreq,
        "decayed_topfreq": decayed_topfreq,
    }
)


def tifu_knn(
    baskets: Baskets, *, events: pl.DataFrame, k: int, params: TifuParams = TIFU
) -> pl.DataFrame:
    """TIFU-kNN (Hu et al., SIGIR 2020), filled up to k by global top frequency.

    Args:
        baskets: From ``basket_lines``.
        events: As for ``g_topfreq``.
        k: Length of a ranking.
        params: Of the method.
    """

    def scores(as_of: date, households: pl.Series) -> pl.DataFrame:
        past = baskets.before(as_of)
        return tifu_knn_scores(past, households=households, limit=k, params=params)

    return _rank_baskets(baskets, events=events, k=k, scores=scores)


def up_cf(
    baskets: Baskets, *, events: pl.DataFrame, k: int, params: UpcfParams = UPCF
) -> pl.DataFrame:
    """UP-CF (Faggioli et al., UMAP 2020), filled up to k by global top frequency.

    Args:
        baskets: As for ``tifu_knn``.
        events: As for ``g_topfreq``.
        k: Length of a ranking.
        params: Of the method.
    """

    def scores(as_of: date, households: pl.Series) -> pl.DataFrame:
        past = baskets.before(as_of)
        return up_cf_scores(past, households=households, limit=k, params=params)

    return _rank_baskets(baskets, events=events, k=k, scores=scores)


def als(baskets: Baskets, *, events: pl.DataFrame, k: int, seed: int = ALS_SEED) -> pl.DataFrame:
    """Implicit-feedback ALS (Hu et al., ICDM 2008), filled up to k by global top frequency.

    Each as-of starts from the vectors of the one before.

    Args:
        baskets: As for ``tifu_knn``.
        events: As for ``g_topfreq``.
        k: Length of a ranking.
        seed: Of the vectors that the sweeps start from.
    """
    earlier: list[tuple[BasketHistory, Factors]] = []

    def scores(as_of: date, households: pl.Series) -> pl.DataFrame:
        past = baskets.before(as_of)
        params = replace(ALS, iterations=ALS_SWEEPS_FROM_EARLIER) if earlier else ALS
        found = factorise(past, params=params, seed=seed, earlier=earlier[-1] if earlier else None)
        earlier[:] = [(past, found)]
        return best_of_factors(past, found, households=households, limit=k)

    return _rank_baskets(baskets, events=events, k=k, scores=scores)


def repeat_cadence(baskets: Baskets, *, events: pl.DataFrame, k: int) -> pl.DataFrame:
    """What is due, filled up to k by global top frequency; see ``cadence``.

    Args:
        baskets: As for ``tifu_knn``.
        events: As for ``g_topfreq``.
        k: Length of a ranking.
    """

    def scores(as_of: date, households: pl.Series) -> pl.DataFrame:
        past = baskets.lines.filter(pl.col("week_start") < as_of)
        # A business week may end hours after the as-of's midnight in the time of the sales.
        now = pl.select(pl.max_horizontal(pl.lit(as_of).cast(past.schema["at"]), _after(past)))
        return cadence_scores(past, now=now.item(), households=households, limit=k)

    return _rank_baskets(baskets, events=events, k=k, scores=scores)


BASKET_BASELINES: Mapping[str, Baseline] = MappingProxyType(
    {"tifu_knn": tifu_knn, "up_cf": up_cf, "als": als, "repeat_cadence": repeat_cadence}
)


def _after(past: pl.DataFrame) -> pl.Expr:
    return pl.lit(past["at"].max()) + pl.duration(seconds=1)


def _rank_baskets(
    baskets: Baskets,
    *,
    events: pl.DataFrame,
    k: int,
    scores: Callable[[date, pl.Series], pl.DataFrame],
) -> pl.DataFrame:
    ranked = [pl.DataFrame(schema=SCHEMA)]
    for as_of in events["as_of"].unique().sort().to_list():
        past = baskets.before(as_of)
        if not past.products.len():
            continue
        households = events.filter(pl.col("as_of") == as_of).select("household_id").unique()
        own = scores(as_of, households["household_id"])
        counts = pl.LazyFrame(
            {
                "product_id": past.products.cast(pl.String),
                "score": np.bincount(past.product).astype(np.float64),
            }
        )
        filled = _filled(
            own.lazy(), _popular(counts, k=k), households=households.lazy(), k=k
        ).collect()
        ranked.append(
            filled.with_columns(pl.lit(as_of, dtype=pl.Date).alias("as_of"))
            .select(*SCHEMA)
            .cast(SCHEMA)
        )
    return pl.concat(ranked)


def _count(weeks_ago: pl.Expr) -> pl.Expr:
    return pl.lit(1.0) + 0.0 * weeks_ago


def _rank(
    purchases: pl.DataFrame,
    *,
    events: pl.DataFrame,
    k: int,
    weight: Callable[[pl.Expr], pl.Expr],
    personal: bool,
    everybody: bool,
) -> pl.DataFrame:
    # Integers in the order of the texts: grouping and sorting them takes a third of the time.
    ids = {
        name: pl.Enum(pl.concat(columns).unique().sort())
        for name, columns in {
            "household_id": [purchases["household_id"], events["household_id"]],
            "product_id": [purchases["product_id"]],
        }.items()
    }
    coded = purchases.cast(ids)  # type: ignore[arg-type]
    sales = coded.group_by("product_id", "week_start").agg(pl.col("purchases").sum())
    coded_events = events.cast({"household_id": ids["household_id"]})
    ranked = [
        _rank_one(
            coded.filter(pl.col("week_start") < as_of),
            sales.filter(pl.col("week_start") < as_of),
            households=coded_events.filter(pl.col("as_of") == as_of)
            .select("household_id")
            .unique(),
            weight=weight((pl.lit(as_of) - pl.col("week_start")).dt.total_days() / 7 - 1),
            k=k,
            personal=personal,
            everybody=everybody,
        ).with_columns(pl.lit(as_of, dtype=pl.Date).alias("as_of"))
        for as_of in events["as_of"].unique().sort().to_list()
    ]
    return pl.concat(
        [
            pl.DataFrame(schema=SCHEMA),
            *(frame.select(*SCHEMA).cast(SCHEMA) for frame in ranked),
        ]
    )


def _rank_one(
    past: pl.DataFrame,
    past_sales: pl.DataFrame,
    *,
    households: pl.DataFrame,
    weight: pl.Expr,
    k: int,
    personal: bool,
    everybody: bool,
) -> pl.DataFrame:
    def scored(counts: pl.DataFrame, by: list[str]) -> pl.LazyFrame:
        return (
            counts.lazy()
            .with_columns((pl.col("purchases") * weight).alias("score"))
            .group_by(by)
            .agg(pl.col("score").sum().round(SCORE_DECIMALS))
        )

    nobody = pl.LazyFrame(schema={**past.schema, "score": pl.Float64, "rank": RANK})
    own, popular = nobody, nobody
    if personal:
        mine = past.join(households, on="household_id", how="semi")
        own = top(
            scored(mine, ["household_id", "product_id"]),
            group=("household_id",),
            order=(OrderBy("score"),),
            limit=k,
        )
    if everybody:
        popular = _popular(scored(past_sales, ["product_id"]), k=k)
    return _filled(own, popular, households=households.lazy(), k=k).collect()


def _popular(scores: pl.LazyFrame, *, k: int) -> pl.LazyFrame:
    everybody = scores.with_columns(pl.lit(0).alias("all"))
    return top(everybody, group=("all",), order=(OrderBy("score"),), limit=k)


def _filled(
    own: pl.LazyFrame, popular: pl.LazyFrame, *, households: pl.LazyFrame, k: int
) -> pl.LazyFrame:
    """A household's own ranking, then the popular products it lacks, up to k and numbered anew."""
    keep = ["household_id", "product_id", "score", "rank"]
    rest = households.join(popular.select(keep[1:]), how="cross")
    return (
        pl.concat(
            [
                part.select(*keep, pl.lit(tier, dtype=pl.Int8).alias("tier"))
                for tier, part in enumerate((own, rest))
            ]
        )
        .sort("household_id", "tier", "rank")
        .unique(["household_id", "product_id"], keep="first", maintain_order=True)
        .group_by("household_id", maintain_order=True)
        .head(k)
        .with_columns(pl.int_range(1, pl.len() + 1, dtype=RANK).over("household_id").alias("rank"))
    )
