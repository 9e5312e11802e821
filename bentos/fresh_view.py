"""Fresh rows of one snapshot, and how one is made of a household's events."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl

from models.ranking.fresh import as_of_after, fresh_examples
from models.ranking.household_plans import HouseholdPlans
from models.ranking.inputs import FEATURES
from models.ranking.line_store import LINE_COLUMNS, LINE_SCHEMA
from models.ranking.week_facts import WeekFacts
from models.serving.snapshot import Candidates, SnapshotManifest, feature_matrix
from resources.online_history import HistoryManifest

# A household whose row cannot be made is tried again after this, doubled each time.
AGAIN_SECONDS = 1.0
LONGEST_SECONDS = 300.0


@dataclass(frozen=True)
class FreshRow:
    """What an overlay holds of one household.

    Attributes:
        candidates: As a snapshot's; codes are those of the snapshot it was made for.
        known_at: When its newest line was sold, naive UTC.
    """

    candidates: Candidates
    known_at: datetime


@dataclass(frozen=True)
class Failed:
    """A household whose row could not be made.

    Attributes:
        times: How often, in a row.
        again: When it is tried again, ``time.monotonic`` seconds.
    """

    times: int
    again: float


@dataclass
class View:
    """Fresh rows of one snapshot."""

    version: str
    known_at: datetime
    facts: WeekFacts
    plans: HouseholdPlans
    product_codes: dict[str, int]
    source_codes: dict[str, int]
    rows: dict[str, FreshRow] = field(default_factory=dict)
    waiting: dict[str, None] = field(default_factory=dict)
    failed: dict[str, Failed] = field(default_factory=dict)

    def fail(self, household: str, now: float) -> None:
        """Leave a household alone for a while, twice as long each time."""
        times = self.failed[household].times + 1 if household in self.failed else 1
        pause = min(AGAIN_SECONDS * 2 ** min(times - 1, 20), LONGEST_SECONDS)
        self.failed[household] = Failed(times, now + pause)

    def due(self, now: float) -> list[str]:
        """Households that wait and are not to be left alone for now, oldest first."""
        return [h for h in self.waiting if h not in self.failed or self.failed[h].again <= now]


def make_row(view: View, household: str, events: Iterable[dict[str, Any]]) -> FreshRow | None:
    """A household's candidates with its fresh events counted; None when there are none."""
    fresh = fresh_lines(household, events, since=view.known_at)
    if fresh.is_empty():
        return None
    newest = fresh["sold_at"].max()
    made = fresh_examples(
        view.facts,
        household_id=household,
        lines=pl.concat([view.facts.lines_of(household), fresh]),
        at=as_of_after(newest, facts=view.facts),  # type: ignore[arg-type]
        plans=view.plans,
    )
    # A product that the snapshot has no code for was never listed nor bought before.
    made = made.filter(pl.col("product_id").is_in(list(view.product_codes)))
    if made.is_empty():
        return None
    return FreshRow(
        candidates=Candidates(
            product_codes=np.array(
                [view.product_codes[p] for p in made["product_id"].to_list()], dtype=np.int32
            ),
            source_codes=np.array(
                [view.source_codes[s] for s in made["source"].to_list()], dtype=np.int16
            ),
            features=feature_matrix(made, FEATURES.names),
        ),
        known_at=newest,  # type: ignore[arg-type]
    )


def fresh_lines(
    household: str, events: Iterable[dict[str, Any]], *, since: datetime
) -> pl.DataFrame:
    """Lines of logged events that were sold at or after ``since``, as ``LINE_SCHEMA``."""
    rows = [
        {"household_id": household} | line | {"sold_at": datetime.fromisoformat(line["sold_at"])}
        for event in events
        for line in event["lines"]
        if datetime.fromisoformat(line["sold_at"]) >= since
    ]
    return pl.DataFrame(rows, schema=LINE_SCHEMA).select(LINE_COLUMNS)


def any_fresh(events: Iterable[dict[str, Any]], since: datetime) -> bool:
    """Whether a line of these events was sold at or after ``since``."""
    return any(
        datetime.fromisoformat(line["sold_at"]) >= since
        for event in events
        for line in event["lines"]
    )


def belong(history: HistoryManifest, snapshot: SnapshotManifest) -> bool:
    """Whether a history holds what a snapshot's rows were made of."""
    return (history.as_of, history.known_at, history.feature_set_hash) == (
        snapshot.as_of,
        snapshot.known_at,
        snapshot.feature_set_hash,
    )
