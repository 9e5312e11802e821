"""Ranking and calibration metrics, by the formulas of the project's protocol.

An event is a household at an as-of. T is every product it bought in the week, candidate or not;
only events with T not empty count. A ranking has ``household_id, as_of, product_id, rank``, rank
1 first; an event it leaves out scores zero.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

EVENT = ("household_id", "as_of")
PAIR = (*EVENT, "product_id")


def per_event(
    ranking: pl.DataFrame, purchases: pl.DataFrame, *, k: int, checked: bool = False
) -> pl.DataFrame:
    """Recall, NDCG and hit at k of every event.

    Recall = |R_k & T| / |T|; NDCG = sum over k of rel/log2(rank + 1) over its maximum, which is
    that of min(k, |T|) relevant products in front; hit = 1 if any of R_k was bought.

    Args:
        ranking: As above; rows with a rank above k are ignored.
        purchases: ``household_id, as_of, product_id`` of T, duplicates allowed.
        k: Cut-off, 1 or more.
        checked: The ranking was judged before, so it is well-formed; the check costs a third.

    Returns:
        ``household_id, as_of, bought (UInt32, |T|), hits (UInt32), recall, ndcg, hit`` (Float64, in
        0..1), one row per event with T not empty, sorted by as-of and household.

    Raises:
        ValueError: ``k`` is below 1, or a ranking repeats a product or a rank within an event, or
            has a rank below 1.
    """
    if k < 1:
        raise ValueError(f"per_event(): k is {k}; give 1 or more")
    best = ranking.select(*PAIR, "rank").filter(pl.col("rank") <= k)
    if not checked:
        _refuse_malformed(best)
    bought = purchases.select(*PAIR).unique()
    events = bought.group_by(*EVENT).agg(pl.len().alias("bought"))
    gains = (
        best.join(bought, on=list(PAIR), how="inner")
        .group_by(*EVENT)
        .agg(
            pl.len().alias("hits"),
            (1.0 / (pl.col("rank").sort() + 1).cast(pl.Float64).log(2.0)).sum().alias("dcg"),
        )
    )
    ideal = pl.DataFrame(
        {
            "ideal_length": np.arange(1, k + 1, dtype=np.uint32),
            "ideal": np.cumsum(1.0 / np.log2(np.arange(2, k + 2))),
        }
    )
    return (
        events.with_columns(
            pl.min_horizontal("bought", pl.lit(k, pl.UInt32)).cast(pl.UInt32).alias("ideal_length")
        )
        .join(ideal, on="ideal_length", how="left")
        .join(gains, on=list(EVENT), how="left")
        .with_columns(pl.col("hits").fill_null(0), pl.col("dcg").fill_null(0.0))
        .select(
            *EVENT,
            "bought",
            "hits",
            (pl.col("hits") / pl.col("bought")).alias("recall"),
            # A perfect list may exceed its maximum by the last bit.
            (pl.col("dcg") / pl.col("ideal")).clip(upper_bound=1.0).alias("ndcg"),
            (pl.col("hits") > 0).cast(pl.Float64).alias("hit"),
        )
        .sort("as_of", "household_id")
    )


# Name of a metric, without its cut-off, and the column of ``per_event`` it is the mean of.
METRICS: Mapping[str, str] = {"recall": "recall", "ndcg": "ndcg", "phr": "hit"}


def mean_metrics(events: pl.DataFrame, *, k: int) -> dict[str, float]:
    """Recall@k, NDCG@k and PHR@k: means over the events.

    Args:
        events: From ``per_event``.
        k: The cut-off it was called with, for the names.

    Raises:
        ValueError: There is no event, so there is no mean.
    """
    if events.is_empty():
        raise ValueError(
            "no event with a purchase: there is nothing to measure; check that purchases cover the "
            "weeks that were ranked"
        )
    row = events.select(pl.col(column).mean() for column in METRICS.values()).row(0)
    return {f"{name}@{k}": float(value) for name, value in zip(METRICS, row, strict=True)}


def calibration_error(probability: pl.Series, outcome: pl.Series, *, bins: int = 10) -> float:
    """Expected calibration error: sum over bins of n_b/N * |mean probability - mean outcome|.

    Args:
        probability: Predicted, in 0..1.
        outcome: 0 or 1.
        bins: Equal-width bins of the probability; a bin's upper edge belongs to the next one.

    Raises:
        ValueError: Empty, of different lengths, missing, or outside 0..1.
    """
    p = probability.cast(pl.Float64)
    y = outcome.cast(pl.Float64)
    if p.is_empty() or p.len() != y.len():
        raise ValueError(
            f"calibration_error(): {p.len()} probabilities and {y.len()} outcomes; "
            "give the same number of both, at least one"
        )
    pairs = pl.DataFrame({"p": p, "y": y})
    within = pairs.select(
        (pl.col("p").is_between(0.0, 1.0) & pl.col("y").is_in([0.0, 1.0])).fill_null(value=False)
    ).to_series()
    if not within.all():
        raise ValueError(
            f"calibration_error(): {(~within).sum()} pair(s) have a probability outside 0..1 or an "
            "outcome other than 0 and 1; calibrate the scores first"
        )
    return float(
        pairs.group_by((pl.col("p") * bins).floor().clip(upper_bound=bins - 1).alias("bin"))
        .agg(pl.len().alias("n"), pl.col("p").sort().mean(), pl.col("y").mean())
        .sort("bin")
        .select((pl.col("n") / pl.col("n").sum() * (pl.col("p") - pl.col("y")).abs()).sum())
        .item()
    )


def split_by_history(
    purchases: pl.DataFrame, lines: pl.LazyFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Split T into products the household had bought before (repeat) and had not (explore).

    Args:
        purchases: T, as for ``per_event``.
        lines: ``household_id, product_id, week_start`` of all weeks known.

    Returns:
        Repeat and explore purchases, ``household_id, as_of, product_id``.
    """
    first = (
        lines.group_by("household_id", "product_id")
        .agg(pl.col("week_start").min().alias("first_week"))
        .collect()
    )
    told = (
        purchases.select(*PAIR).unique().join(first, on=["household_id", "product_id"], how="left")
    )
    repeat = (pl.col("first_week") < pl.col("as_of")).fill_null(value=False)
    return told.filter(repeat).select(*PAIR), told.filter(~repeat).select(*PAIR)


def _refuse_malformed(ranking: pl.DataFrame) -> None:
    products = ranking.select(*PAIR).is_duplicated().sum()
    ranks = ranking.select(*EVENT, "rank").is_duplicated().sum()
    low = ranking.filter(pl.col("rank").is_null() | (pl.col("rank") < 1)).height
    if products or ranks or low:
        raise ValueError(
            f"ranking: {products} row(s) repeat a product and {ranks} a rank within an event, "
            f"{low} have a rank below 1; number each event's products 1, 2, 3 without repeats"
        )
