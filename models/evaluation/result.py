"""What an evaluation found: one frozen value that the report, the gates and the registry read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Protocol

import polars as pl

from models.evaluation.bootstrap import Interval
from models.evaluation.calibration import Calibration
from models.evaluation.fairness import GroupGap
from models.evaluation.leakage import LeakageProbe
from models.evaluation.slices import Slice

Metrics = Mapping[str, Interval]

# What the household buys most, then what everybody does: the rule that every part is held against.
REFERENCE = "gp_topfreq"
# The registered model's ranking, where there is one.
CHAMPION = "champion"


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
    @property
    def evidence(self) -> Mapping[str, Any]: ...


class Forced(Protocol):
    """Who decided to go on past a failed gate, and why."""

    @property
    def reason(self) -> str: ...
    @property
    def actor(self) -> str: ...


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
        selection: How its family was chosen, in words.
        overtaken_by: A family that was better on the tuning weeks and is not served.
    """

    model_version: str
    data_snapshot: str
    feature_set_hash: str
    git_revision: str
    seed: int
    maturity_cut: date | datetime
    train_as_ofs: tuple[date, ...] = ()
    params: Mapping[str, Any] = field(default_factory=dict)
    selection: str = ""
    overtaken_by: str | None = None


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
class Audit:
    """What is asked of the model beside its place among the systems.

    Attributes:
        calibration: Of the served probabilities; ``None`` if the model gives none.
        slices: Error analysis.
        fairness: One per attribute.
        popularity: ``popularity_table`` of every system.
        leakage: Probes; ``None`` if nothing could be probed.
    """

    calibration: Calibration | None = None
    slices: tuple[Slice, ...] = ()
    fairness: tuple[GroupGap, ...] = ()
    popularity: pl.DataFrame | None = None
    leakage: LeakageProbe | None = None


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
        differences: System to metric to the paired interval of model minus that system.
        by_week: ``as_of, system, events, recall, ndcg, hit``.
        segments: Repeat and explore.
        candidate_recall: ``source_table`` of the candidates.
        overlap: ``overlap_table`` of the candidates.
        importance: ``feature, gain``; gain sums to 1.
        lineage: Where the model came from.
        challengers: Systems learned from the same rows; compared with, and no baselines.
        audit: Calibration, slices, fairness, popularity, leakage.
        scopes: Parts of the range, judged by themselves.
        gates: Verdicts, filled in after the gates have read this.
        override: The decision to go on past failed gates, if there was one.
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
    overlap: pl.DataFrame
    importance: pl.DataFrame
    lineage: Lineage
    challengers: tuple[str, ...] = ()
    audit: Audit = field(default_factory=Audit)
    scopes: Mapping[str, EvaluationResult] = field(default_factory=dict)
    gates: tuple[Verdict, ...] = ()
    override: Forced | None = None

    @property
    def baselines(self) -> tuple[str, ...]:
        """Every other system that is neither a challenger nor the champion."""
        others = {self.model, CHAMPION, *self.challengers}
        return tuple(name for name in self.metrics if name not in others)

    @property
    def best_baseline(self) -> str:
        """The baseline with the highest NDCG."""
        return max(self.baselines, key=lambda name: self.metrics[name][f"ndcg@{self.k}"].estimate)
