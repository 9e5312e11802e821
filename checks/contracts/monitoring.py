"""Contracts of ``monitoring.*``: what watching the service found."""

from __future__ import annotations

import pandera.polars as pa
import polars as pl

from checks.contracts.contract import Contract, column
from checks.contracts.decisions import SERVING_TEAM

_RATE = {"min_value": 0, "max_value": 1}


class FeatureParity(pa.DataFrameModel):
    """Of a day's decisions, how often a feature served differs from the one recomputed."""

    day: pl.Date = column("Day of the decisions, of the business", privacy="public")
    snapshot_version: str = column("Online snapshot that answered", privacy="public")
    fresh: pl.Boolean = column("Whether the features counted events after the snapshot")
    feature: str = column("Feature, or candidate: the rows themselves", privacy="public")
    decisions: pl.Int64 = column("Decisions compared", ge=1)
    rows: pl.Int64 = column("Candidates compared", ge=0)
    mismatch_rate: float = column("Share of values that differ in any bit", in_range=_RATE)
    missing_rate: float = column("Share with a value only offline", in_range=_RATE)
    extra_rate: float = column("Share with a value only online", in_range=_RATE)
    known_at: pl.Datetime("us") = column(  # type: ignore[valid-type]
        "When the newest decision compared was made", unit="UTC", privacy="public"
    )


FEATURE_PARITY = Contract(
    "monitoring.feature_parity",
    FeatureParity,
    SERVING_TEAM,
    key=("day", "snapshot_version", "fresh", "feature"),
    partition_column=None,
)

MONITORING = (FEATURE_PARITY,)
