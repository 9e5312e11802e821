"""Whether a plan may be published: only if it is surely worth more than the plan that stands."""

from __future__ import annotations

import math
from dataclasses import dataclass

import polars as pl

from models.actions.candidates import KEY

PUBLISH, TEST = "publish", "run_a_test"


@dataclass(frozen=True)
class Verdict:
    """A plan against the one that stands, money per week after costs.

    Attributes:
        decision: ``publish`` or ``run_a_test``.
        reason: In words.
        low: Lower bound of the difference in value.
        estimate: The difference.
        high: Upper bound.
        unknown: Actions of the standing plan whose lift nobody estimated; left out of it.
    """

    decision: str
    reason: str
    low: float
    estimate: float
    high: float
    unknown: int


def judge(plan: pl.DataFrame, current: pl.DataFrame, *, unknown: int = 0) -> Verdict:
    """Compare a plan with the standing one.

    Actions of both cancel. Errors of one category's lifts are taken as going all the same way (its
    effects are estimated together), those of different categories as independent: half widths are
    added within a category and combined by their squares between categories.

    Args:
        plan: Chosen candidates.
        current: Candidates of the standing plan; it may rest on a model alone, it stands anyway.
        unknown: Actions of the standing plan that are no candidates.
    """
    columns = [*KEY, "category", "value_low", "value", "value_high", "cost"]
    ours = plan.select(columns).join(current.select(KEY), on=list(KEY), how="anti")
    theirs = current.select(columns).join(plan.select(KEY), on=list(KEY), how="anti")
    estimate = _net(ours) - _net(theirs)
    down = _reach(ours, theirs, ours_side="down")
    up = _reach(ours, theirs, ours_side="up")
    low, high = estimate - down, estimate + up
    if plan.is_empty():
        return Verdict(TEST, _nothing(), low, estimate, high, unknown)
    if low > 0:
        reason = f"it is worth at least {low:,.2f} a week more than the plan that stands"
        return Verdict(PUBLISH, reason, low, estimate, high, unknown)
    reason = (
        f"it may be worth {estimate:,.2f} a week more than the plan that stands, but the lower "
        f"bound is {low:,.2f}"
    )
    return Verdict(TEST, reason, low, estimate, high, unknown)


def _nothing() -> str:
    return "no action that may be taken is both proven and surely worth its cost"


def _net(rows: pl.DataFrame) -> float:
    return float((rows["value"] - rows["cost"]).sum())


def _reach(ours: pl.DataFrame, theirs: pl.DataFrame, *, ours_side: str) -> float:
    down = pl.col("value") - pl.col("value_low")
    up = pl.col("value_high") - pl.col("value")
    first, second = (down, up) if ours_side == "down" else (up, down)
    widths = pl.concat(
        [
            ours.select("category", first.alias("width")),
            theirs.select("category", second.alias("width")),
        ]
    )
    # Sorted: a sum of floats depends on the order of its terms.
    sums = widths.group_by("category").agg(pl.col("width").sort().sum()).sort("category")
    return math.fsum(width**2 for width in sums["width"]) ** 0.5
