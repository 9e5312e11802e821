"""Intervals of demand metrics: weeks and stores are drawn, each with replacement.

Sales of a week resemble each other, and so do those of a store, so both are drawn whole and a row
counts as often as its week times its store: the pigeonhole bootstrap of Owen (2007), whose
intervals are a little too wide rather than too narrow. Models are judged on the same draws.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from models.evaluation.demand_metrics import deviances

DRAWS = 1000
CONFIDENCE = 0.95
# Those that are ratios of sums over rows.
METRICS = ("wape", "bias", "poisson_deviance")

Draws = dict[str, np.ndarray]
Bounds = dict[str, float]


def bootstrap(
    rows: pl.DataFrame, *, models: Sequence[str], block: str, seed: int, draws: int = DRAWS
) -> dict[str, Draws]:
    """Metrics of every model on the data itself and on every draw.

    Args:
        rows: ``week_start``, ``block``, ``units`` and one column per model.
        models: Those columns.
        block: Column that is drawn beside weeks.
        seed: Of the draws.
        draws: How many.

    Returns:
        Model to metric to ``draws + 1`` values, the first of the data itself.
    """
    weeks, blocks = rows["week_start"].unique().sort(), rows[block].unique().sort()
    shape = (weeks.len(), blocks.len())
    place = (
        np.searchsorted(weeks.to_numpy(), rows["week_start"].to_numpy()) * shape[1]
        + rows[block].cast(pl.Enum(blocks)).to_physical().to_numpy()
    )
    rng = np.random.default_rng(seed)

    def drawn(size: int) -> np.ndarray:
        counts = rng.multinomial(size, np.full(size, 1.0 / size), size=draws).astype(np.float64)
        return np.vstack([np.ones(size), counts])

    by_week, by_block = drawn(shape[0]), drawn(shape[1])

    def totals(values: np.ndarray) -> np.ndarray:
        cells = np.bincount(place, weights=values, minlength=shape[0] * shape[1]).reshape(shape)
        return np.einsum("dw,wb,db->d", by_week, cells, by_block, optimize=True)

    y = rows["units"].to_numpy().astype(np.float64)
    sold, count = totals(y), totals(np.ones(y.size))
    found = {}
    with np.errstate(invalid="ignore", divide="ignore"):
        for name in models:
            f = rows[name].to_numpy()
            found[name] = {
                "wape": totals(np.abs(y - f)) / sold,
                "bias": totals(f) / sold - 1.0,
                "poisson_deviance": totals(deviances(y, f)) / count,
            }
    return found


def bounds(values: np.ndarray, *, confidence: float = CONFIDENCE) -> Bounds:
    """Estimate with its percentile interval; draws in which nothing was sold are left out."""
    tail = (1.0 - confidence) / 2.0
    low, high = np.nanquantile(values[1:], [tail, 1.0 - tail])
    return {"estimate": float(values[0]), "low": float(low), "high": float(high)}


def compared(drawn: dict[str, Draws], *, model: str) -> dict[str, dict[str, Bounds]]:
    """The model minus each other one, relative to the other, as paired intervals.

    Returns:
        Other model to ``wape`` and ``poisson_deviance`` to ``estimate, low, high``; -.1 is 10 %
        less. Bias has no sign to compare.
    """
    return {
        other: {
            metric: bounds(drawn[model][metric] / values[metric] - 1.0)
            for metric in ("wape", "poisson_deviance")
        }
        for other, values in drawn.items()
        if other != model
    }
