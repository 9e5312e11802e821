"""Repeat cadence: a household's products, the ones that are due first.

A product bought every two weeks is due two weeks after its last purchase: not before, and less and
less after. The heuristic is ours, after the repeat-purchase models of Bhagat et al., "Buy It
Again", KDD 2018: how often a household bought a product, times how due it is.
"""

from __future__ import annotations

from datetime import date, datetime

import polars as pl

from models.ranking.basket_history import SCHEMA
from models.ranking.order import OrderBy, top

# From this many intervals of its own a household has a rhythm; below, the product's is taken. Best
# of 1, 2, 4 and 8 on as-of weeks 2017-09-04 and 2017-10-16 of The Complete Journey (NDCG@10 .257).
OWN_INTERVALS = 2

# A sum of floats depends on the order of its terms; ties must not.
SCORE_DECIMALS = 9

_MICROSECONDS_PER_DAY = 86_400_000_000


def repeat_cadence(
    history: pl.DataFrame,
    *,
    now: datetime | date | float,
    limit: int,
    households: pl.Series | None = None,
) -> pl.DataFrame:
    """Products by how often they were bought and how due they are.

    With n the baskets that hold a product, g the median interval between them and e the time since
    the last one, x = e/g and the score is n * x * exp(1 - x): n when just due, falling to zero
    right after a purchase and when long overdue. A household with fewer than ``OWN_INTERVALS``
    intervals takes the median of all households' intervals of the product, then of all products.

    Args:
        history: ``household_id, product_id, at`` before ``now``; ``at`` is a time, a date or a
            number of the kind of ``now``. Several purchases at one time are one.
        now: The time that purchases are expected at.
        limit: Products per household.
        households: To rank for; all by default.

    Returns:
        ``household_id, product_id, rank (Int32, 1..limit), score (Float64)``, sorted by household
        and rank; equal scores are ordered by product id. A household without a history has no row.

    Raises:
        ValueError: A purchase is not before ``now``, or ``limit`` is below 1.
    """
    bought = history.lazy().select("household_id", "product_id", _number(history.schema["at"]))
    latest = bought.select(pl.col("at").max()).collect().item()
    moment = _moment(now)
    if latest is not None and latest >= moment:
        raise ValueError(
            f"repeat_cadence(): a purchase lies at or after {now}; give only what is before it"
        )
    pair = ("household_id", "product_id")
    # An interval of no time divides by zero; only distinct times make one.
    times = bought.unique().sort(*pair, "at")
    # Sorted, so that the row before is the purchase before: a fifth of the time of a window.
    same = pl.all_horizontal(pl.col(name) == pl.col(name).shift(1) for name in pair)
    intervals = times.with_columns(pl.when(same).then(pl.col("at").diff()).alias("interval"))
    of_product = intervals.group_by("product_id").agg(
        pl.col("interval").median().alias("product_interval")
    )
    overall = intervals.select(pl.col("interval").median().alias("any_interval"))
    pairs = intervals.group_by(*pair).agg(
        pl.len().alias("purchases"),
        pl.col("at").max().alias("last"),
        pl.col("interval").median().alias("own_interval"),
    )
    if households is not None:
        # Not every household asked for is known to an Enum of ids.
        wanted = households.unique().cast(history.schema["household_id"], strict=False)
        pairs = pairs.filter(pl.col("household_id").is_in(wanted.drop_nulls().implode()))
    enough = pl.col("purchases") > OWN_INTERVALS
    due = (moment - pl.col("last")) / pl.coalesce(
        pl.when(enough).then("own_interval"),
        "product_interval",
        "any_interval",
        # Nobody bought anything twice: only frequency tells, and everything is just due.
        moment - pl.col("last"),
    )
    scored = (
        pairs.join(of_product, on="product_id", how="left")
        .join(overall, how="cross")
        .with_columns(due.alias("due"))
        .select(
            *(pl.col(name).cast(pl.String) for name in pair),
            (pl.col("purchases") * pl.col("due") * (1.0 - pl.col("due")).exp())
            .round(SCORE_DECIMALS)
            .alias("score"),
        )
    )
    return (
        top(scored, group=("household_id",), order=(OrderBy("score"),), limit=limit)
        .select(*SCHEMA)
        .cast(SCHEMA)
        .collect()
    )


def _number(dtype: pl.DataType) -> pl.Expr:
    at = pl.col("at")
    if dtype.is_temporal():
        return at.cast(pl.Datetime("us")).to_physical().cast(pl.Float64) / _MICROSECONDS_PER_DAY
    return at.cast(pl.Float64)


def _moment(now: datetime | date | float) -> float:
    if isinstance(now, date):
        return pl.select(pl.lit(now).alias("at")).select(_number(pl.Datetime())).item()
    return float(now)
