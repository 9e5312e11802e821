"""What each arm did, from the rows of the decision log."""

from __future__ import annotations

import math
from collections.abc import Mapping

import polars as pl

from models.release.judge import ArmFigures, Moments

# Clipped here before the logarithm: a stall counts as very slow, not as a hundred answers.
LEAST_MS, MOST_MS = 0.01, 10_000.0
# Half of the 100 ms within which an answer feels immediate (checks/gates/ranking_audit.py).
SLOW_MS = 50.0

# What is read of a decision.
COLUMNS: Mapping[str, pl.DataType | type[pl.DataType]] = {
    "decided_at": pl.Datetime("us"),
    "household_id": pl.String,
    "arm": pl.String,
    "error": pl.String,
    "latency_ms": pl.Float64,
    "empty": pl.Boolean,
    "top_score": pl.Float64,
}


def arm_figures(
    decisions: pl.DataFrame, arm: str, *, slow_ms: float = SLOW_MS
) -> ArmFigures[float]:
    """Add up an arm.

    Args:
        decisions: The columns of ``COLUMNS``, a row per request that reached a model; ``error`` is
            null where it was answered.
        arm: ``canary`` or ``baseline``.
        slow_ms: Longer is slow.

    Returns:
        Its figures; those of an empty arm are zero, its means without variance infinite.
    """
    rows = decisions.filter(pl.col("arm") == arm)
    answered = rows.filter(pl.col("error").is_null())
    units = rows.group_by("household_id", pl.col("decided_at").dt.date().alias("day")).agg(
        pl.col("error").is_not_null().any().alias("errors"),
        (pl.col("empty") & pl.col("error").is_null()).fill_null(value=False).any().alias("empty"),
        ((pl.col("latency_ms") > slow_ms) & pl.col("error").is_null())
        .fill_null(value=False)
        .any()
        .alias("slow"),
    )
    return ArmFigures(
        requests=rows.height,
        households=rows["household_id"].n_unique(),
        units=units.height,
        errors=int(units["errors"].sum()),
        empty=int(units["empty"].sum()),
        slow=int(units["slow"].sum()),
        latency=_moments(
            answered.select(
                "household_id",
                pl.col("latency_ms").clip(LEAST_MS, MOST_MS).log().alias("value"),
            )
        ),
        top_score=_moments(answered.select("household_id", pl.col("top_score").alias("value"))),
    )


def _moments(values: pl.DataFrame) -> Moments[float]:
    """Mean, and its variance with households as clusters (Liang and Zeger, Biometrika 1986)."""
    values = values.filter(pl.col("value").is_finite())
    sums = values.group_by("household_id").agg(
        pl.col("value").sum().alias("sum"), pl.len().cast(pl.Float64).alias("n")
    )
    clusters, n = sums.height, values.height
    if clusters < 2:  # noqa: PLR2004 - one cluster has no variance
        return Moments(mean=float(values["value"].sum()) / max(n, 1), variance=math.inf, spread=0.0)
    mean = float(values["value"].sum()) / n
    off = (sums["sum"] - mean * sums["n"]).to_numpy()
    return Moments(
        mean=mean,
        variance=float((off**2).sum()) / n**2 * clusters / (clusters - 1),
        spread=float(values["value"].to_numpy().std(ddof=1)),
    )
