"""How well known effects were recovered: slope, coverage, signs, and claims where nothing works."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

_KEY = ["store_id", "product_id", "week_start", "action"]
# A lift of less than this share of the largest has no sign worth finding.
_NEGLIGIBLE = 1e-9


@dataclass(frozen=True)
class Recovery:
    """One run: truth beside estimate.

    Attributes:
        slope: Of true on estimated net lift, least squares over actions.
        own_slope: The same for own lift.
        coverage: Share of actions whose 95 % interval holds the true net lift.
        sign_accuracy: Share of actions with a true lift whose estimate has its sign; each weighs
            as much as its lift.
        null_actions: Actions whose true lift is 0.
        null_claimed: Of these, the share with a lower bound above 0.
        claimed: Share of all actions with a lower bound above 0.
        claimed_true: Of these, the share whose true lift is above 0.
        total_ratio: Sum of estimated over sum of true net lift.
        actions: Rows.
    """

    slope: float | None
    own_slope: float | None
    coverage: float
    sign_accuracy: float | None
    null_actions: int
    null_claimed: float | None
    claimed: float
    claimed_true: float | None
    total_ratio: float | None
    actions: int


def recovery(estimated: pl.DataFrame, truth: pl.DataFrame) -> Recovery:
    """Compare lifts with the truth.

    Args:
        estimated: ``models.lift.action_lift.action_lift``.
        truth: The same rows with the true ``own`` and ``net``.

    Raises:
        ValueError: The two do not hold the same actions.
    """
    both = estimated.join(
        truth.select(*_KEY, pl.col("net").alias("true_net"), pl.col("own").alias("true_own")),
        on=_KEY,
        how="inner",
    )
    if not both.height == estimated.height == truth.height:
        raise ValueError(
            f"recovery: {estimated.height:,} estimates, {truth.height:,} truths, {both.height:,} "
            "in common; compare the same stores, products, weeks and actions"
        )
    net, true = both["net"].to_numpy(), both["true_net"].to_numpy()
    dust = _NEGLIGIBLE * max(float(np.abs(true).max()), 1.0)
    held = (both["low"].to_numpy() <= true + dust) & (both["high"].to_numpy() >= true - dust)
    null = np.abs(true) <= dust
    claimed = both["low"].to_numpy() > 0.0
    there = float(np.abs(true[~null]).sum())
    right = np.sign(net) == np.sign(true)
    return Recovery(
        slope=_slope(net, true),
        own_slope=_slope(both["own"].to_numpy(), both["true_own"].to_numpy()),
        coverage=float(held.mean()),
        sign_accuracy=float((np.abs(true) * right)[~null].sum()) / there if there > 0 else None,
        null_actions=int(null.sum()),
        null_claimed=float(claimed[null].mean()) if null.any() else None,
        claimed=float(claimed.mean()),
        claimed_true=float((true[claimed] > dust).mean()) if claimed.any() else None,
        total_ratio=float(net.sum() / true.sum()) if there > 0 else None,
        actions=both.height,
    )


def mean_and_error(values: Sequence[float | None]) -> tuple[float, float]:
    """Mean over runs and its Monte-Carlo standard error.

    Raises:
        ValueError: No run has a value.
    """
    known = np.array([v for v in values if v is not None], dtype=np.float64)
    if known.size == 0:
        raise ValueError("recovery: no run has a value to average; inject effects in some")
    error = float(known.std(ddof=1) / np.sqrt(known.size)) if known.size > 1 else float("nan")
    return float(known.mean()), error


def _slope(x: np.ndarray, y: np.ndarray) -> float | None:
    """Least squares with intercept; ``None`` where either does not vary."""
    centred = x - x.mean()
    total = float(centred @ centred)
    if total <= 0.0 or float(np.ptp(y)) == 0.0:
        return None
    return float(centred @ (y - y.mean()) / total)
