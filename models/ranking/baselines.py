"""Baseline rankings: what the ranker has to beat, computed from purchases alone.

Each takes the counts of ``purchase_counts``, the events to rank for and k, and returns
``household_id, as_of, rank (Int32, 1..k), product_id, score``, sorted by as-of, household and rank.
Only weeks before the as-of count. One purchase is one product on one receipt. Equal scores are
ordered by product id. A score is (decayed) purchases: the household's own for personal products,
everybody's for the global ones that fill the list up, so it falls within each of the two only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import polars as pl

from models.ranking.order import RANK, OrderBy, top

Baseline = Callable[..., pl.DataFrame]

# Best of 3, 6, 9, 13, 18 and 26 weeks on as-of weeks 36-44 of The Complete Journey.
HALF_LIFE_WEEKS = 13.0

# A sum of floats depends on the order of its terms; ties must not.
SCORE_DECIMALS = 9


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
    schema = {
        "household_id": pl.String,
        "as_of": pl.Date,
        "rank": RANK,
        "product_id": pl.String,
        "score": pl.Float64,
    }
    return pl.concat(
        [
            pl.DataFrame(schema=schema),
            *(frame.select(*schema).cast(pl.Schema(schema)) for frame in ranked),
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

    parts = []
    if personal:
        own = scored(
            past.join(households, on="household_id", how="semi"), ["household_id", "product_id"]
        )
        parts.append(
            top(own, group=("household_id",), order=(OrderBy("score"),), limit=k).with_columns(
                pl.lit(0, dtype=pl.Int8).alias("tier")
            )
        )
    if everybody:
        popular = scored(past_sales, ["product_id"])
        best = top(
            popular.with_columns(pl.lit(0).alias("all")),
            group=("all",),
            order=(OrderBy("score"),),
            limit=k,
        )
        parts.append(
            households.lazy()
            .join(best, how="cross")
            .with_columns(pl.lit(1, dtype=pl.Int8).alias("tier"))
        )
    keep = ["household_id", "product_id", "score", "rank", "tier"]
    return (
        pl.concat([part.select(keep) for part in parts])
        .sort("household_id", "tier", "rank")
        .unique(["household_id", "product_id"], keep="first", maintain_order=True)
        .group_by("household_id", maintain_order=True)
        .head(k)
        .with_columns(pl.int_range(1, pl.len() + 1, dtype=RANK).over("household_id").alias("rank"))
        .collect()
    )
