from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from models.evaluation.metrics import mean_metrics, per_event
from models.ranking import xgboost_classifier
from models.ranking.offers import ranked_offers
from tests.models.ranking.conftest import FEATURES, weeks


def train(frame: pl.DataFrame, **changes: object) -> bytes:
    return xgboost_classifier.train(
        frame,
        **{"features": FEATURES, "rounds": 15, "seed": 3, **changes},  # type: ignore[arg-type]
    )


@pytest.fixture(scope="module")
def model(shop: pl.DataFrame) -> bytes:
    return train(shop.filter(pl.col("as_of") < weeks(6)[0]))


def test_byte_identical_over_runs_and_threads(shop: pl.DataFrame, model: bytes) -> None:
    frame = shop.filter(pl.col("as_of") < weeks(6)[0])
    assert train(frame) == model
    assert train(frame, threads=1) == model
    assert train(frame, threads=3) == model
    assert train(frame, seed=4) != model


def test_it_learns(shop: pl.DataFrame, bought: pl.DataFrame, model: bytes) -> None:
    held_out = shop.filter(pl.col("as_of") >= weeks(6)[0])
    truth = bought.filter(pl.col("as_of") >= weeks(6)[0])

    def ndcg(score: pl.Series) -> float:
        ranking = ranked_offers(held_out.with_columns(score), k=10, model_version="m")
        return mean_metrics(per_event(ranking, truth, k=10), k=10)["ndcg@10"]

    tied = pl.Series("score", [0.0] * held_out.height)
    assert ndcg(xgboost_classifier.score_frame(model, held_out)) > ndcg(tied) + 0.1


def test_with_all_rows_the_odds_are_those_of_a_purchase(shop: pl.DataFrame, model: bytes) -> None:
    held_out = shop.filter(pl.col("as_of") >= weeks(6)[0])
    # Fewer than eight others per purchase: none was left out.
    p = 1 / (1 + np.exp(-xgboost_classifier.score_frame(model, held_out).to_numpy()))
    assert p.mean() == pytest.approx(held_out["label"].mean(), abs=0.02)


def test_events_without_a_purchase_are_learned_from(shop: pl.DataFrame) -> None:
    never = shop.with_columns(
        pl.when(pl.col("as_of") < weeks(4)[0])
        .then("label")
        .otherwise(0)
        .cast(pl.Int8)
        .alias("label")
    )
    data = xgboost_classifier.prepare(
        never, features=FEATURES, seed=1, negatives_per_positive=100.0
    )
    assert data.rows == shop.height


def test_unsorted_rows_are_refused(shop: pl.DataFrame) -> None:
    with pytest.raises(ValueError, match="not sorted"):
        train(shop.reverse())


def test_no_purchase_at_all_is_refused(shop: pl.DataFrame) -> None:
    with pytest.raises(ValueError, match="nothing to learn"):
        train(shop.with_columns(pl.lit(0, pl.Int8).alias("label")))


def test_fixed_parameters_cannot_be_overridden(shop: pl.DataFrame) -> None:
    with pytest.raises(ValueError, match="objective"):
        train(shop, params={"objective": "rank:ndcg"})
