"""Intervals by a bootstrap that resamples whole households.

One household's weeks resemble each other, so they are drawn together. Both systems of a comparison
are judged on the same draws, which is what makes the interval paired.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

# Enough for a 2.5 % tail that moves by about a hundredth of the interval between seeds.
DRAWS = 2000
CONFIDENCE = 0.95

_SIZE = "events of the household"


@dataclass(frozen=True)
class Interval:
    """An estimate with its percentile interval.

    Attributes:
        estimate: On the data itself.
        low: Lower bound at ``confidence``.
        high: Upper bound.
        confidence: .95 unless stated.
        events: Events averaged over.
        households: Blocks that were resampled.
    """

    estimate: float
    low: float
    high: float
    confidence: float
    events: int
    households: int

    def as_dict(self) -> dict[str, float]:
        return {"estimate": self.estimate, "low": self.low, "high": self.high}


def mean_intervals(
    events: pl.DataFrame,
    columns: Sequence[str],
    *,
    seed: int,
    draws: int = DRAWS,
    confidence: float = CONFIDENCE,
) -> dict[str, Interval]:
    """Mean of each column over events, with an interval blocked by household.

    Args:
        events: ``household_id`` and the columns, one row per event.
        columns: Float64; all are judged on the same draws.
        seed: Of the draws; the same seed and households give the same draws.
        draws: Bootstrap samples.
        confidence: Between 0 and 1.

    Raises:
        ValueError: No events, or a null or NaN among the values.
    """
    if events.is_empty():
        raise ValueError(f"interval of {list(columns)}: there are no events to resample")
    for column in columns:
        missing = events.filter(pl.col(column).is_null() | pl.col(column).is_nan()).height
        if missing:
            raise ValueError(
                f"interval of {column}: {missing} of {events.height} events have no value; "
                "compute the metric for every event first"
            )
    blocks = (
        events.group_by("household_id")
        # Sorted, because a sum of floats depends on the order of its terms.
        .agg(*(pl.col(c).sort().sum() for c in columns), pl.len().alias(_SIZE))
        .sort("household_id")
    )
    totals = blocks.select(columns).to_numpy()
    sizes = blocks[_SIZE].to_numpy().astype(np.float64)
    households = blocks.height
    # Drawing households with replacement is drawing how often each one occurs.
    weights = (
        np.random.default_rng(seed)
        .multinomial(households, np.full(households, 1.0 / households), size=draws)
        .astype(np.float64)
    )
    means = (weights @ totals) / (weights @ sizes)[:, None]
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(means, [tail, 1.0 - tail], axis=0)
    return {
        column: Interval(
            estimate=float(totals[:, i].sum() / sizes.sum()),
            low=float(low[i]),
            high=float(high[i]),
            confidence=confidence,
            events=events.height,
            households=households,
        )
        for i, column in enumerate(columns)
    }


def paired_interval(
    model: pl.DataFrame,
    baseline: pl.DataFrame,
    column: str,
    *,
    seed: int,
    draws: int = DRAWS,
    confidence: float = CONFIDENCE,
) -> Interval:
    """Mean of model minus baseline over the same events, blocked by household.

    Args:
        model: ``household_id, as_of`` and ``column``, one row per event.
        baseline: The same events.
        column: Metric to compare.
        seed: As for ``mean_intervals``.
        draws: As for ``mean_intervals``.
        confidence: As for ``mean_intervals``.

    Raises:
        ValueError: The two do not cover the same events.
    """
    keys = ["household_id", "as_of"]
    both = model.select(*keys, pl.col(column).alias("model")).join(
        baseline.select(*keys, pl.col(column).alias("baseline")), on=keys, how="inner"
    )
    if not both.height == model.height == baseline.height:
        raise ValueError(
            f"paired interval of {column}: model has {model.height} events, baseline "
            f"{baseline.height}, common {both.height}; measure both on the same purchases"
        )
    difference = both.with_columns((pl.col("model") - pl.col("baseline")).alias(column))
    return mean_intervals(difference, [column], seed=seed, draws=draws, confidence=confidence)[
        column
    ]
