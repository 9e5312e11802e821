"""Candidate sources: what each proposed, what of it was bought, and how far they agree.

Counted per event and then added up, so that weeks can be counted one at a time: the candidates of
eight weeks together would not fit beside their features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import polars as pl

from models.evaluation.metrics import EVENT, PAIR

UNION = "union"
RANK_SUFFIX = "_rank"


def sources_of(columns: Sequence[str]) -> dict[str, str]:
    """Name of each source to its rank column, from a candidate table's columns."""
    return {name.removesuffix(RANK_SUFFIX): name for name in columns if name.endswith(RANK_SUFFIX)}


def candidate_events(
    candidates: pl.DataFrame, purchases: pl.DataFrame, *, sources: Mapping[str, str]
) -> pl.DataFrame:
    """Count, per event, what each source proposed and how much of it was bought.

    Args:
        candidates: ``household_id, as_of, product_id``, unique, and the sources' rank columns,
            null where a source did not propose the pair.
        purchases: ``household_id, as_of, product_id`` of all that was bought, duplicates allowed.
        sources: Name of a source to its rank column.

    Returns:
        One row per event with a candidate or a purchase, sorted by as-of and household:
        ``household_id, as_of, bought``, per source and for ``union`` ``{name} proposed`` and
        ``{name} found``, and per pair of sources ``{a} and {b}``, proposed by both (all UInt32).
    """
    bought = purchases.select(*PAIR).unique()
    given = {name: pl.col(column).is_not_null() for name, column in sources.items()}
    flagged = candidates.select(
        *PAIR,
        *(flag.alias(name) for name, flag in given.items()),
        pl.lit(value=True).alias(UNION),
    )
    proposed = flagged.group_by(*EVENT).agg(
        *(pl.col(name).sum().alias(f"{name} proposed") for name in (*sources, UNION)),
        *((pl.col(a) & pl.col(b)).sum().alias(f"{a} and {b}") for a, b in combinations(sources, 2)),
    )
    found = (
        flagged.join(bought, on=list(PAIR), how="semi")
        .group_by(*EVENT)
        .agg(pl.col(name).sum().alias(f"{name} found") for name in (*sources, UNION))
    )
    counts = [
        *(f"{name} {what}" for name in (*sources, UNION) for what in ("proposed", "found")),
        *(f"{a} and {b}" for a, b in combinations(sources, 2)),
    ]
    return (
        pl.concat([bought.select(*EVENT), candidates.select(*EVENT)])
        .unique()
        .join(bought.group_by(*EVENT).agg(pl.len().alias("bought")), on=list(EVENT), how="left")
        .join(proposed, on=list(EVENT), how="left")
        .join(found, on=list(EVENT), how="left")
        .select(*EVENT, pl.col("bought", *counts).fill_null(0).cast(pl.UInt32))
        .sort("as_of", "household_id")
    )


def source_table(
    events: pl.DataFrame,
    *,
    sources: Sequence[str],
    seconds: Mapping[str, float] | None = None,
) -> pl.DataFrame:
    """Recall, emptiness, size and cost of each source and of their union.

    Args:
        events: From ``candidate_events``, of any number of weeks.
        sources: Names, in the order shown.
        seconds: Name to what the source took, where it was measured.

    Returns:
        ``source`` (the names, then ``union``), ``recall`` (share of an event's purchases that it
        held, mean over events with a purchase), ``share`` (of all purchases together),
        ``candidates_per_event`` (mean, over events with any candidate), ``empty_rate`` (share of
        all events for which it proposed nothing), ``seconds`` (null if not measured).
    """
    cost = seconds or {}
    shopped = events.filter(pl.col("bought") > 0).sort("as_of", "household_id")
    served = max(events.select((pl.col(f"{UNION} proposed") > 0).sum()).item(), 1)
    purchases = max(int(shopped["bought"].sum()), 1)
    rows = [
        {
            "source": name,
            "recall": shopped.select((pl.col(f"{name} found") / pl.col("bought")).mean()).item(),
            "share": int(shopped[f"{name} found"].sum()) / purchases,
            "candidates_per_event": int(events[f"{name} proposed"].sum()) / served,
            "empty_rate": events.select((pl.col(f"{name} proposed") == 0).mean()).item(),
            "seconds": cost.get(name),
        }
        for name in (*sources, UNION)
    ]
    return pl.DataFrame(
        rows,
        schema={
            "source": pl.String,
            "recall": pl.Float64,
            "share": pl.Float64,
            "candidates_per_event": pl.Float64,
            "empty_rate": pl.Float64,
            "seconds": pl.Float64,
        },
    )


def overlap_table(events: pl.DataFrame, *, sources: Sequence[str]) -> pl.DataFrame:
    """How much of their proposals two sources share, over all events together.

    Args:
        events: From ``candidate_events``.
        sources: Names.

    Returns:
        ``source, other`` (each pair once), ``both`` (pairs proposed by both), ``jaccard`` (both
        over either, 0 if neither proposed any), ``of_source``, ``of_other`` (both over each one's
        own proposals).
    """
    rows = []
    for a, b in combinations(sources, 2):
        one, other = (int(events[f"{name} proposed"].sum()) for name in (a, b))
        both = int(events[f"{a} and {b}"].sum())
        rows.append(
            {
                "source": a,
                "other": b,
                "both": both,
                "jaccard": both / max(one + other - both, 1),
                "of_source": both / max(one, 1),
                "of_other": both / max(other, 1),
            }
        )
    return pl.DataFrame(
        rows,
        schema={
            "source": pl.String,
            "other": pl.String,
            "both": pl.Int64,
            "jaccard": pl.Float64,
            "of_source": pl.Float64,
            "of_other": pl.Float64,
        },
    )
