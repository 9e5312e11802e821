"""Which decisions are compared, and their features as served beside those recomputed."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import polars as pl

from models.monitoring.feature_parity import Offline, compare
from models.ranking.fresh import hour_after
from models.ranking.inputs import FEATURES
from models.ranking.line_store import LINE_COLUMNS
from models.serving.log_rows import feature_rows
from models.serving.snapshot import Snapshot

# Enough that a feature which is wrong in one of a hundred rows shows.
SAMPLED = 200
# Each is recomputed by itself, in about two seconds.
SAMPLED_FRESH = 5
# An event may be logged and not be counted yet when a decision is made.
SETTLED = timedelta(seconds=5)

_FEATURES = FEATURES.names


def business_day(time_zone: str) -> pl.Expr:
    """Day of a decision where the business is."""
    return (
        pl.col("decided_at").dt.replace_time_zone("UTC").dt.convert_time_zone(time_zone).dt.date()
    )


def sampled(decisions: pl.LazyFrame) -> pl.LazyFrame:
    """Decisions to compare: some of each snapshot, by the order of their random ids.

    Args:
        decisions: Of ``serving.decisions``.

    Returns:
        Rows with a household's own candidates, one for each household of a snapshot.
    """
    own = (
        decisions.filter(
            pl.col("kind") == "decision",
            pl.col("scores").is_not_null(),
            pl.col("household_id").is_not_null(),
            pl.col("snapshot_version").is_not_null(),
            pl.col("fallback").is_null() | (pl.col("fallback") == "stale_features"),
        )
        .sort("request_id")
        .unique(["snapshot_version", "fresh", "household_id"], keep="first", maintain_order=True)
    )
    place = pl.int_range(pl.len()).over("snapshot_version", "fresh")
    most = pl.when("fresh").then(SAMPLED_FRESH).otherwise(SAMPLED)
    return own.filter(place < most)


def parity_of(
    decisions: pl.DataFrame, *, snapshot: Snapshot, offline: Offline, events: pl.LazyFrame
) -> pl.DataFrame:
    """Compare sampled decisions of one snapshot with the marts.

    Args:
        decisions: From ``sampled``.
        snapshot: That answered them.
        offline: The marts that it was made from.
        events: ``serving.events``.

    Returns:
        Columns of ``monitoring.feature_parity`` without ``day``; nothing for no decisions.
    """
    parts = []
    usual = decisions.filter(~pl.col("fresh"))
    fresh_rows, made_fresh = _recomputed_fresh(decisions.filter("fresh"), snapshot, offline, events)
    for fresh, rows, made in (
        (False, usual, _recomputed(usual, offline)),
        (True, fresh_rows, made_fresh),
    ):
        if rows.is_empty():
            continue
        counted = compare(_served(rows, snapshot), made, features=_FEATURES)
        total = pl.col("rows").clip(lower_bound=1)
        parts.append(
            counted.select(
                pl.lit(snapshot.manifest.version).alias("snapshot_version"),
                pl.lit(fresh).alias("fresh"),
                "feature",
                pl.lit(rows.height, dtype=pl.Int64).alias("decisions"),
                "rows",
                (pl.col("mismatched") / total).alias("mismatch_rate"),
                (pl.col("missing") / total).alias("missing_rate"),
                (pl.col("extra") / total).alias("extra_rate"),
                pl.lit(rows["decided_at"].max(), dtype=pl.Datetime("us")).alias("known_at"),
            )
        )
    return pl.concat(parts) if parts else pl.DataFrame()


def _served(decisions: pl.DataFrame, snapshot: Snapshot) -> pl.DataFrame:
    return pl.concat([_served_one(row, snapshot) for row in decisions.iter_rows(named=True)])


def _served_one(row: dict[str, Any], snapshot: Snapshot) -> pl.DataFrame:
    names = snapshot.names.features
    if row["fresh"]:
        features = feature_rows(row["features"], columns=len(names))
    else:
        found = snapshot.lookup(row["household_id"])
        features = snapshot.arrays.features[:0] if found is None else found.features
    products = row["candidates"] if len(features) else []
    return pl.DataFrame(features, schema=dict.fromkeys(names, pl.Float32)).select(
        pl.lit(row["request_id"]).alias("request_id"),
        pl.Series("product_id", products, dtype=pl.String),
        *_FEATURES,
    )


def _recomputed(decisions: pl.DataFrame, offline: Offline) -> pl.DataFrame:
    if decisions.is_empty():
        return pl.DataFrame()
    made = offline.of(decisions["household_id"].to_list())
    asked = decisions.select("household_id", "request_id")
    return made.join(asked, on="household_id").select("request_id", "product_id", *_FEATURES)


def _recomputed_fresh(
    decisions: pl.DataFrame, snapshot: Snapshot, offline: Offline, events: pl.LazyFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The decisions that can be compared, and their rows."""
    compared, parts = [], []
    codes = list(snapshot.names.products)
    for row in decisions.iter_rows(named=True):
        mine = events.filter(pl.col("household_id") == row["household_id"]).collect()
        if _unsettled(mine, row["decided_at"]):
            continue
        counted = mine.filter(
            pl.col("received_at") <= row["decided_at"],
            pl.col("sold_at") >= snapshot.manifest.known_at,
        )
        at = max(hour_after(row["features_known_at"]), offline.instant)
        made = offline.of([row["household_id"]], events=counted.select(LINE_COLUMNS), at=at)
        compared.append(row["request_id"])
        parts.append(
            # What the snapshot has no code for is not served.
            made.filter(pl.col("product_id").is_in(codes)).select(
                pl.lit(row["request_id"]).alias("request_id"), "product_id", *_FEATURES
            )
        )
    rows = decisions.filter(pl.col("request_id").is_in(compared))
    return rows, pl.concat(parts) if parts else pl.DataFrame()


def _unsettled(events: pl.DataFrame, decided_at: datetime) -> bool:
    near = pl.col("received_at").is_between(decided_at - SETTLED, decided_at)
    return events.filter(near).height > 0
