"""Next-basket data of any retailer, and the two ways to hold baskets out of it.

``last_basket``: the household stands at the till, and what is in its last basket is to be foreseen
from the baskets before it and the clock. ``calendar``: all purchases of the last days, seven unless
told otherwise, from what lies before them. Either gives one origin to judge on and earlier ones to
learn from, each with nothing but what was known at it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl

from models.ranking.basket_history import sorted_enums

LAST_BASKET = "last-basket"
CALENDAR = "calendar"

WINDOW_DAYS = 7

# Household-origins to learn from: more than this did not rank unseen households better.
TRAIN_EVENTS = 9_000
# Few origins resemble each other less than many households do; many cost a pass over the data each.
MIN_ORIGINS = 4
MAX_ORIGINS = 16

# An hour: two baskets at one time would have nothing between them.
AT_LEAST_DAYS = 1 / 24

# Without times one basket stands for a week, about what households of a grocer do.
_ANY_MONDAY = date(2000, 1, 3)

_MICROSECONDS_PER_DAY = 86_400_000_000


@dataclass(frozen=True)
class NextBasketData:
    """Purchases in the form everything below takes.

    Attributes:
        lines: ``household_id, product_id, basket_id`` (Enums of sorted texts), ``at`` (Float64:
            days since 1970 if ``timed``, else the order), ``position`` (Int32, 0 is the household's
            first basket), one row per household, basket and product.
        timed: Whether ``at`` is a time.
    """

    lines: pl.DataFrame
    timed: bool


@dataclass(frozen=True)
class Origin:
    """What was known at one moment, and what was bought next.

    Attributes:
        as_of: Names the origin; a real date only in a calendar split.
        history: ``household_id, product_id, basket_id, at, ago, elapsed``: ``ago`` counts baskets
            back (0 is the latest), ``elapsed`` is the time from a purchase to the moment predicted,
            in days, or in baskets if the data has no times.
        purchases: ``household_id, as_of, product_id`` (String) of what was bought next.
    """

    as_of: date
    history: pl.DataFrame
    purchases: pl.DataFrame

    @property
    def events(self) -> pl.DataFrame:
        """``household_id, as_of``, one row per household that bought next, sorted."""
        return self.purchases.select("household_id", "as_of").unique().sort("household_id")


@dataclass(frozen=True)
class Split:
    """One origin to judge on and the earlier ones, oldest first, to learn from."""

    train: tuple[Origin, ...]
    test: Origin
    timed: bool


def next_basket_data(frame: pl.DataFrame) -> NextBasketData:
    """Bring any purchases into the form of this module.

    Args:
        frame: ``household_id, basket_id, product_id`` of any type, and ``sold_at`` (a date or
            time) or ``order`` (a number); other columns are ignored. Repeated rows count once, a
            basket's time is its latest line's, baskets of one time are ordered by basket id.

    Raises:
        ValueError: A column is missing or of a type that cannot be used, a value is missing, or
            there is no row.
    """
    needed = ("household_id", "basket_id", "product_id")
    absent = [name for name in needed if name not in frame.columns]
    clock = next((name for name in ("sold_at", "order") if name in frame.columns), None)
    if absent or clock is None:
        absent += [] if clock else ["sold_at or order"]
        raise ValueError(
            f"next-basket data needs household_id, basket_id, product_id and sold_at or order; "
            f"there is no {', '.join(absent)} among {frame.columns}: rename or add the columns"
        )
    kind = frame.schema[clock]
    timed = clock == "sold_at"
    if (timed and kind not in (pl.Date, pl.Datetime)) or (not timed and not kind.is_numeric()):
        raise ValueError(
            f"column {clock} is {kind}; give a date or a time as sold_at, or a number as order"
        )
    at = pl.col(clock)
    if timed:
        at = at.cast(pl.Datetime("us")).to_physical() / _MICROSECONDS_PER_DAY
    lines = frame.select(*(pl.col(name).cast(pl.String) for name in needed), at.alias("at"))
    nulls = {name: n for name, n in lines.null_count().row(0, named=True).items() if n}
    if nulls:
        raise ValueError(
            f"next-basket data: missing values {nulls} among {lines.height:,} rows; drop those rows"
        )
    if lines.is_empty():
        raise ValueError("next-basket data: there is no row; give at least some baskets")
    coded = sorted_enums(lines.cast({"at": pl.Float64}), needed)
    baskets = (
        coded.group_by("household_id", "basket_id")
        .agg(pl.col("at").max())
        .sort("household_id", "at", "basket_id")
        .with_columns(pl.int_range(pl.len(), dtype=pl.Int32).over("household_id").alias("position"))
    )
    return NextBasketData(
        lines=coded.select(*needed)
        .unique()
        .join(baskets, on=["household_id", "basket_id"], how="left")
        .sort("household_id", "position", "product_id"),
        timed=timed,
    )


def last_basket(data: NextBasketData) -> Split:
    """Hold out every household's last basket; learn from those before it.

    The moment predicted is the time of the basket: a request for offers comes when a household
    shops. Data without times knows the order only.

    Raises:
        ValueError: No household has three baskets: one to judge, one to learn from and a history.
    """
    counts = data.lines.group_by("household_id").agg((pl.col("position").max() + 1).alias("n"))
    deep = int(counts["n"].max())  # type: ignore[arg-type]
    if deep < 3:  # noqa: PLR2004 - see the docstring
        raise ValueError(
            f"last-basket split: the longest history has {deep} basket(s); households with 3 or "
            "more are needed to learn from"
        )
    households = counts.filter(pl.col("n") >= 3).height  # noqa: PLR2004
    depth = min(_origins(households), deep - 2)
    numbered = data.lines.join(counts, on="household_id", how="left").with_columns(
        (pl.col("n") - 1 - pl.col("position")).alias("back")
    )
    origins = [_held_back(numbered, level, timed=data.timed) for level in range(depth, -1, -1)]
    return Split(train=tuple(origins[:-1]), test=origins[-1], timed=data.timed)


def calendar(data: NextBasketData, *, days: int = WINDOW_DAYS) -> Split:
    """Hold out the last days of the data; learn from as many days at origins a week apart.

    Args:
        data: With times.
        days: Length of the window, 1 or more.

    Raises:
        ValueError: The data has no times, or spans less than two windows and a week of history.
    """
    if not data.timed:
        raise ValueError(
            "calendar split: this data has an order but no times; give a sold_at column, or use "
            "--split last-basket"
        )
    if days < 1:
        raise ValueError(f"calendar split: a window of {days} days holds nothing; give 1 or more")
    first = math.floor(data.lines["at"].min())  # type: ignore[arg-type]
    cut = math.floor(data.lines["at"].max()) + 1 - days  # type: ignore[arg-type]
    latest = cut - days
    # Whole weeks of history before the latest origin that can be learned from.
    weeks = (latest - first) // WINDOW_DAYS
    if weeks < 1:
        raise ValueError(
            f"calendar split: the data spans {cut + days - first} days; {2 * days + WINDOW_DAYS} "
            "are needed, one window to judge, one to learn from and a week of history"
        )
    window = data.lines.filter(pl.col("at").is_between(latest, cut, closed="left"))
    # At least half of the weeks stay history, so that the first origin has one.
    depth = min(_origins(window["household_id"].n_unique()), max(1, weeks // 2))
    origins = [_of_window(data, latest - WINDOW_DAYS * back, days) for back in range(depth)]
    train = tuple(origin for origin in reversed(origins) if not origin.purchases.is_empty())
    if not train:
        raise ValueError(
            "calendar split: nothing was bought in the weeks before the last one; use --split "
            "last-basket"
        )
    return Split(train=train, test=_of_window(data, cut, days), timed=True)


def baseline_inputs(origin: Origin, *, timed: bool) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What ``baselines.BASELINES`` and ``baselines.BASKET_BASELINES`` count in, for one origin.

    Times are set back from the origin's ``as_of`` by what has elapsed; without times, one basket
    is a week to the decay and a day to the cadence.

    Returns:
        ``household_id, product_id, week_start, purchases`` and ``household_id, product_id,
        basket_id, at, week_start``.
    """
    weeks = (pl.col("elapsed") / WINDOW_DAYS).ceil() if timed else pl.col("elapsed")
    as_of = pl.lit(origin.as_of)
    baskets = origin.history.select(
        "household_id",
        "product_id",
        "basket_id",
        (
            as_of.cast(pl.Datetime("us"))
            - pl.duration(
                microseconds=(pl.col("elapsed") * _MICROSECONDS_PER_DAY).round().cast(pl.Int64)
            )
        ).alias("at"),
        (as_of - pl.duration(days=WINDOW_DAYS * weeks.clip(lower_bound=1).cast(pl.Int64)))
        .cast(pl.Date)
        .alias("week_start"),
    )
    counts = baskets.group_by("household_id", "product_id", "week_start").agg(
        pl.len().alias("purchases")
    )
    return counts.cast({"household_id": pl.String, "product_id": pl.String}), baskets


