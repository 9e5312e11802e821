"""From a demand panel to rows a model learns from and forecasts.

One row per active panel row of each target week. A feature knows the weeks up to ``horizon`` weeks
before its target, and of the target week the plan alone: price, base price, discount, display and
mailer, its own and its rivals'. Which products are in the assortment is part of the plan.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date

import numpy as np
import polars as pl

from models.calendar import ONE_WEEK
from models.demand.features import FEATURES
from models.demand.history import History
from models.demand.past import (
    base_features,
    promotion_history,
    simple_means,
    year_ago_features,
)
from models.demand.plan import own_features, rival_features
from models.demand.season import season_of
from models.demand.series import KEYS, REAL_DISCOUNT, as_text, checked, pair_index, series

# Beside the features and ``units``.
CARRIED = ("revenue", "category", "display", "mailer", "price", "base_price")
# Units that a coming week promises by the past alone, as sold and with promotions taken out.
LEVELS = ("level", "clean_level")


def demand_examples(
    panel: pl.DataFrame | pl.LazyFrame, *, targets: Sequence[date], horizon: int = 1
) -> pl.DataFrame:
    """Rows of the target weeks with everything that was known ``horizon`` weeks before each.

    Args:
        panel: A demand panel (``series.checked`` says which columns). Units of target weeks are
            passed on and never read; they may be null.
        targets: Mondays to make rows for. Each needs at least one week of history.
        horizon: Weeks between the last known week and the target, 1 or more.

    Returns:
        ``store_id, product_id, week_start, units, exposure`` (trips foreseen in the store; 1 where
        the panel has none), ``level``, ``clean_level`` (units, above zero), ``mean_13``,
        ``unpromoted_mean``, ``promoted``, ``horizon``, ``CARRIED`` and ``FEATURES`` (Float32, null
        where unknown), sorted by week, store and product.

    Raises:
        ValueError: As ``checked``; a target has no rows, or no history.
    """
    return pl.concat(weekly_examples(panel, targets=targets, horizon=horizon))


def weekly_examples(
    panel: pl.DataFrame | pl.LazyFrame, *, targets: Sequence[date], horizon: int = 1
) -> Iterator[pl.DataFrame]:
    """The rows of ``demand_examples`` week by week: a large chain has no room for all of them."""
    for week in _weeks_of_plans(panel, {"": None}, targets=targets, horizon=horizon):
        yield week[""]


def examples_of_plans(
    panel: pl.DataFrame,
    plans: Mapping[str, pl.DataFrame | None],
    *,
    targets: Sequence[date],
    horizon: int = 1,
) -> dict[str, pl.DataFrame]:
    """The same rows under several plans, with one pass over the history.

    Args:
        panel: As for ``demand_examples``.
        plans: Name to ``store_id, product_id, week_start, price, base_price, discount, display,
            mailer`` of rows whose plan differs from the panel's; ``None`` for the panel's own. Rows
            that the panel does not hold are ignored.
        targets: As for ``demand_examples``.
        horizon: As for ``demand_examples``.

    Returns:
        Name to rows as ``demand_examples`` gives them, in the same order for every plan.
    """
    weeks = list(_weeks_of_plans(panel, plans, targets=targets, horizon=horizon))
    # Weeks come in order, and each one's rows by store and product.
    return {name: pl.concat(week[name] for week in weeks) for name in plans}


def _weeks_of_plans(
    panel: pl.DataFrame | pl.LazyFrame,
    plans: Mapping[str, pl.DataFrame | None],
    *,
    targets: Sequence[date],
    horizon: int,
) -> Iterator[dict[str, pl.DataFrame]]:
    if horizon < 1:
        raise ValueError(
            f"demand examples: horizon {horizon}; a forecast looks 1 week or more ahead"
        )
    rows = checked(panel)
    wanted = sorted(set(targets))
    held = set(rows.filter("active")["week_start"].unique())
    absent = [w for w in wanted if w not in held]
    if absent:
        reach = rows["week_start"].unique().sort()
        raise ValueError(
            f"demand examples: the panel has no active row in week {absent[0]}; it reaches from "
            f"{reach[0]} to {reach[-1]}"
        )
    for target, history in _histories(rows, wanted, horizon=horizon):
        week = as_text(rows.filter(pl.col("week_start") == target, "active"))
        known = _known_features(history, week, target=target, horizon=horizon)
        yield {
            name: _examples(history, _planned(week, plan), known, horizon=horizon)
            for name, plan in plans.items()
        }


def _histories(
    rows: pl.DataFrame, targets: Sequence[date], *, horizon: int
) -> Iterator[tuple[date, History]]:
    lag = horizon * ONE_WEEK
    history = History(series(rows, last=targets[-1] - lag))
    first = history.series.weeks[0]
    if targets[0] - lag < first:
        raise ValueError(
            f"demand examples: target {targets[0]} is {horizon} week(s) ahead, but the panel "
            f"starts on {first}; ask for weeks from {first + lag}"
        )
    for target in targets:
        while history.week < history.series.column(target - lag):
            history.add(history.week + 1)
        yield target, history


class _Known:
    """What does not depend on the plan."""

    def __init__(self, rows: np.ndarray, level: np.ndarray, clean: np.ndarray) -> None:
        self.rows, self.level, self.clean = rows, level, clean
        self.features: dict[str, np.ndarray] = {}
        self.means: dict[str, np.ndarray] = {}
        self.season: dict[str, float] = {}


def _known_features(history: History, week: pl.DataFrame, *, target: date, horizon: int) -> _Known:
    rows = pair_index(week, history.series.pairs)
    base, level, clean = base_features(history, rows)
    known = _Known(rows, level, clean)
    known.features = (
        base
        | year_ago_features(history, rows, target=history.week + horizon)
        | promotion_history(history, rows)
    )
    known.means = simple_means(history, rows)
    known.season = season_of(target)
    return known


def _planned(week: pl.DataFrame, plan: pl.DataFrame | None) -> pl.DataFrame:
    if plan is None:
        return week
    columns = ("price", "base_price", "discount", "display", "mailer")
    return week.update(plan.select(*KEYS, *columns), on=list(KEYS), how="left")


def _examples(history: History, week: pl.DataFrame, known: _Known, *, horizon: int) -> pl.DataFrame:
    features = (
        known.features
        | own_features(history, known.rows, week)
        | rival_features(history, known.rows, week, level=known.clean)
    )
    columns = {
        name: pl.Series(name, features[name].astype(np.float32), nan_to_null=True)
        for name in FEATURES
        if name in features
    }
    promoted = (
        (pl.col("discount") > REAL_DISCOUNT)
        | (pl.col("display") != "0")
        | (pl.col("mailer") != "0")
    )
    trips = history.trip_forecast()[known.rows]
    return week.select(
        *KEYS,
        "units",
        pl.Series("exposure", trips),
        pl.Series("level", known.level),
        pl.Series("clean_level", known.clean),
        *(pl.Series(name, mean) for name, mean in known.means.items()),
        promoted.alias("promoted"),
        pl.lit(horizon, dtype=pl.Int32).alias("horizon"),
        *CARRIED,
        *(
            columns[name]
            if name in columns
            else pl.lit(known.season[name], dtype=pl.Float32).alias(name)
            for name in FEATURES
        ),
    )
