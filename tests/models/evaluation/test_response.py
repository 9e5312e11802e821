"""The response head on rolling campaigns: predicted by the past only, or said to be too few."""

from __future__ import annotations

import json
from datetime import timedelta

import polars as pl
import pytest

from models.evaluation import response as evaluation
from models.evaluation.response import (
    HEURISTIC,
    MODEL,
    average_precision,
    evaluate,
    evaluate_response,
    rolling_models,
    rolling_predictions,
)
from models.evaluation.response_report import LINEAGE, document, render_html, summary
from models.ranking import response
from tests.models.ranking.test_response import campaigns

MIN = 300


@pytest.fixture(scope="module")
def rows() -> pl.DataFrame:
    return campaigns(6)


@pytest.fixture(scope="module")
def found(rows: pl.DataFrame) -> evaluation.Evaluation:
    first = rows["started_at"].unique().sort()[4].date()
    return evaluate(rows, held_out_from=first, seed=1, min_positives=MIN, draws=200)


def test_a_model_learns_from_what_was_mature_before_the_start(rows: pl.DataFrame) -> None:
    starts = rows["started_at"].unique().sort().to_list()
    models = rolling_models(rows, seed=1, min_positives=MIN)
    # The first campaign has nothing behind it.
    assert models[0].started_at > starts[0]
    later = rows.with_columns(
        pl.when(pl.col("started_at") == starts[-1])
        .then(1 - pl.col(f"response_{days}d"))
        .otherwise(f"response_{days}d")
        .alias(f"response_{days}d")
        for days in response.WINDOWS
    )
    assert rolling_models(later, seed=1, min_positives=MIN) == models
    blind = rows.with_columns(
        (pl.col(response.known_at(28)) + timedelta(days=365)).alias(response.known_at(28))
    )
    assert rolling_models(blind, seed=1, min_positives=MIN) == []


def test_probabilities_are_learned_from_earlier_campaigns_only(rows: pl.DataFrame) -> None:
    models = rolling_models(rows, seed=1, min_positives=MIN)
    predicted = rolling_predictions(rows, models, days=28)
    first = predicted.filter(pl.col("started_at") == models[0].started_at)
    assert not first["calibrated"].any()
    assert predicted.filter(pl.col("started_at") == models[-1].started_at)["calibrated"].all()


def test_the_model_beats_a_heuristic_that_knows_nothing(found: evaluation.Evaluation) -> None:
    assert [(r.name, r.days) for r in found.results] == [
        ("held_out", 5),
        ("held_out", 28),
        ("rolling", 5),
        ("rolling", 28),
    ]
    for result in found.results:
        assert result.status == "measured", result.reason
        assert result.differences["ndcg@10"].low > 0
        assert "better than" in result.reason
        assert result.calibration[MODEL]["ece"] < result.calibration[HEURISTIC]["ece"]
        assert result.reach == 1.0
    assert set(found.results[0].campaigns) < set(found.results[2].campaigns)
    assert all(found.calibrations.values())


def test_too_few_responses_have_a_status_and_no_figure(rows: pl.DataFrame) -> None:
    models = rolling_models(rows, seed=1, min_positives=MIN)
    predicted = rolling_predictions(rows, models, days=28)
    few = predicted.filter(pl.col("household_id") < "hh0000000009")
    result = evaluate_response(few, name="rolling", days=28, seed=1, draws=10)
    assert result.status == "too_few"
    assert "9 households" in result.reason
    assert not result.metrics
    assert not result.differences
    assert result.as_dict()["models"] == {}
    nobody = evaluate_response(predicted.head(0), name="held_out", days=5, seed=1)
    assert nobody.status == "too_few"
    assert "no campaign could be predicted" in nobody.reason


def test_without_campaigns_the_whole_evaluation_says_so() -> None:
    found = evaluate(
        pl.DataFrame(schema=pl.Schema(response.SCHEMA)),
        held_out_from=pl.Series([0]).cast(pl.Date)[0],
        seed=1,
    )
    assert {r.status for r in found.results} == {"too_few"}
    assert set(found.calibrations.values()) == {None}
    page = render_html(document(found, model_version=None, lineage=dict.fromkeys(LINEAGE, "-")))
    assert "not trained: too few responses" in page
    assert "nothing can be said" in page


def test_the_report_is_whole_and_its_figures_are_json(found: evaluation.Evaluation) -> None:
    figures = document(found, model_version="abc", lineage=dict.fromkeys(LINEAGE, "-"))
    assert json.loads(json.dumps(figures)) == figures
    page = render_html(figures)
    assert "<script" not in page
    assert "http" not in page
    assert "not lift" in page
    sentences = summary(figures)
    assert len(sentences) == 5
    assert "better than chance would explain" in sentences[1]


def test_average_precision_by_hand() -> None:
    event = {"household_id": "ann", "as_of": "7"}
    ranking = pl.DataFrame(
        [event | {"product_id": p, "rank": i} for i, p in enumerate("abcd", start=1)]
    )
    bought = pl.DataFrame([event | {"product_id": p} for p in "acx"])
    # Hits at 1 and 3 of three bought: (1 + 2/3) / 3.
    found = average_precision(ranking, bought, k=10)
    assert found["ap"].to_list() == [pytest.approx((1 + 2 / 3) / 3)]
    assert average_precision(ranking, bought, k=1)["ap"].to_list() == [1.0]