def _origins(events: int) -> int:
    """Origins to learn from, given how many events one of them has."""
    return min(MAX_ORIGINS, max(MIN_ORIGINS, math.ceil(TRAIN_EVENTS / max(events, 1))))


def _held_back(numbered: pl.DataFrame, level: int, *, timed: bool) -> Origin:
    """The origin whose target is the basket that ``level`` baskets follow."""
    target = numbered.filter(pl.col("back") == level)
    if level:
        target = target.filter(pl.col("position") > 0)
    past = numbered.filter(pl.col("back") > level).with_columns(
        (pl.col("back") - level - 1).alias("ago")
    )
    elapsed = (pl.col("ago") + 1).cast(pl.Float64)
    if timed:
        now = target.select("household_id", pl.col("at").alias("now")).unique()
        past = past.join(now, on="household_id", how="left")
        elapsed = (pl.col("now") - pl.col("at")).clip(lower_bound=AT_LEAST_DAYS)
    return _origin(
        _ANY_MONDAY - timedelta(weeks=level),
        past.with_columns(elapsed.alias("elapsed")),
        target,
    )


def _of_window(data: NextBasketData, cut: int, days: int) -> Origin:
    past = data.lines.filter(pl.col("at") < cut)
    target = data.lines.filter(pl.col("at").is_between(cut, cut + days, closed="left"))
    latest = pl.col("position").max().over("household_id")
    return _origin(
        date(1970, 1, 1) + timedelta(days=cut),
        past.with_columns(
            (latest - pl.col("position")).alias("ago"),
            (cut - pl.col("at")).clip(lower_bound=AT_LEAST_DAYS).alias("elapsed"),
        ),
        target,
    )


def _origin(as_of: date, past: pl.DataFrame, target: pl.DataFrame) -> Origin:
    return Origin(
        as_of=as_of,
        history=past.select("household_id", "product_id", "basket_id", "at", "ago", "elapsed"),
        purchases=target.select(
            pl.col("household_id").cast(pl.String),
            pl.lit(as_of, dtype=pl.Date).alias("as_of"),
            pl.col("product_id").cast(pl.String),
        ).unique(),
    )
