"""The one weekly calendar of the graph, and the windows of weeks one asset may see of another.

Two partitions definitions cannot share a run, so there is one. A window is arithmetic on weeks and
becomes a Dagster partition mapping, so that point-in-time correctness stands in the graph.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import dagster as dg

from models.calendar import ONE_WEEK, weeks_between
from resources.settings import get_settings

warnings.filterwarnings("ignore", category=dg.BetaWarning)
warnings.filterwarnings("ignore", category=dg.PreviewWarning)

_settings = get_settings()

# A closed calendar names its end: the week after the coming one. An open calendar follows the
# clock; its last key is the week under way, which is what scores and plans are for.
WEEKLY = dg.WeeklyPartitionsDefinition(
    start_date=_settings.first_week.isoformat(),
    end_date=(_settings.last_week + 2 * ONE_WEEK).isoformat() if _settings.last_week else None,
    timezone=_settings.time_zone,
    day_offset=1,
    end_offset=0 if _settings.last_week else 1,
)

# Further back than any calendar here reaches.
_EVER = -520


@dataclass(frozen=True)
class WeekWindow:
    """Which weeks of an input a week may see: offsets from ``start`` to ``end``, both included."""

    start: int
    end: int

    @property
    def mapping(self) -> dg.TimeWindowPartitionMapping:
        return dg.TimeWindowPartitionMapping(
            start_offset=self.start,
            end_offset=self.end,
            allow_nonexistent_upstream_partitions=True,
        )

    def bounds(self, weeks: Sequence[date]) -> tuple[date, date]:
        """First and last week that any of ``weeks`` may see."""
        return min(weeks) + self.start * ONE_WEEK, max(weeks) + self.end * ONE_WEEK

    def admits(self, week: date, calendar: Sequence[date]) -> list[date]:
        """Weeks of ``calendar`` that ``week`` may see."""
        first, last = self.bounds([week])
        return [w for w in calendar if first <= w <= last]


SAME_WEEK = WeekWindow(0, 0)
PAST = WeekWindow(_EVER, -1)
PAST_AND_SAME_WEEK = WeekWindow(_EVER, 0)
# Windows of 364 and of 91 days count whole weeks.
PAST_YEAR = WeekWindow(-52, -1)
PAST_QUARTER = WeekWindow(-13, -1)


def calendar() -> list[date]:
    """Every week of the graph, the coming one last."""
    keys = WEEKLY.get_partition_keys()
    return weeks_between(date.fromisoformat(keys[0]), date.fromisoformat(keys[-1]))


def as_weeks(keys: Sequence[str]) -> list[date]:
    return [date.fromisoformat(k) for k in keys]


def last_data_week() -> date:
    """The last week that has ended: what raw data may hold."""
    return calendar()[-1] - timedelta(days=7)
