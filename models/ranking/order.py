"""Deterministic orders: the best rows of a group, numbered from 1.

Every list in the ranker (candidates, baselines, offers) is cut here, so that equal scores are
broken the same way everywhere and two runs give the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

RANK = pl.Int32


@dataclass(frozen=True)
class OrderBy:
    """A column to order by.

    Attributes:
        column: Its name.
        descending: Larger values come first.
    """

    column: str
    descending: bool = True


def top(
    frame: pl.LazyFrame,
    *,
    group: Sequence[str],
    order: Sequence[OrderBy],
    limit: int,
    keep: Sequence[str] | None = None,
    rank: str = "rank",
) -> pl.LazyFrame:
    """Keep the first ``limit`` rows of every group and number them.

    Args:
        frame: Rows with ``group``, the order's columns and ``product_id``; nulls come last.
        group: Columns of a group.
        order: First column first; what is still equal is ordered by ``product_id``, ascending.
        limit: Rows kept per group.
        keep: Columns to return beside ``group``; all by default. Each costs a sort.
        rank: Name of the new Int32 column, 1..limit without gaps.

    Returns:
        Group, kept columns and ``rank``, sorted by group and rank.

    Raises:
        ValueError: ``order`` is empty or ``limit`` is below 1.
    """
    if not order or limit < 1:
        raise ValueError(
            f"top(): got {len(order)} order column(s) and limit {limit}; "
            "give at least one column and a limit of 1 or more"
        )
    first = order[0]
    value = pl.col(first.column)
    # Rows that cannot make the cut are dropped before the sort, which costs the most by far.
    if first.descending:
        possible = value >= value.top_k(limit).min().over(*group)
    else:
        possible = value <= value.bottom_k(limit).max().over(*group)
    columns = [name for name in keep or frame.collect_schema() if name not in group]
    by = [*(o.column for o in order), "product_id"]
    descending = [*(o.descending for o in order), False]
    best = pl.col(columns).sort_by(by, descending=descending, nulls_last=True).head(limit)
    return (
        frame.filter(possible.fill_null(value=True))
        .group_by(*group)
        .agg(best, pl.int_range(1, pl.len() + 1, dtype=RANK).head(limit).alias(rank))
        .sort(*group)
        .explode(*columns, rank)
        .select(*group, *columns, rank)
    )
