"""Forecasts of coming weeks: mean and interval of every active product in every store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime

import polars as pl

from models.calendar import ONE_WEEK
from models.demand import xgboost_demand
from models.demand.dispersion import Dispersion
from models.demand.drift import WEEKS, corrected
from models.demand.drivers import contributions
from models.demand.examples import demand_examples
from models.demand.features import GROUPS
from models.demand.protocol import before
from models.demand.series import KEYS

# Units of the mean that each driver brings.
DRIVERS = tuple(f"units_{group}" for group in GROUPS)

STORED = (
    "store_id",
    "product_id",
    "as_of",
    "week_start",
    "horizon",
    "mean",
    "low",
    "high",
    "level",
    "correction",
    *DRIVERS,
    "plan_known",
    "model_version",
    "known_at",
)


def forecast(
    panel: pl.DataFrame,
    *,
    model: bytes,
    dispersion: Dispersion,
    targets: Sequence[date],
    horizon: int,
) -> pl.DataFrame:
    """Mean units and interval of the target weeks, each as known ``horizon`` weeks before.

    Args:
        panel: A demand panel with rows of the targets.
        model: Of ``xgboost_demand.train`` for this horizon.
        dispersion: Of the same training.
        targets: Mondays to forecast.
        horizon: Weeks ahead.

    Returns:
        The examples of the targets with ``mean, low, high`` (units; 95 %) and ``correction``.
    """
    first: date = panel["week_start"].min()  # type: ignore[assignment]
    # The weeks before say how far off the level is of late.
    weeks = before(targets, extra=WEEKS + horizon - 1, first=first + horizon * ONE_WEEK)
    held = set(panel["week_start"].unique())
    asked = [w for w in weeks if w in held]
    examples = demand_examples(panel, targets=asked, horizon=horizon)
    rows = examples.with_columns(xgboost_demand.predict(model, examples).alias("mean"))
    made = corrected(rows, targets=targets, horizon=horizon)
    low, high = dispersion.interval(made["mean"].to_numpy())
    return made.with_columns(pl.Series("low", low), pl.Series("high", high))


def without_plan(panel: pl.DataFrame, *, of: date, week: date) -> pl.DataFrame:
    """The panel and, for a week that nothing is planned for yet, the rows of ``of``, unpromoted.

    Args:
        panel: A demand panel with rows of ``of``.
        of: The week whose assortment is expected to hold.
        week: The week to make rows for.
    """
    added = panel.filter(pl.col("week_start") == of).with_columns(
        pl.lit(week).alias("week_start"),
        pl.lit(None, dtype=panel.schema["units"]).alias("units"),
        pl.lit(None, dtype=panel.schema["revenue"]).alias("revenue"),
        pl.lit(None, dtype=panel.schema["panel_trips"]).alias("panel_trips"),
        pl.lit("0").alias("display"),
        pl.lit("0").alias("mailer"),
        pl.lit(0.0).alias("discount"),
        pl.col("base_price").alias("price"),
    )
    return pl.concat([panel.filter(pl.col("week_start") != week), added])


def forecast_horizons(
    panel: pl.DataFrame,
    *,
    models: Mapping[int, bytes],
    dispersions: Mapping[int, Dispersion],
    as_of: date,
) -> pl.DataFrame:
    """Forecasts made at the start of ``as_of``: of that week, and of weeks further ahead.

    Args:
        panel: A demand panel up to ``as_of``; its units of that week are not read.
        models: Horizon to its model. One week ahead is ``as_of`` itself, four the third week after.
        dispersions: As ``models``.
        as_of: Monday at whose start we stand.

    Returns:
        As ``forecast``, with ``plan_known`` and ``DRIVERS``, which sum to the mean; further weeks
        have the assortment of ``as_of`` and no promotion, for nothing of them is known yet, and so
        no drivers.
    """
    now = panel.filter(pl.col("week_start") <= as_of).with_columns(
        *(
            pl.when(pl.col("week_start") < as_of).then(name).alias(name)
            for name in ("units", "revenue", "panel_trips")
        )
    )
    made = []
    for horizon, model in sorted(models.items()):
        week = as_of + (horizon - 1) * ONE_WEEK
        seen = now if week == as_of else without_plan(now, of=as_of, week=week)
        rows = forecast(
            seen, model=model, dispersion=dispersions[horizon], targets=[week], horizon=horizon
        )
        keys = ["store_id", "product_id"]
        plan = now.filter(pl.col("week_start") == as_of).select(*keys, "plan_known")
        known = rows.join(plan, on=keys, how="left", maintain_order="left")["plan_known"]
        planned = rows.with_columns((known & (week == as_of)).alias("plan_known"))
        made.append(_with_drivers(planned, model if week == as_of else None))
    return pl.concat(made)


def _with_drivers(rows: pl.DataFrame, model: bytes | None) -> pl.DataFrame:
    """Rows with ``DRIVERS``, null without a model to ask."""
    if model is None:
        return rows.with_columns(pl.lit(None, dtype=pl.Float64).alias(name) for name in DRIVERS)
    found = contributions(model, rows).select(*KEYS, *DRIVERS)
    return rows.join(found, on=list(KEYS), how="left", maintain_order="left").with_columns(
        pl.col(name) * pl.col("correction") for name in DRIVERS
    )


def as_stored(
    rows: pl.DataFrame, *, as_of: date, known_at: datetime, model_version: str
) -> pl.DataFrame:
    """Forecasts as the table ``demand.forecasts`` holds them."""
    return rows.with_columns(
        pl.lit(as_of).alias("as_of"),
        pl.lit(known_at, dtype=pl.Datetime("us")).alias("known_at"),
        pl.lit(model_version).alias("model_version"),
    ).select(STORED)
