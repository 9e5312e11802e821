"""How far a demand forecast is from what was sold: the formulas of the protocol.

WAPE = Σ|y-ŷ| / Σy, promo-WAPE the same over promoted rows, bias = Σŷ/Σy - 1, Poisson deviance =
2·mean[y ln(y/ŷ) - y + ŷ]. WRMSSE = Σ_i w_i √(MSE_i / mean_train(y_t - y_{t-1})²), where w is the
share of the series in the trailing revenue. Nothing here has a default: where a metric cannot be
computed there is an error, or no entry.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from scipy import special

METRICS = ("wape", "promo_wape", "wrmsse", "bias", "poisson_deviance")

# A forecast of zero has an infinite deviance wherever something is sold; it is judged as this one.
SMALLEST_FORECAST = 1e-3

# Weeks whose revenue weighs a series.
TRAILING_WEEKS = 13


def wape(units: np.ndarray, forecast: np.ndarray) -> float:
    """Sum of absolute errors over the sum of sales.

    Raises:
        ValueError: Nothing was sold, so there is nothing to divide by.
    """
    total = float(units.sum())
    if total <= 0:
        raise ValueError(
            f"WAPE: nothing was sold in {units.size:,} row(s); choose weeks with sales"
        )
    return float(np.abs(units - forecast).sum()) / total


def bias(units: np.ndarray, forecast: np.ndarray) -> float:
    """Sum of forecasts over the sum of sales, less 1; errors as ``wape``."""
    total = float(units.sum())
    if total <= 0:
        raise ValueError(
            f"bias: nothing was sold in {units.size:,} row(s); choose weeks with sales"
        )
    return float(forecast.sum()) / total - 1.0


def deviances(units: np.ndarray, forecast: np.ndarray) -> np.ndarray:
    """Poisson deviance of each row; a forecast below ``SMALLEST_FORECAST`` counts as that."""
    mean = np.maximum(forecast, SMALLEST_FORECAST)
    return 2.0 * (special.xlogy(units, units / mean) - units + mean)


def poisson_deviance(units: np.ndarray, forecast: np.ndarray) -> float:
    """Mean of ``deviances``.

    Raises:
        ValueError: There are no rows.
    """
    if units.size == 0:
        raise ValueError("Poisson deviance: there are no rows to judge")
    return float(deviances(units, forecast).mean())


def poisson_floor(mean: np.ndarray) -> float:
    """WAPE that an oracle would expect who knows every mean, if sales were Poisson around it.

    E|Y - μ| = 2 e^{-μ} μ^{⌊μ⌋+1} / ⌊μ⌋! (De Moivre's mean deviation; Johnson, Kemp and Kotz,
    Univariate Discrete Distributions, 2005).

    Args:
        mean: Of each row, above zero.
    """
    k = np.floor(mean)
    spread = 2.0 * np.exp(-mean + (k + 1.0) * np.log(mean) - special.gammaln(k + 1.0))
    return float(spread.sum() / mean.sum())


def series_scales(history: pl.DataFrame, *, series: list[str]) -> pl.DataFrame:
    """Scale and weight of every series, from the weeks before those that are judged.

    Args:
        history: ``series, week_start, units, revenue`` of the training weeks.
        series: Columns that name a series.

    Returns:
        ``series``, ``scale`` (mean squared step from a week to the next; null where no two
        consecutive weeks are known or nothing ever changed) and ``weight`` (share of the revenue
        of the last ``TRAILING_WEEKS`` weeks; of the units where revenue is unknown).
    """
    steps = (
        history.sort(*series, "week_start")
        .with_columns(
            pl.col("units").diff().over(series).alias("step"),
            (pl.col("week_start").diff().over(series) == pl.duration(days=7)).alias("next"),
        )
        .group_by(series)
        .agg((pl.col("step").filter("next") ** 2).mean().alias("scale"))
        .with_columns(pl.when(pl.col("scale") > 0).then("scale"))
    )
    last = history["week_start"].max()
    worth = pl.col("revenue").fill_null(pl.col("units"))
    weights = (
        history.filter(pl.col("week_start") > pl.lit(last) - pl.duration(weeks=TRAILING_WEEKS))
        .group_by(series)
        .agg(worth.sum().alias("worth"))
    )
    return (
        steps.join(weights, on=series, how="left")
        .with_columns(pl.col("worth").fill_null(0.0))
        .select(*series, "scale", (pl.col("worth") / pl.col("worth").sum()).alias("weight"))
        .sort(series)
    )


def wrmsse(rows: pl.DataFrame, scales: pl.DataFrame, *, series: list[str]) -> float:
    """Weighted root mean squared scaled error over the series that have a scale.

    Args:
        rows: ``series, units, forecast``.
        scales: From ``series_scales``; the weights of the series judged are made to sum to 1.
        series: Columns that name a series.

    Raises:
        ValueError: No series can be judged.
    """
    judged = (
        rows.group_by(series)
        .agg(((pl.col("units") - pl.col("forecast")) ** 2).mean().alias("mse"))
        .join(scales.filter(pl.col("scale").is_not_null()), on=series, how="inner")
        .sort(series)
    )
    total = float(judged["weight"].sum())
    if total <= 0:
        raise ValueError(
            "WRMSSE: no judged series had sales that changed before; give more weeks of history"
        )
    return float((judged["weight"] * (judged["mse"] / judged["scale"]).sqrt()).sum()) / total
