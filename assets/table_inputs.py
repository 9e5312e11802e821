"""What a table is made from: its inputs, and which weeks of them each of its weeks may see."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import dagster as dg

from assets.partitions import WeekWindow, calendar
from resources.partition_status import PartitionStatus


@dataclass(frozen=True)
class FixedWeeks:
    """The same weeks whatever is asked: how an asset without weeks reads a weekly one."""

    first: date
    last: date

    @property
    def mapping(self) -> dg.SpecificPartitionsPartitionMapping:
        return dg.SpecificPartitionsPartitionMapping(
            [w.isoformat() for w in calendar() if self.first <= w <= self.last]
        )

    def admits(self, _week: date | None, weeks: Sequence[date]) -> list[date]:
        return [w for w in weeks if self.first <= w <= self.last]


@dataclass(frozen=True)
class Input:
    """One upstream asset: its key and the weeks of it that may be seen.

    Attributes:
        asset: ``schema.name``.
        weeks: Window of weeks; ``None`` where the input has no weeks, or all are meant.
        load: Whether its rows are handed to the function.
        standing: Whether what it made last stands while it cannot be made anew.
    """

    asset: str
    weeks: WeekWindow | FixedWeeks | None = None
    load: bool = True
    standing: bool = False

    @property
    def key(self) -> dg.AssetKey:
        return dg.AssetKey(self.asset.split("."))

    def described(self) -> dict[str, Any]:
        window: dict[str, Any] = {}
        if isinstance(self.weeks, WeekWindow):
            window = {"start": self.weeks.start, "end": self.weeks.end}
        if isinstance(self.weeks, FixedWeeks):
            window = {"first": self.weeks.first.isoformat(), "last": self.weeks.last.isoformat()}
        return window | ({"standing": True} if self.standing else {})

    def admits(self, week: date | None, weeks: Sequence[date]) -> list[date | None]:
        """Weeks of the input that ``week`` is made from."""
        return admitted(self.described(), week, weeks)


def admitted(
    described: Mapping[str, Any], week: date | None, weeks: Sequence[date]
) -> list[date | None]:
    """Weeks of an input, from its description in the graph's metadata."""
    if "start" in described and week is not None:
        return list(WeekWindow(described["start"], described["end"]).admits(week, weeks))
    if "first" in described:
        first, last = map(date.fromisoformat, (described["first"], described["last"]))
        return list(FixedWeeks(first, last).admits(week, weeks))
    return [None, *weeks]


def input_versions(
    *,
    described: Mapping[str, Mapping[str, Any]],
    weeks: Sequence[date | None],
    statuses: Mapping[tuple[str, date | None], PartitionStatus],
) -> dict[date | None, dict[str, str]]:
    """Per week, one version for each input: a hash over the weeks it is made from."""
    all_weeks = calendar()
    versions: dict[date | None, dict[str, str]] = {}
    for week in weeks:
        versions[week] = {}
        for asset, window in described.items():
            seen = [
                f"{w}={statuses[asset, w].data_version}"
                for w in admitted(window, week, all_weeks)
                if (asset, w) in statuses and statuses[asset, w].data_version != "empty"
            ]
            versions[week][asset] = hashlib.sha256("|".join(seen).encode()).hexdigest()[:12]
    return versions
