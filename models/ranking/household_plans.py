"""The feature sets of one household at an instant, with their queries planned once.

Planning a feature set's query costs ten times as much as running it on one household's lines. The
queries depend on the instant alone, so they are kept and only fed other lines.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import polars as pl
from polars.io.plugins import register_io_source

from models.features.household import household_features
from models.features.household_product import household_product_features
from models.features.household_store import household_store_features
from models.features.household_type import household_type_features
from models.ranking.line_store import LINE_SCHEMA
from models.ranking.week_facts import WeekFacts

# As-ofs are full hours: two days' worth of hours, for events that come late.
_KEPT = 48
# Improving a plan takes longer than so few rows could repay.
_AS_WRITTEN = pl.QueryOptFlags.none()
_VERSIONS = pl.Schema(
    {  # type: ignore[arg-type]
        "product_id": pl.String,
        "brand": pl.String,
        "category": pl.String,
        "type": pl.String,
        "known_at": pl.Datetime("us"),
    }
)


@dataclass(frozen=True)
class HouseholdFrames:
    """The four feature sets of one household, stamped with the as-of week of the facts."""

    household: pl.DataFrame
    household_product: pl.DataFrame
    household_store: pl.DataFrame
    household_type: pl.DataFrame


class HouseholdPlans:
    """Plans of the facts' week; for one thread at a time."""

    def __init__(self, facts: WeekFacts) -> None:
        self._facts = facts
        self._fed: dict[str, pl.DataFrame] = {}
        self._plans: OrderedDict[datetime, list[pl.LazyFrame]] = OrderedDict()

    def frames(self, lines: pl.DataFrame, *, at: datetime) -> HouseholdFrames:
        """The feature sets at ``at``.

        Args:
            lines: Of one household, ``LINE_SCHEMA``.
            at: Naive UTC.
        """
        bought = self._facts.products(lines["product_id"].unique())
        known = pl.lit(self._facts.instant).cast(pl.Datetime("us")).alias("known_at")
        self._fed = {
            "lines": lines,
            "versions": bought.filter("listed").select(*_VERSIONS.names()[:-1], known),
        }
        # An event of a later week than the facts' still joins them: they are the newest there are.
        plans = self._plans_at(at)
        return HouseholdFrames(*pl.collect_all(plans, optimizations=_AS_WRITTEN))

    def prepare(self, at: datetime) -> None:
        """Plan for ``at`` before somebody waits for it."""
        self._plans_at(at)

    def _plans_at(self, at: datetime) -> list[pl.LazyFrame]:
        if at in self._plans:
            self._plans.move_to_end(at)
            return self._plans[at]
        lines, versions = self._source("lines", LINE_SCHEMA), self._source("versions", _VERSIONS)
        zone = self._facts.time_zone
        stamp = pl.lit(self._facts.as_of).alias("as_of")
        made = [
            frame.with_columns(stamp)
            for frame in (
                household_features(lines, [at], products=versions, time_zone=zone),
                household_product_features(lines, [at], time_zone=zone),
                household_store_features(lines, [at], time_zone=zone),
                household_type_features(lines, [at], products=versions, time_zone=zone),
            )
        ]
        self._plans[at] = made
        if len(self._plans) > _KEPT:
            self._plans.popitem(last=False)
        return made

    def _source(self, name: str, schema: pl.Schema) -> pl.LazyFrame:
        def feed(
            columns: list[str] | None, predicate: pl.Expr | None, rows: int | None, _: int | None
        ) -> Iterator[pl.DataFrame]:
            frame = self._fed[name]
            if predicate is not None:
                frame = frame.filter(predicate)
            if columns is not None:
                frame = frame.select(columns)
            yield frame if rows is None else frame.head(rows)

        return register_io_source(feed, schema=schema)
