"""Which weeks the demand model learns from, is tuned on and is judged on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from models.calendar import ONE_WEEK, weeks_between

HORIZONS = (1, 4)

# With 26 the validation weeks come out no better, and each week costs the same.
TRAIN_WEEKS = 16
VALIDATION_WEEKS = 3
# A forecast is made by a model that is at most so many weeks old: on weeks 37-44 a new one every
# week was no better (deviance .4038 and .4040; never again .4058).
REFIT_WEEKS = 4
# Weeks of history that the first example should have, where the calendar is long enough.
WARM_UP_WEEKS = 13


@dataclass(frozen=True)
class DemandWeeks:
    """Target weeks of one horizon, ascending.

    Attributes:
        train: The final model learns from these.
        tuning_train: The part that trials learn from, and the model that scatter is measured on.
        validation: The rest.
    """

    train: tuple[date, ...]
    tuning_train: tuple[date, ...]
    validation: tuple[date, ...]


def demand_weeks(
    last: date, *, first: date, horizon: int, train_weeks: int = TRAIN_WEEKS
) -> DemandWeeks:
    """Target weeks up to ``last``.

    Args:
        last: Last week whose sales may be learned from.
        first: First week of the panel.
        horizon: Weeks ahead.
        train_weeks: At most so many.

    Raises:
        ValueError: Fewer than two weeks can be learned from.
    """
    earliest = first + horizon * ONE_WEEK
    known = weeks_between(earliest, last)
    if len(known) < 2:  # noqa: PLR2004
        raise ValueError(
            f"demand: the weeks {first} .. {last} leave {len(known)} to learn from, {horizon} "
            "week(s) ahead; at least 2 are needed: give more history"
        )
    warm = max(0, min(WARM_UP_WEEKS, len(known) - train_weeks))
    train = known[warm:][-train_weeks:]
    held = max(1, min(VALIDATION_WEEKS, len(train) // 3))
    return DemandWeeks(tuple(train), tuple(train[:-held]), tuple(train[-held:]))


@dataclass(frozen=True)
class Origin:
    """Weeks that one model forecasts.

    Attributes:
        targets: To forecast, ascending.
        train: To learn from, all known when the first target is forecast.
    """

    targets: tuple[date, ...]
    train: tuple[date, ...]


def origins(
    targets: Sequence[date],
    *,
    train: Sequence[date],
    horizon: int,
    available: Sequence[date],
    every: int = REFIT_WEEKS,
) -> list[Origin]:
    """Split weeks to forecast into stretches, each with the weeks its model learns from.

    The first model learns from ``train``; every later one from as many weeks, the last that are
    known ``horizon`` weeks before its first target.

    Args:
        targets: Weeks to forecast.
        train: What the first model learns from.
        horizon: Weeks between the last known week and a target.
        available: Weeks that can be learned from.
        every: Weeks that a model forecasts.
    """
    ordered = sorted(targets)
    made = [Origin(tuple(ordered[:every]), tuple(sorted(train)))]
    for start in range(every, len(ordered), every):
        known = ordered[start] - horizon * ONE_WEEK
        weeks = [w for w in sorted(set(available) | set(train)) if w <= known]
        made.append(Origin(tuple(ordered[start : start + every]), tuple(weeks[-len(train) :])))
    return made


def before(weeks: Sequence[date], *, extra: int, first: date) -> list[date]:
    """``weeks`` and the ``extra`` weeks before them that are not before ``first``."""
    return weeks_between(max(first, min(weeks) - extra * ONE_WEEK), max(weeks))
