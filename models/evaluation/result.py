"""What an evaluation found: one frozen value that the report, the gates and the registry read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Protocol

import polars as pl

from models.evaluation.bootstrap import Interval

Metrics = Mapping[str, Interval]


class Verdict(Protocol):
    """A gate's answer, as the report shows it."""

    @property
    def name(self) -> str: ...
    @property
    def passed(self) -> bool: ...
    @property
    def blocking(self) -> bool: ...
    @property
    def value(self) -> float | None: ...
    @property
    def threshold(self) -> float: ...
    @property
    def reason(self) -> str: ...


@dataclass(frozen=True)
class Lineage:
    """Where a model came from, enough to build it again.

    Attributes:
        model_version: Name of the model.
        data_snapshot: Version of the lake it read.
        feature_set_hash: Names and version of its inputs.
        git_revision: Of the code.
        seed: Of sampling, tuning, training and intervals.
        maturity_cut: Labels of weeks that closed after this were not used.
        train_as_ofs: As-of weeks it learned from.
        params: Parameters it was trained with.
    """

    model_version: str
    data_snapshot: str
    feature_set_hash: str
    git_revision: str
    seed: int
    maturity_cut: date | datetime
    train_as_ofs: tuple[date, ...] = ()
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Segment:
    """Part of what was bought, judged by itself.

    Attributes:
        name: ``repeat`` (bought before) or ``explore`` (never bought before).
        purchases: Products bought, over all events.
        events: Events with any of them.
        metrics: System to metric to value.
    """

    name: str
    purchases: int
    events: int
    metrics: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class EvaluationResult:
    """A model and its baselines on held-out weeks.

    Attributes:
        model: The system the others are compared with.
        k: Length of the judged list.
        weeks: As-of weeks judged, ascending.
        events: Household-weeks with a purchase.
        households: Households among them.
        metrics: System to ``recall@k``, ``ndcg@k``, ``phr@k`` to its interval.
        differences: Baseline to metric to the paired interval of model minus baseline.
        by_week: ``as_of, system, events, recall, ndcg, hit``.
        segments: Repeat and explore.
        candidate_recall: ``source, recall, share, candidates_per_event``.
        importance: ``feature, gain``; gain sums to 1.
        lineage: Where the model came from.
        gates: Verdicts, filled in after the gates have read this.
    """

    model: str
    k: int
    weeks: tuple[date, ...]
    events: int
    households: int
    metrics: Mapping[str, Metrics]
    differences: Mapping[str, Metrics]
    by_week: pl.DataFrame
    segments: tuple[Segment, ...]
    candidate_recall: pl.DataFrame
    importance: pl.DataFrame
    lineage: Lineage
    gates: tuple[Verdict, ...] = ()

    @property
    def baselines(self) -> tuple[str, ...]:
        return tuple(name for name in self.metrics if name != self.model)

    @property
    def best_baseline(self) -> str:
        """The baseline with the highest NDCG."""
        return max(self.baselines, key=lambda name: self.metrics[name][f"ndcg@{self.k}"].estimate)
