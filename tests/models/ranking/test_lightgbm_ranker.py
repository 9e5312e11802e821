from __future__ import annotations

import polars as pl
import pytest

from models.evaluation.metrics import mean_metrics, per_event
from models.ranking import lightgbm_ranker
from models.ranking.offers import ranked_offers
from tests.models.ranking.conftest import FEATURES, weeks


def train(frame: pl.DataFrame, **changes: object) -> bytes:
    return lightgbm_ranker.train(
        frame,
        **{"features": FEATURES, "rounds": 10, "seed": 3, **changes},  # type: ignore[arg-type]
    )


@pytest.fixture(scope="module")
def model(shop: pl.DataFrame) -> bytes:
    return train(shop.filter(pl.col("as_of") < weeks(6)[0]))


def test_identical_over_runs_and_threads(shop: pl.DataFrame, model: bytes) -> None:
    frame = shop.filter(pl.col("as_of") < weeks(6)[0])
    assert train(frame) == model
    assert train(frame, threads=1) == model
    assert train(frame, threads=3) == model
    assert train(frame, seed=4) != model
    assert b"num_threads" not in model


def test_it_learns(shop: pl.DataFrame, bought: pl.DataFrame, model: bytes) -> None:
    held_out = shop.filter(pl.col("as_of") >= weeks(6)[0])
    truth = bought.filter(pl.col("as_of") >= weeks(6)[0])

    def ndcg(score: pl.Series) -> float:
        ranking = ranked_offers(held_out.with_columns(score), k=10, model_version="m")
        return mean_metrics(per_event(ranking, truth, k=10), k=10)["ndcg@10"]

    tied = pl.Series("score", [0.0] * held_out.height)
    assert ndcg(lightgbm_ranker.score_frame(model, held_out)) > ndcg(tied) + 0.1


def test_column_order_of_a_frame_does_not_matter(shop: pl.DataFrame, model: bytes) -> None:
    one = lightgbm_ranker.score_frame(model, shop.head(50))
    assert one.equals(
        lightgbm_ranker.score_frame(model, shop.head(50).select(reversed(shop.columns)))
    )
    assert one.equals(lightgbm_ranker.score_frame(lightgbm_ranker.load(model), shop.head(50)))


def test_one_dataset_serves_every_leaf_size(shop: pl.DataFrame) -> None:
    data = lightgbm_ranker.prepare(shop, features=FEATURES)
    defaults = lightgbm_ranker.DEFAULT_PARAMS
    for leaf in (200, 10):
        params = {**defaults, "min_data_in_leaf": leaf}
        reused = lightgbm_ranker.fit(data, params=params, rounds=4, seed=3)
        assert reused == train(shop, params=params, rounds=4)


def test_unsorted_rows_are_refused(shop: pl.DataFrame) -> None:
    with pytest.raises(ValueError, match="not sorted"):
        train(shop.reverse())


def test_fixed_parameters_cannot_be_overridden(shop: pl.DataFrame) -> None:
    with pytest.raises(ValueError, match="objective"):
        train(shop, params={"objective": "binary"})
