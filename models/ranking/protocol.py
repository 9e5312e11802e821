"""Which weeks a model learns from, is tuned on and is judged on, relative to the coming week.

Rolling-origin discipline: a label may be used only when its window has closed and late sales have
had their time, both as seen from the first week that is judged.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

from models.calendar import ONE_WEEK, monday_of, weeks_between

# Two months: long enough for intervals, short enough to be about the present.
HELD_OUT_WEEKS = 8
# More weeks than these did not help on the tuning weeks, and each costs the same.
TRAIN_WEEKS = 6
# The last training weeks that tuning is judged on.
VALIDATION_WEEKS = 2


@dataclass(frozen=True)
class Protocol:
    """Weeks of one training, ascending.

    Attributes:
        train: As-ofs whose labels the final model learns from.
        tuning_train: The part of them that trials learn from.
        validation: The rest of them, that trials are judged on.
        held_out: As-ofs that are judged once, for the report.
        coming: The week that is served.
    """

    train: tuple[date, ...]
    tuning_train: tuple[date, ...]
    validation: tuple[date, ...]
    held_out: tuple[date, ...]
    coming: date


def protocol(
    coming: date,
    *,
    first: date,
    allowance_days: int,
    held_out_weeks: int = HELD_OUT_WEEKS,
    train_weeks: int = TRAIN_WEEKS,
    validation_weeks: int = VALIDATION_WEEKS,
) -> Protocol:
    """Weeks of a training that serves ``coming``.

    Args:
        coming: Monday of the week to serve.
        first: First week of the data; no as-of lies before the week after it.
        allowance_days: Days that late sales are waited for after a label's window.
        held_out_weeks: Weeks to judge on.
        train_weeks: Weeks to learn from, at most.
        validation_weeks: Of these, weeks that trials are judged on.

    Raises:
        ValueError: The history is too short.
    """
    wait = ONE_WEEK + timedelta(days=allowance_days)
    last_held_out = monday_of(coming - wait)
    held_out = weeks_between(last_held_out - (held_out_weeks - 1) * ONE_WEEK, last_held_out)
    last_train = monday_of(held_out[0] - wait)
    earliest = max(first + ONE_WEEK, last_train - (train_weeks - 1) * ONE_WEEK)
    train = weeks_between(earliest, last_train)
    if len(train) <= validation_weeks:
        needed = held_out_weeks + validation_weeks + 2 + 2 * (wait // ONE_WEEK)
        raise ValueError(
            f"the history {first} .. {coming} leaves {len(train)} week(s) to learn from; "
            f"at least {needed} weeks of data are needed before the coming week"
        )
    return Protocol(
        train=tuple(train),
        tuning_train=tuple(train[:-validation_weeks]),
        validation=tuple(train[-validation_weeks:]),
        held_out=tuple(held_out),
        coming=coming,
    )
