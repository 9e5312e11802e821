"""The level correction: what was sold of late over what was foreseen for it.

A model learned before the season turned is off by the same factor everywhere. The factor of the
last weeks whose sales are known is known when a forecast is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

import polars as pl

# Weeks the factor is measured on: fewer follow every wiggle, more follow nothing.
WEEKS = 4


def corrected(
    rows: pl.DataFrame, *, targets: Sequence[date], horizon: int, weeks: int = WEEKS
) -> pl.DataFrame:
    """Forecasts of the target weeks, times the factor known ``horizon`` weeks before each.

    Args:
        rows: ``week_start, units, mean`` of the targets and of the weeks before them, in any order;
            units of a target are not read for its own factor.
        targets: Weeks to correct.
        horizon: Weeks between the last known week and the target.
        weeks: Known weeks to measure on.

    Returns:
        The rows of the targets with ``mean`` corrected, and ``correction``. Without any known week
        among ``rows`` the factor is 1.
    """
    by_week = (
        rows.filter(pl.col("units").is_not_null())
        .group_by("week_start")
        .agg(pl.col("units", "mean").cast(pl.Float64).sort().sum())
        # A sum of floats depends on the order of its terms.
        .sort("week_start")
    )
    factors = []
    for target in sorted(set(targets)):
        last = target - timedelta(weeks=horizon)
        known = by_week.filter(
            pl.col("week_start").is_between(last - timedelta(weeks=weeks - 1), last)
        )
        foreseen, sold = float(known["mean"].sum()), float(known["units"].sum())
        factors.append((target, sold / foreseen if foreseen > 0 and sold > 0 else 1.0))
    table = pl.DataFrame(
        factors, schema={"week_start": pl.Date, "correction": pl.Float64}, orient="row"
    )
    return rows.join(table, on="week_start", how="inner", maintain_order="left").with_columns(
        (pl.col("mean") * pl.col("correction")).alias("mean")
    )
