"""Levels at which a demand forecast is judged: rows as they are, and sums of them.

Most rows of a household panel are zero, and there an all-zero forecast beats an oracle by WAPE.
Sums over stores, or over the products of a category, hold enough sales for WAPE to mean something.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

ROWS = "product_store_week"
CHAIN = "chain_product_week"
CATEGORY = "store_category_week"


# A sum of rows is promoted when more of them are than not.
MOSTLY = 0.5


@dataclass(frozen=True)
class Level:
    """How rows are summed before they are judged.

    Attributes:
        name: As in reports.
        series: Columns that name a series; with the week, a row.
        block: Column that the bootstrap draws beside weeks.
    """

    name: str
    series: tuple[str, ...]
    block: str


LEVELS = (
    Level(ROWS, ("store_id", "product_id"), "store_id"),
    Level(CHAIN, ("product_id",), "product_id"),
    Level(CATEGORY, ("store_id", "category"), "store_id"),
)


def summed(
    rows: pl.DataFrame, level: Level, *, columns: Sequence[str], totals: Sequence[str] = ("units",)
) -> pl.DataFrame:
    """Rows of a level: sums of units and forecasts.

    Args:
        rows: ``store_id, product_id, week_start, category, promoted`` and the columns.
        level: What to sum over.
        columns: Forecast columns.
        totals: Other columns to sum.

    Returns:
        ``series, week_start``, sums, ``promoted`` (more than half of the rows are), sorted.
    """
    keys = [*level.series, "week_start"]
    if level.name == ROWS:
        return rows.select(*keys, *totals, *columns, "promoted").sort(keys)
    return (
        rows.group_by(keys)
        .agg(
            # Sorted, because a sum of floats depends on the order of its terms.
            *(pl.col(name).sort().sum() for name in (*totals, *columns)),
            (pl.col("promoted").mean() > MOSTLY).alias("promoted"),
        )
        .sort(keys)
    )


def with_forecasts(rows: pl.DataFrame, forecasts: Mapping[str, pl.Series]) -> pl.DataFrame:
    """The rows with one column per model.

    Raises:
        ValueError: A forecast has another length, a null, a NaN, or is below zero.
    """
    for name, values in forecasts.items():
        if values.len() != rows.height:
            raise ValueError(
                f"{name}: {values.len():,} forecasts for {rows.height:,} rows; forecast them all"
            )
        numbers = values.to_numpy()
        bad = int((~(numbers >= 0)).sum())
        if bad:
            raise ValueError(f"{name}: {bad:,} forecasts are missing or below zero; look at them")
    return rows.with_columns(values.alias(name) for name, values in forecasts.items())
