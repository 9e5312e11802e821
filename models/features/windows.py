"""Look-back windows: restricting rows to the past, totals per window, and what follows from them.

Feature names end in their window, ``baskets_28d``. Columns between steps are exact ``Int64``; the
functions at the end turn them into the features' compact types.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import narwhals as nw

from models.features.as_of import SECONDS_PER_DAY, AsOf, utc

# A week, a month, a quarter, half a year and a year of whole weeks: the shopping week is the
# strongest cycle.
WEEK, MONTH, QUARTER, HALF_YEAR, YEAR = 7, 28, 91, 182, 364

# Above any price in cents that the raw contract lets in (10^8), and 10^9 times today's seconds
# still fits Int64.
_PRICE_BASE = 1_000_000_000


# A millionth of a purchase is resolution enough, and 10^6 purchases times it fits Int64.
HABIT_UNIT = 1_000_000


def named(measures: Iterable[str], days: Iterable[int]) -> tuple[str, ...]:
    """Feature names, e.g. ``("units",), (7, 28)`` gives ``units_7d, units_28d``."""
    windows = tuple(days)
    return tuple(f"{measure}_{d}d" for measure in measures for d in windows)


def past(frame: nw.LazyFrame, *, as_of: AsOf, days: int) -> nw.LazyFrame:
    """Rows whose ``at`` lies in the ``days`` before the as-of; never one at or after it."""
    return frame.filter(nw.col("at") < as_of.seconds, nw.col("at") >= as_of.window_start(days))


def window_totals(
    frame: nw.LazyFrame,
    *,
    by: Sequence[str],
    as_of: AsOf,
    days: Sequence[int],
    totals: Mapping[str, str | None],
    extra: Sequence[nw.Expr] = (),
) -> nw.LazyFrame:
    """Sum measures of the past over nested windows, one row per entity.

    Args:
        frame: One row per entity and basket, with ``at``.
        by: Columns that identify the entity.
        as_of: Where we stand.
        days: Windows; an entity appears if it has a row in the longest.
        totals: Output name to measure; ``None`` counts rows.
        extra: Further aggregations, over the longest window.

    Returns:
        ``by``, ``{name}_{days}d`` for each total and window, ``first_at``, ``last_at``; ``Int64``.
    """
    longest = max(days)
    rows = past(frame, as_of=as_of, days=longest)
    shorter = [d for d in days if d != longest]
    inside = {d: nw.col("at") >= as_of.window_start(d) for d in shorter}
    rows = rows.with_columns(
        **{
            f"{name}_{d}d": nw.when(inside[d])
            .then(nw.lit(1) if measure is None else nw.col(measure))
            .otherwise(nw.lit(0))
            .cast(nw.Int64)
            for name, measure in totals.items()
            for d in shorter
        }
    )
    return rows.group_by(*by).agg(
        *(
            nw.col(f"{name}_{d}d").sum().cast(nw.Int64).alias(f"{name}_{d}d")
            for name in totals
            for d in shorter
        ),
        *(
            (nw.len() if measure is None else nw.col(measure).sum())
            .cast(nw.Int64)
            .alias(f"{name}_{longest}d")
            for name, measure in totals.items()
        ),
        nw.col("at").min().alias("first_at"),
        nw.col("at").max().alias("last_at"),
        *extra,
    )


def reach(
    frame: nw.LazyFrame, *, by: Sequence[str], as_of: AsOf, days: Sequence[int]
) -> nw.LazyFrame:
    """Distinct households of an entity per window, and how many of them came back.

    A household's newest basket says which of the nested windows it is in, so one pass over the
    longest serves all.

    Args:
        frame: One row per entity, ``household_id`` and basket, with ``at``.
        by: Columns that identify the entity.
        as_of: Where we stand.
        days: Windows.

    Returns:
        ``by``, ``households_{days}d`` and ``repeaters`` (households with two or more baskets in the
        longest window), ``Int64``.
    """
    newest = (
        past(frame, as_of=as_of, days=max(days))
        .group_by(*by, "household_id")
        .agg(nw.len().cast(nw.Int64).alias("baskets"), nw.col("at").max())
    )
    flags = {
        **{f"households_{d}d": nw.col("at") >= as_of.window_start(d) for d in days},
        "repeaters": nw.col("baskets") > 1,
    }
    return (
        newest.with_columns(**{name: flag.cast(nw.Int64) for name, flag in flags.items()})
        .group_by(*by)
        .agg(*(nw.col(name).sum().cast(nw.Int64) for name in flags))
    )


def window_sums(measures: Iterable[str], *, as_of: AsOf, days: int) -> list[nw.Expr]:
    """Aggregations that sum measures over one window, under their own names."""
    inside = nw.col("at") >= as_of.window_start(days)
    return [
        nw.when(inside).then(nw.col(m)).otherwise(nw.lit(0)).sum().cast(nw.Int64).alias(m)
        for m in measures
    ]


def habit(*, as_of: AsOf, days: int) -> nw.Expr:
    """Sum over rows of 1/(1 + age/days): how often, what is recent weighing more.

    Hyperbolic, not exponential, because it is exact in integers: in units of 1/``HABIT_UNIT``.
    """
    scale = days * SECONDS_PER_DAY
    age = nw.lit(as_of.seconds) - nw.col("at")
    return ((nw.lit(HABIT_UNIT * scale) // (age + scale)).cast(nw.Int64)).sum().cast(nw.Int64)


def habit_of(code: str) -> nw.Expr:
    """``habit`` in purchases."""
    return (nw.col(code).cast(nw.Float64) / float(HABIT_UNIT)).cast(nw.Float32)


def priced_at() -> nw.Expr:
    """``at`` and the unit price in one integer, so that ``max`` finds the newest price.

    Null without units. Of two prices in one second the higher one wins, on every engine.
    """
    some = nw.col("units") > 0
    # Polars evaluates both branches, and cannot cast the infinity of a division by zero.
    pieces = nw.when(some).then(nw.col("units")).otherwise(nw.lit(1))
    price = (nw.col("paid_cents") / pieces + 0.5).floor().cast(nw.Int64)
    return nw.when(some).then(nw.col("at") * _PRICE_BASE + price)


def price_of(code: str) -> nw.Expr:
    """Unit price in dollars from the greatest ``priced_at`` of an entity."""
    return dollars(nw.col(code) % _PRICE_BASE)


def count(column: str) -> nw.Expr:
    return nw.col(column).cast(nw.Int32)


def dollars(amount: nw.Expr) -> nw.Expr:
    return (amount.cast(nw.Float64) / 100.0).cast(nw.Float32)


def ratio(above: nw.Expr, below: nw.Expr, *, scale: float = 1.0) -> nw.Expr:
    """``above / (below * scale)`` of exact integers; null where ``below`` is not positive."""
    quotient = above.cast(nw.Float64) / (below.cast(nw.Float64) * scale)
    return nw.when(below > 0).then(quotient).cast(nw.Float32)


def days_since(column: str, *, as_of: AsOf) -> nw.Expr:
    """Days from ``column`` (seconds since 1970) to the as-of, with their fraction."""
    seconds = nw.lit(as_of.seconds) - nw.col(column)
    return (seconds.cast(nw.Float64) / float(SECONDS_PER_DAY)).cast(nw.Float32)


def days_between(baskets: str) -> nw.Expr:
    """Mean days between consecutive baskets; null for one basket."""
    return ratio(
        nw.col("last_at") - nw.col("first_at"), nw.col(baskets) - 1, scale=float(SECONDS_PER_DAY)
    )


def days_between_deviation(baskets: str, *, squares: str) -> nw.Expr:
    """Standard deviation of the days between consecutive baskets; null for fewer than three.

    Args:
        baskets: Number of baskets.
        squares: Sum of the squared seconds between them.
    """
    gaps = nw.col(baskets) - 1
    return nw.when(gaps > 1).then(_deviation(baskets, squares=squares)).cast(nw.Float32)


def overdue(baskets: str, *, squares: str, as_of: AsOf) -> nw.Expr:
    """Days past the mean interval, over its standard deviation and three days.

    The three days keep a regular weekly purchase from being far overdue on the eighth day. Null
    for one basket.
    """
    gaps = nw.col(baskets) - 1
    some = nw.when(gaps > 0).then(gaps).otherwise(nw.lit(1)).cast(nw.Float64)
    mean = (nw.col("last_at") - nw.col("first_at")).cast(nw.Float64) / some
    late = (nw.lit(as_of.seconds) - nw.col("last_at")).cast(nw.Float64) - mean
    days = late / float(SECONDS_PER_DAY)
    return (
        nw.when(gaps > 0).then(days / (_deviation(baskets, squares=squares) + 3.0)).cast(nw.Float32)
    )


def _deviation(baskets: str, *, squares: str) -> nw.Expr:
    gaps = nw.col(baskets) - 1
    some = nw.when(gaps > 0).then(gaps).otherwise(nw.lit(1)).cast(nw.Float64)
    mean = (nw.col("last_at") - nw.col("first_at")).cast(nw.Float64) / some
    variance = nw.col(squares).cast(nw.Float64) / some - mean * mean
    positive = nw.when(variance > 0).then(variance).otherwise(nw.lit(0.0))
    return positive.sqrt() / float(SECONDS_PER_DAY)


def recency_over_interval(baskets: str, *, as_of: AsOf) -> nw.Expr:
    """Days since the last basket over the mean days between baskets; above 1 is overdue.

    Two baskets minutes apart are one shopping trip, so no interval counts as shorter than a day;
    without that floor the year's greatest value was 30 million. Null for one basket.
    """
    intervals = nw.col(baskets) - 1
    since = (nw.lit(as_of.seconds) - nw.col("last_at")) * intervals
    between = nw.col("last_at") - nw.col("first_at")
    least = intervals * SECONDS_PER_DAY
    return ratio(since, nw.when(between > least).then(between).otherwise(least))


def finish(
    frame: nw.LazyFrame, *, keys: Sequence[str], as_of: AsOf, features: Mapping[str, nw.Expr]
) -> nw.LazyFrame:
    """Select keys, ``as_of``, ``known_at`` and the features, in their order."""
    return frame.select(
        *keys,
        nw.lit(as_of.week).alias("as_of"),
        utc(as_of.instant).alias("known_at"),
        *(expr.alias(name) for name, expr in features.items()),
    )
