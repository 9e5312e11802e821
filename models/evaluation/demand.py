"""Demand forecasts judged: every model at every level, with intervals, floor and coverage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from models.demand.dispersion import Dispersion
from models.evaluation import demand_metrics as metrics
from models.evaluation.demand_bootstrap import METRICS, bootstrap, bounds, compared
from models.evaluation.demand_levels import LEVELS, Level, summed, with_forecasts

MODEL = "xgboost"
NOMINAL = 0.95


def judge(
    rows: pl.DataFrame,
    forecasts: Mapping[str, pl.Series],
    *,
    history: pl.DataFrame,
    seed: int,
    model: str = MODEL,
) -> dict[str, dict[str, Any]]:
    """Every model at every level.

    Args:
        rows: ``store_id, product_id, week_start, category, units, promoted`` of the judged weeks.
        forecasts: Model to its mean units of each row.
        history: The same columns and ``revenue`` of the weeks before: scales and weights of WRMSSE.
        seed: Of the intervals.
        model: The one the others are compared with.

    Returns:
        Level to ``rows, weeks, units, zero_share``, ``models`` {name: {metric: value}}; a metric
        that cannot be had is left out), ``intervals``, ``differences`` (relative, of the model to
        each other one), ``zero_forecast`` and ``poisson_floor`` (WAPE of an oracle whose means are
        the model's, if sales were Poisson).
    """
    judged = with_forecasts(rows, forecasts)
    return {
        level.name: _at(level, judged, history, names=list(forecasts), seed=seed, model=model)
        for level in LEVELS
    }


def _at(
    level: Level,
    rows: pl.DataFrame,
    history: pl.DataFrame,
    *,
    names: list[str],
    seed: int,
    model: str,
) -> dict[str, Any]:
    table = summed(rows, level, columns=names)
    before = summed(history, level, columns=(), totals=("units", "revenue"))
    series = list(level.series)
    scales = metrics.series_scales(before, series=series)
    units = table["units"].to_numpy().astype(np.float64)
    drawn = bootstrap(table, models=names, block=level.block, seed=seed)
    return {
        "rows": table.height,
        "weeks": table["week_start"].n_unique(),
        "units": float(units.sum()),
        "zero_share": float((units == 0).mean()),
        "models": {name: _metrics(table, name, scales=scales, series=series) for name in names},
        "intervals": {
            name: {metric: bounds(drawn[name][metric]) for metric in METRICS} for name in names
        },
        "differences": compared(drawn, model=model),
        "zero_forecast": {"wape": metrics.wape(units, np.zeros(units.size)), "bias": -1.0},
        "poisson_floor": {"wape": metrics.poisson_floor(np.maximum(table[model].to_numpy(), 1e-9))},
    }


def _metrics(
    table: pl.DataFrame, name: str, *, scales: pl.DataFrame, series: list[str]
) -> dict[str, float]:
    units = table["units"].to_numpy().astype(np.float64)
    forecast = table[name].to_numpy()
    promoted = table["promoted"].to_numpy()
    made = {
        "wape": metrics.wape(units, forecast),
        "bias": metrics.bias(units, forecast),
        "poisson_deviance": metrics.poisson_deviance(units, forecast),
    }
    if units[promoted].sum() > 0:
        made["promo_wape"] = metrics.wape(units[promoted], forecast[promoted])
    if scales["scale"].is_not_null().any() and float(scales["weight"].sum()) > 0:
        renamed = table.select(*series, "units", pl.col(name).alias("forecast"))
        made["wrmsse"] = metrics.wrmsse(renamed, scales, series=series)
    return {metric: made[metric] for metric in metrics.METRICS if metric in made}


def randomised_pit(
    units: np.ndarray, mean: np.ndarray, dispersion: Dispersion, *, seed: int
) -> np.ndarray:
    """Where each sale lies in its forecast's distribution, uniform if that is right.

    A count sits on a step of the distribution; a point of the step is drawn (Brockwell 2007;
    Czado, Gneiting and Held 2009).
    """
    low = dispersion.cdf(units - 1, mean)
    high = dispersion.cdf(units, mean)
    return low + np.random.default_rng(seed).uniform(size=units.size) * (high - low)


def coverage(pit: np.ndarray, weeks: pl.Series, *, nominal: float = NOMINAL) -> dict[str, Any]:
    """Share of sales inside the central interval, overall, by week, and the histogram of the PIT.

    Args:
        pit: From ``randomised_pit``.
        weeks: Week of each.
        nominal: What the share should be.
    """
    tail = (1.0 - nominal) / 2.0
    inside = (pit >= tail) & (pit <= 1.0 - tail)
    by_week = (
        pl.DataFrame({"week": weeks, "inside": inside})
        .group_by("week")
        .agg(pl.mean("inside"))
        .sort("week")
    )
    counts, _ = np.histogram(pit, bins=10, range=(0.0, 1.0))
    return {
        "nominal": nominal,
        "covered": float(inside.mean()),
        "by_week": {str(week): share for week, share in by_week.rows()},
        "histogram": (counts / pit.size).tolist(),
    }
