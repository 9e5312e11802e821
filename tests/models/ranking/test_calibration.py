from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.ranking import xgboost_classifier, xgboost_ranker
from models.ranking.calibration import (
    CERTAINTY,
    Calibration,
    _map,
    fit_calibration,
    probabilities,
    reliability,
    served,
)
from tests.models.ranking.conftest import FEATURES, weeks

N = 20_000


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def offers(truth: object = None, *, rows: int = N, seed: int = 1, as_ofs: int = 2) -> pl.DataFrame:
    """Log-odds and outcomes whose probability is ``truth(log_odds)``."""
    rng = np.random.default_rng(seed)
    x = rng.normal(-1.0, 1.5, size=rows)
    p = sigmoid(x) if truth is None else truth(x)  # type: ignore[operator]
    return pl.DataFrame(
        {
            "as_of": [weeks(i % as_ofs)[0] for i in range(rows)],
            "score": x,
            "label": (rng.random(rows) < p).astype(np.int8),
        }
    )


def overconfident(x: np.ndarray) -> np.ndarray:
    return sigmoid(0.5 * x - 1.0)


def staircase(x: np.ndarray) -> np.ndarray:
    return np.where(x < -1, 0.05, np.where(x < 0, 0.2, 0.6))


def on_new_offers(fitted: Calibration, truth: object) -> dict[str, float]:
    new = offers(truth, seed=9)
    return reliability(pl.Series(fitted.apply(new["score"].to_numpy())), new["label"])


@pytest.mark.parametrize("truth", [sigmoid, overconfident, staircase])
def test_calibrated_on_offers_not_seen(truth: object) -> None:
    figures = on_new_offers(fit_calibration(offers(truth)), truth)
    assert 0.9 < figures["slope"] < 1.1
    assert figures["ece"] < 0.03


def test_the_raw_odds_of_these_are_not_calibrated() -> None:
    new = offers(overconfident, seed=9)
    raw = reliability(pl.Series(sigmoid(new["score"].to_numpy())), new["label"])
    assert raw["slope"] == pytest.approx(0.5, abs=0.05)
    assert raw["intercept"] == pytest.approx(-1.0, abs=0.1)
    assert raw["ece"] > 0.03


def test_platt_recovers_its_own_map() -> None:
    one_week = offers(overconfident, as_ofs=1)
    fitted = fit_calibration(one_week)
    assert fitted.method == "platt"
    assert fitted.errors == {}
    assert fitted.values == pytest.approx((0.5, -1.0), abs=0.06)


def test_steps_are_learned_by_the_isotonic_map() -> None:
    fitted = fit_calibration(offers(staircase))
    assert fitted.method == "isotonic"
    assert fitted.errors["isotonic"] < fitted.errors["platt"]
    assert fitted.apply(np.array([-3.0, -0.5, 2.0])) == pytest.approx([0.05, 0.2, 0.6], abs=0.04)


def test_what_was_never_bought_is_not_taken_for_impossible() -> None:
    """A step of 400 offers without a purchase; a slope over log-odds would be at its mercy."""
    x = np.concatenate([np.full(400, -3.0), np.full(400, 1.0)])
    y = np.concatenate([np.zeros(400), np.tile([0.0, 1.0], 200)])
    frame = pl.DataFrame(
        {"as_of": [date(2017, 1, 2)] * 800, "score": x, "label": y.astype(np.int8)}
    )
    fitted = _map(frame, method="isotonic")
    assert fitted.apply(np.array([-3.0, 1.0])) == pytest.approx([0.5 / 401, 200.5 / 401])


def lapsed(x: np.ndarray) -> np.ndarray:
    """A third of the households hardly come any more, whatever their history says."""
    return np.where(x < -1.6, 0.002, sigmoid(x))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_households_that_hardly_come_do_not_spoil_the_slope(seed: int) -> None:
    fitted = fit_calibration(offers(lapsed, seed=seed))
    assert fitted.method == "isotonic"
    new = offers(lapsed, seed=seed + 100)
    said = pl.Series(fitted.apply(new["score"].to_numpy()))
    assert reliability(said, new["label"])["slope"] == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("truth", [overconfident, staircase])
def test_json_is_exact(truth: object) -> None:
    fitted = fit_calibration(offers(truth))
    again = Calibration.from_json(fitted.to_json())
    assert again == fitted
    assert again.to_json() == fitted.to_json()
    assert len(fitted.to_json()) < 20_000


@settings(max_examples=25, deadline=None)
@given(
    slope=st.floats(-1.0, 2.0),
    shift=st.floats(-1.0, 1.0),
    seed=st.integers(0, 1000),
)
def test_larger_odds_never_get_a_smaller_probability(slope: float, shift: float, seed: int) -> None:
    fitted = fit_calibration(offers(lambda x: sigmoid(slope * x + shift), rows=2000, seed=seed))
    p = fitted.apply(np.linspace(-50, 50, 501))
    # A flat map wavers by the rounding of its own sum.
    assert (np.diff(p) >= -4 * np.finfo(float).eps).all()
    assert p.min() >= CERTAINTY
    assert p.max() <= 1 - CERTAINTY


def test_reliability_by_hand() -> None:
    # Said .2 and .8; it came true 1 time in 4 and 3 times in 4: the slope is ln 3 / ln 4.
    said = pl.Series([0.2] * 4 + [0.8] * 4)
    came = pl.Series([1, 0, 0, 0, 1, 1, 1, 0])
    figures = reliability(said, came)
    assert figures["slope"] == pytest.approx(np.log(3) / np.log(4), abs=1e-6)
    assert figures["intercept"] == pytest.approx(0.0, abs=1e-6)
    assert figures["ece"] == pytest.approx(0.05)


def test_too_little_to_learn_from_is_refused() -> None:
    with pytest.raises(ValueError, match="100 bought"):
        fit_calibration(offers(rows=120))
    missing = offers().with_columns(pl.lit(None, pl.Float64).alias("score"))
    with pytest.raises(ValueError, match="20,000 have no score"):
        fit_calibration(missing)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"method": "platt", "values": 3}'])
def test_no_calibration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no calibration"):
        Calibration.from_json(text)


def test_an_unknown_method_is_refused() -> None:
    text = '{"method": "spline", "values": [1], "errors": {}, "rows": 1}'
    with pytest.raises(ValueError, match="spline"):
        Calibration.from_json(text)


def test_from_models_to_probabilities(shop: pl.DataFrame) -> None:
    def between(first: date, last: date) -> pl.DataFrame:
        return shop.filter(pl.col("as_of").is_between(first, last))

    past, unseen, later = (
        between(*weeks(0, 3)),
        between(*weeks(4, 5)),
        between(*weeks(6, 7)),
    )
    ranker = xgboost_ranker.train(past, features=FEATURES, rounds=10, seed=1)
    classifier = xgboost_classifier.train(past, features=FEATURES, rounds=10, seed=1)
    top = served(
        unseen,
        ranking=xgboost_ranker.score_frame(ranker, unseen),
        log_odds=xgboost_classifier.score_frame(classifier, unseen),
        k=5,
    )
    assert top.height == 2 * 60 * 5
    joined = top.join(unseen, on=["household_id", "product_id", "as_of"], suffix="_then")
    assert joined.height == top.height
    assert (joined["label"] == joined["label_then"]).all()
    fitted = fit_calibration(top)
    p = probabilities(classifier, fitted, later)
    assert p.len() == later.height
    assert p.name == "probability"
    log_odds = xgboost_classifier.score_frame(classifier, later).to_numpy()
    assert np.array_equal(p.to_numpy(), fitted.apply(log_odds))
