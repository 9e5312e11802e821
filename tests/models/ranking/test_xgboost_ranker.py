from __future__ import annotations

from datetime import datetime

import numpy as np
import polars as pl
import pytest

from checks.contracts.contract import validate
from checks.contracts.ranking import RANKED_OFFERS
from models import xgboost_booster
from models.evaluation.metrics import mean_metrics, per_event
from models.ranking import xgboost_ranker
from models.ranking.offers import ranked_offers
from tests.models.ranking.conftest import FEATURES, weeks

ROUNDS = 15


def train(frame: pl.DataFrame, **changes: object) -> bytes:
    return xgboost_ranker.train(
        frame,
        **{"features": FEATURES, "rounds": ROUNDS, "seed": 3, **changes},  # type: ignore[arg-type]
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
    scored = held_out.with_columns(xgboost_ranker.score_frame(model, held_out))
    shuffled = held_out.with_columns(pl.lit(0.0).alias("score"))

    def ndcg(frame: pl.DataFrame) -> float:
        ranking = ranked_offers(frame, k=10, model_version="m")
        return mean_metrics(per_event(ranking, truth, k=10), k=10)["ndcg@10"]

    assert ndcg(scored) > ndcg(shuffled) + 0.1
    assert xgboost_booster.importance(model)["feature"][0] == "hp_habit"


def test_importance_lists_every_feature_and_sums_to_one(model: bytes) -> None:
    gains = xgboost_booster.importance(model)
    assert sorted(gains["feature"]) == sorted(FEATURES)
    assert gains["gain"].sum() == pytest.approx(1.0)


def test_the_model_carries_its_feature_names(model: bytes) -> None:
    assert xgboost_booster.feature_names(model) == list(FEATURES)


def test_column_order_of_a_frame_does_not_matter(shop: pl.DataFrame, model: bytes) -> None:
    one = xgboost_ranker.score_frame(model, shop.head(50))
    other = xgboost_ranker.score_frame(model, shop.head(50).select(reversed(shop.columns)))
    assert one.equals(other)
    matrix = xgboost_booster.to_matrix(shop.head(50), FEATURES)
    assert np.array_equal(xgboost_ranker.score(xgboost_booster.load(model), matrix), one.to_numpy())


def test_a_frame_in_pieces_or_without_rows_is_scored(shop: pl.DataFrame, model: bytes) -> None:
    pieces = pl.concat([shop.head(20), shop.slice(20, 30)], rechunk=False)
    matrix = xgboost_booster.to_matrix(pieces, FEATURES)
    expected = xgboost_ranker.score(model, matrix).astype(float)
    assert np.array_equal(xgboost_ranker.score_frame(model, pieces).to_numpy(), expected)
    assert xgboost_ranker.score_frame(model, shop.head(0)).is_empty()
    nan = pieces.with_columns(pl.col("hp_habit").fill_null(float("nan")))
    assert np.array_equal(xgboost_ranker.score_frame(model, nan).to_numpy(), expected)


def test_a_null_feature_is_nan(shop: pl.DataFrame) -> None:
    frame = shop.filter(pl.col("hp_habit").is_null()).head(3)
    matrix = xgboost_booster.to_matrix(frame, FEATURES)
    assert matrix.dtype == np.float32
    assert matrix.flags.c_contiguous
    assert np.isnan(matrix[:, 1]).all()


def test_events_without_a_purchase_teach_nothing(shop: pl.DataFrame) -> None:
    extra = shop.filter(pl.col("as_of") == weeks(0)[0]).with_columns(
        pl.lit(weeks(7)[0]).alias("as_of"), pl.lit(0, pl.Int8).alias("label")
    )
    base = shop.filter(pl.col("as_of") < weeks(6)[0])
    data = xgboost_ranker.prepare(pl.concat([base, extra]), features=FEATURES)
    assert data.events == xgboost_ranker.prepare(base, features=FEATURES).events


def test_unsorted_rows_are_refused(shop: pl.DataFrame) -> None:
    with pytest.raises(ValueError, match="not sorted"):
        train(shop.reverse())


def test_no_purchase_at_all_is_refused(shop: pl.DataFrame) -> None:
    with pytest.raises(ValueError, match="nothing to learn"):
        train(shop.with_columns(pl.lit(0, pl.Int8).alias("label")))


def test_fixed_parameters_cannot_be_overridden(shop: pl.DataFrame) -> None:
    with pytest.raises(ValueError, match="objective"):
        train(shop, params={"objective": "binary:logistic"})


def scored(scores: list[float]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "household_id": ["ann000000000"] * len(scores),
            "product_id": [f"p{9 - i}" for i in range(len(scores))],
            "as_of": weeks(0) * len(scores),
            "known_at": pl.Series(
                [datetime.fromisoformat("2017-01-02")] * len(scores), dtype=pl.Datetime("us")
            ),
            "source": ["personal"] * len(scores),
            "score": scores,
        }
    )


def told(offers: pl.DataFrame) -> pl.DataFrame:
    """With the columns that are told of offers once they are ranked."""
    return offers.with_columns(
        pl.lit(0.5).alias("probability"), pl.lit("Bought before").alias("reasons")
    )


def test_offers_by_hand() -> None:
    frame = ranked_offers(scored([0.1, 0.9, 0.5]), k=2, model_version="m1")
    assert frame.select("rank", "product_id", "score", "model_version").rows() == [
        (1, "p8", 0.9, "m1"),
        (2, "p7", 0.5, "m1"),
    ]
    assert validate(told(frame), RANKED_OFFERS).passed


def test_all_tied_scores_go_by_product_id() -> None:
    frame = ranked_offers(scored([0.5] * 3), k=3, model_version="m1")
    assert frame["product_id"].to_list() == ["p7", "p8", "p9"]


@pytest.mark.parametrize(
    "bad",
    [
        pl.col("rank") + 1,
        pl.lit(1, pl.Int32).alias("rank"),
        -pl.col("score"),
        pl.lit("elsewhere").alias("source"),
        pl.lit(1.5).alias("probability"),
        pl.lit("").alias("reasons"),
    ],
)
def test_a_bad_list_breaks_the_contract(bad: pl.Expr) -> None:
    frame = ranked_offers(scored([0.1, 0.9, 0.5]), k=3, model_version="m1")
    assert not validate(told(frame).with_columns(bad), RANKED_OFFERS).passed


def test_a_missing_score_is_refused() -> None:
    with pytest.raises(ValueError, match="1 of 2 scores"):
        ranked_offers(scored([float("nan"), 1.0]), k=2, model_version="m1")
