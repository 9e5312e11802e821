from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import polars as pl
import pytest

from models.evaluation.bootstrap import paired_interval
from models.evaluation.figures import metrics_json
from models.evaluation.metrics import mean_metrics, per_event
from models.evaluation.ranking import evaluate_ranking
from models.evaluation.result import EvaluationResult
from models.evaluation.sources import candidate_events
from tests.models.evaluation.conftest import FIRST, SOURCES, evaluated, rankings_and_truth


def test_every_system_on_the_same_purchases(result: EvaluationResult) -> None:
    rankings, truth = rankings_and_truth()
    for name, ranking in rankings.items():
        means = mean_metrics(per_event(ranking, truth, k=3), k=3)
        assert {m: i.estimate for m, i in result.metrics[name].items()} == pytest.approx(means)
    assert result.events == truth.select(pl.struct("household_id", "as_of").n_unique()).item()
    assert result.weeks == tuple(FIRST + timedelta(weeks=w) for w in range(3))


def test_differences_are_the_paired_intervals(result: EvaluationResult) -> None:
    rankings, truth = rankings_and_truth()
    model, baseline = (per_event(rankings[n], truth, k=3) for n in ("xgboost", "gp_topfreq"))
    want = paired_interval(model, baseline, "ndcg", seed=3, draws=300)
    got = result.differences["gp_topfreq"]["ndcg@3"]
    assert (got.estimate, got.low, got.high) == pytest.approx((want.estimate, want.low, want.high))
    assert set(result.differences) == {"g_topfreq", "gp_topfreq"}
    assert result.best_baseline == "gp_topfreq"


def test_segments_add_up_to_all_purchases(result: EvaluationResult) -> None:
    _, truth = rankings_and_truth()
    assert [s.name for s in result.segments] == ["repeat", "explore"]
    assert sum(s.purchases for s in result.segments) == truth.unique().height


def test_weeks_average_to_the_whole(result: EvaluationResult) -> None:
    part = result.by_week.filter(pl.col("system") == "xgboost")
    weighted = (part["ndcg"] * part["events"]).sum() / part["events"].sum()
    assert weighted == pytest.approx(result.metrics["xgboost"]["ndcg@3"].estimate)


def test_the_order_of_rows_changes_no_bit(result: EvaluationResult) -> None:
    rankings, truth = rankings_and_truth()
    candidates = rankings["xgboost"].with_columns(
        pl.when(pl.col("rank") <= 4).then("rank").alias("personal_rank"),
        pl.col("rank").alias("global_rank"),
    )
    shuffled = evaluated(
        purchases=truth.sample(fraction=1, shuffle=True, seed=8),
        candidates=candidate_events(
            candidates.sample(fraction=1, shuffle=True, seed=9), truth, sources=SOURCES
        ),
    )
    assert metrics_json(shuffled) == metrics_json(result)


def test_training_on_a_judged_week_is_refused(result: EvaluationResult) -> None:
    with pytest.raises(ValueError, match="holds out"):
        evaluated(lineage=replace(result.lineage, train_as_ofs=(FIRST,)))


def test_a_baseline_is_needed(result: EvaluationResult) -> None:
    rankings, truth = rankings_and_truth()
    with pytest.raises(ValueError, match="at least one baseline"):
        evaluate_ranking(
            {"xgboost": rankings["xgboost"]},
            model="xgboost",
            purchases=truth,
            lines=pl.LazyFrame(),
            candidates=pl.DataFrame(),
            sources=(),
            importance=result.importance,
            lineage=result.lineage,
            k=3,
            seed=1,
        )
