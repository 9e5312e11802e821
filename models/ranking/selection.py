"""Which family is served, by a rule that was written down before the figures were known.

All families are judged on the same events of the validation weeks. XGBoost is the incumbent: the
service, the reasons and the latency budget are made for it. A challenger wins only if the paired,
household-blocked 95 % interval of its NDCG@10 minus XGBoost's lies wholly above zero; of several,
the one with the highest mean; of equals, the one named first. Nobody picks.

XGBoost is what is stored as ``model.ubj`` either way. A challenger that won is named in
``Selection.overtaken_by``, which a gate can read and the report must say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from models.evaluation.bootstrap import DRAWS, Interval, paired_interval

INCUMBENT = "xgboost"
METRIC = "ndcg"


@dataclass(frozen=True)
class Selection:
    """What the rule found.

    Attributes:
        winner: By the rule above.
        served: The incumbent.
        overtaken_by: The winner, unless it is the incumbent.
        means: Family to mean NDCG@10 on the validation weeks.
        differences: Challenger to the interval of its NDCG@10 minus the incumbent's.
    """

    winner: str
    served: str
    overtaken_by: str | None
    means: Mapping[str, float]
    differences: Mapping[str, Interval]

    @property
    def reason(self) -> str:
        """The verdict in words."""
        shown = "; ".join(
            f"{name} {self.means[name]:.4f} ({d.estimate:+.4f}, {d.low:+.4f} to {d.high:+.4f})"
            for name, d in self.differences.items()
        )
        verdict = (
            f"{self.overtaken_by} ranks significantly better than {self.served}, which is served"
            if self.overtaken_by
            else f"no challenger ranks significantly better than {self.served}"
        )
        return (
            f"{verdict}: {self.served} {self.means[self.served]:.4f}; {shown} (NDCG@10 on the "
            f"validation weeks, difference with its 95 % interval)"
        )

    def as_dict(self) -> dict[str, Any]:
        """JSON values for a model's facts."""
        return {
            "winner": self.winner,
            "served": self.served,
            "overtaken_by": self.overtaken_by,
            "means": dict(self.means),
            "differences": {name: d.as_dict() for name, d in self.differences.items()},
            "reason": self.reason,
        }


def select(
    judged: Mapping[str, pl.DataFrame],
    *,
    seed: int,
    incumbent: str = INCUMBENT,
    draws: int = DRAWS,
) -> Selection:
    """Apply the rule.

    Args:
        judged: Family to ``metrics.per_event`` of the same events.
        seed: Of the bootstrap.
        incumbent: The family that is served.
        draws: Bootstrap samples.

    Raises:
        ValueError: The incumbent was not judged, or families were judged on different events.
    """
    if incumbent not in judged:
        raise ValueError(
            f"select(): {incumbent!r} is served but only {sorted(judged)} were judged; judge it too"
        )
    # Sorted, because a mean of floats depends on the order of its terms.
    means = {name: float(events[METRIC].sort().mean()) for name, events in judged.items()}  # type: ignore[arg-type]
    differences = {
        name: paired_interval(events, judged[incumbent], METRIC, seed=seed, draws=draws)
        for name, events in judged.items()
        if name != incumbent
    }
    better = [name for name, interval in differences.items() if interval.low > 0.0]
    winner = max(better, key=lambda name: means[name]) if better else incumbent
    return Selection(
        winner=winner,
        served=incumbent,
        overtaken_by=winner if better else None,
        means=means,
        differences=differences,
    )
