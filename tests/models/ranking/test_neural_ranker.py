from __future__ import annotations

import io

import numpy as np
import polars as pl
import pytest
from threadpoolctl import threadpool_limits

from models.evaluation.metrics import mean_metrics, per_event
from models.ranking import neural_ranker
from models.ranking.neural_ranker import Inputs
from models.ranking.offers import ranked_offers
from tests.models.ranking.conftest import FEATURES, weeks


def train(frame: pl.DataFrame, **changes: object) -> bytes:
    return neural_ranker.train(
        frame,
        **{"features": FEATURES, "seed": 3, **changes},  # type: ignore[arg-type]
    )


@pytest.fixture(scope="module")
def model(shop: pl.DataFrame) -> bytes:
    return train(shop.filter(pl.col("as_of") < weeks(6)[0]))


def test_identical_over_runs_and_threads(shop: pl.DataFrame, model: bytes) -> None:
    frame = shop.filter(pl.col("as_of") < weeks(6)[0])
    assert train(frame) == model
    with threadpool_limits(limits=2):
        assert train(frame) == model
    assert train(frame, seed=4) != model


def test_it_learns(shop: pl.DataFrame, bought: pl.DataFrame, model: bytes) -> None:
    held_out = shop.filter(pl.col("as_of") >= weeks(6)[0])
    truth = bought.filter(pl.col("as_of") >= weeks(6)[0])

    def ndcg(score: pl.Series) -> float:
        ranking = ranked_offers(held_out.with_columns(score), k=10, model_version="m")
        return mean_metrics(per_event(ranking, truth, k=10), k=10)["ndcg@10"]

    tied = pl.Series("score", [0.0] * held_out.height)
    assert ndcg(neural_ranker.score_frame(model, held_out)) > ndcg(tied) + 0.1


def test_column_order_of_a_frame_does_not_matter(shop: pl.DataFrame, model: bytes) -> None:
    one = neural_ranker.score_frame(model, shop.head(50))
    assert one.equals(
        neural_ranker.score_frame(model, shop.head(50).select(reversed(shop.columns)))
    )


def test_numpy_scores_as_scikit_learn_does(shop: pl.DataFrame) -> None:
    from sklearn.neural_network import MLPClassifier

    data = neural_ranker.prepare(shop, features=FEATURES, seed=3)
    params = neural_ranker.DEFAULT_PARAMS
    with pytest.warns(UserWarning, match="Maximum iterations"):
        network = MLPClassifier(
            hidden_layer_sizes=(params["hidden"],),
            alpha=params["alpha"],
            learning_rate_init=params["learning_rate_init"],
            batch_size=neural_ranker.BATCH,
            max_iter=neural_ranker.EPOCHS,
            random_state=3,
        ).fit(data.matrix, data.labels)
    rows = neural_ranker.thin_negatives(
        neural_ranker.learnable(shop), per_positive=neural_ranker.NEGATIVES_PER_POSITIVE, seed=3
    )
    ours = neural_ranker.score_frame(train(shop), rows).to_numpy()
    theirs = network.predict_proba(data.matrix)[:, 1]
    assert 1 / (1 + np.exp(-ours)) == pytest.approx(theirs, abs=1e-4)


def test_a_model_holds_no_pickle(model: bytes) -> None:
    with np.load(io.BytesIO(model), allow_pickle=False) as held:
        arrays = {name: held[name] for name in held.files}
    assert arrays["features"].tolist() == list(FEATURES)
    # Four features, and a flag for the one that is missing in 5 % of rows.
    assert arrays["weights_0"].shape == (5, neural_ranker.DEFAULT_PARAMS["hidden"])


def test_inputs_by_hand() -> None:
    e = float(np.e)
    matrix = np.array([[0.0, 7.0], [e - 1, 7.0], [1 - e, 7.0], [np.nan, 7.0]], dtype=np.float32)
    inputs = Inputs.of(matrix, ("a", "b"))
    # Logs 0, 1, -1: mean 0, deviation sqrt(2/3); a constant is divided by 1.
    assert inputs.flagged.tolist() == [0]
    expected = [[0, 0, 0], [1.5**0.5, 0, 0], [-(1.5**0.5), 0, 0], [0, 0, 1]]
    assert inputs.apply(matrix) == pytest.approx(np.array(expected), abs=1e-5)
    far = np.array([[1e30, 7.0]], dtype=np.float32)
    assert inputs.apply(far)[0, 0] == neural_ranker.CLIP


def test_features_that_are_missing_together_share_a_flag() -> None:
    matrix = np.array([[np.nan, np.nan, 1.0], [1.0, 2.0, np.nan]], dtype=np.float32)
    assert Inputs.of(matrix, ("a", "b", "c")).flagged.tolist() == [0, 2]


def test_other_parameters_are_refused(shop: pl.DataFrame) -> None:
    with pytest.raises(ValueError, match="momentum"):
        train(shop, params={**neural_ranker.DEFAULT_PARAMS, "momentum": 0.9})
