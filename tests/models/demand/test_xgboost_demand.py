from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from models import xgboost_booster
from models.demand import lightgbm_demand, xgboost_demand
from models.demand.examples import demand_examples, examples_of_plans
from models.demand.features import FEATURES, MONOTONE
from models.demand.series import KEYS
from models.demand.stopping import learn, mean_of, stop
from models.evaluation.demand_metrics import poisson_deviance
from tests.models.demand.market import market, week

ROUNDS = 60
PARAMS = {**xgboost_demand.DEFAULT_PARAMS, "eta": 0.15, "min_child_weight": 5.0, "reg_lambda": 2.0}
TRAIN = [week(w) for w in range(10, 34)]
TEST = [week(w) for w in range(34, 40)]


@pytest.fixture(scope="module")
def panel() -> pl.DataFrame:
    return market()


@pytest.fixture(scope="module")
def learned(panel: pl.DataFrame) -> pl.DataFrame:
    return demand_examples(panel, targets=TRAIN)


@pytest.fixture(scope="module")
def unseen(panel: pl.DataFrame) -> pl.DataFrame:
    return demand_examples(panel, targets=TEST)


def train(rows: pl.DataFrame, **changes: object) -> bytes:
    given = {"params": PARAMS, "rounds": ROUNDS, "seed": 3, "threads": 1, **changes}
    return xgboost_demand.train(rows, **given)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def model(learned: pl.DataFrame) -> bytes:
    return train(learned)


def test_byte_identical_over_runs_and_threads(learned: pl.DataFrame, model: bytes) -> None:
    assert train(learned, threads=2) == model
    assert train(learned, threads=1) == model
    assert train(learned, seed=4, rounds=3) != train(learned, rounds=3)


def test_it_learns_what_a_promotion_does(unseen: pl.DataFrame, model: bytes) -> None:
    units = unseen["units"].to_numpy()
    mean = xgboost_demand.predict(model, unseen)
    assert poisson_deviance(units, mean.to_numpy()) < 1.6
    assert poisson_deviance(units, unseen["level"].to_numpy()) > 2.5
    on = (
        unseen.with_columns(mean)
        .group_by("promoted")
        .agg(pl.col("mean").sum() / pl.col("units").sum())
    )
    assert on["mean"].to_list() == pytest.approx([1.0, 1.0], abs=0.12)


@pytest.mark.parametrize("feature", sorted(MONOTONE))
def test_no_violation_on_a_grid_of_features(
    unseen: pl.DataFrame, model: bytes, feature: str
) -> None:
    low, high = unseen[feature].min(), unseen[feature].max()
    grid = np.linspace(low - 0.2, high + 0.2, 25)  # type: ignore[operator]
    means = np.array(
        [
            xgboost_demand.predict(
                model, unseen.with_columns(pl.lit(at, dtype=pl.Float32).alias(feature))
            ).to_numpy()
            for at in grid
        ]
    )
    assert (MONOTONE[feature] * np.diff(means, axis=0) >= 0).all()


def test_no_violation_on_a_grid_of_plans(panel: pl.DataFrame, model: bytes) -> None:
    """The whole way from a plan: every feature that a discount or a code moves, at once."""
    rows = panel.filter(pl.col("week_start") == TEST[0]).select(
        *KEYS, "price", "base_price", "discount", "display", "mailer"
    )

    def plan(*, discount: float, display: str, mailer: str) -> pl.DataFrame:
        # In every store at once, so that what other stores do moves too.
        chosen = rows.filter(pl.col("product_id") == "p1")
        return chosen.with_columns(
            pl.lit(discount).alias("discount"),
            (pl.col("base_price") * (1.0 - discount)).alias("price"),
            pl.lit(display).alias("display"),
            pl.lit(mailer).alias("mailer"),
        )

    depths = [0.0, 0.01, 0.05, 0.1, 0.15, 0.25, 0.3, 0.45, 0.6]
    plans = {
        (d, display, mailer): plan(discount=d, display=display, mailer=mailer)
        for d in depths
        for display in ("0", "7")
        for mailer in ("0", "A")
    }
    made = examples_of_plans(panel, {repr(k): v for k, v in plans.items()}, targets=[TEST[0]])
    means = {
        k: xgboost_demand.predict(
            model, made[repr(k)].filter(pl.col("product_id") == "p1")
        ).to_numpy()
        for k in plans
    }
    for (d, display, mailer), mean in means.items():
        deeper = depths[min(depths.index(d) + 1, len(depths) - 1)]
        assert (means[deeper, display, mailer] >= mean * (1 - 1e-7)).all()
        assert (means[d, "7", mailer] >= mean * (1 - 1e-7)).all() or display == "7"
        assert (means[d, display, "A"] >= mean * (1 - 1e-7)).all() or mailer == "A"


def test_the_offset_scales_the_forecast(unseen: pl.DataFrame, model: bytes) -> None:
    doubled = unseen.with_columns(pl.col("clean_level") * 2)
    assert xgboost_demand.predict(model, doubled).to_numpy() == pytest.approx(
        2 * xgboost_demand.predict(model, unseen).to_numpy()
    )


def test_margins_are_offset_and_trees(unseen: pl.DataFrame, model: bytes) -> None:
    import xgboost as xgb

    booster = xgboost_booster.load(model)
    matrix = xgb.DMatrix(xgboost_booster.to_matrix(unseen, FEATURES), feature_names=list(FEATURES))
    contributions = booster.predict(matrix, pred_contribs=True).sum(axis=1)
    assert np.log(unseen["clean_level"].to_numpy()) + contributions == pytest.approx(
        xgboost_demand.margin(model, unseen), abs=1e-4
    )


def test_stopping_takes_the_best_of_its_candidates(learned: pl.DataFrame) -> None:
    poor = {**PARAMS, "eta": 1e-4}
    found = stop(learned, validation_weeks=TRAIN[-4:], seed=1, candidates=[poor, PARAMS], threads=1)
    assert [each.params for each in found.settings] == [PARAMS]
    assert found.settings[0].rounds > 3
    assert found.units.size == found.means.size == 4 * 30


def test_two_that_err_apart_are_averaged(learned: pl.DataFrame, unseen: pl.DataFrame) -> None:
    tweedie = {**PARAMS, "tweedie_variance_power": 1.5}
    found = stop(
        learned, validation_weeks=TRAIN[-4:], seed=1, candidates=[PARAMS, tweedie], threads=1
    )
    models = learn(learned, found.settings, seed=3, threads=1)
    assert len(models) == 2 * len(found.settings)
    means = [xgboost_demand.predict(model, unseen).to_numpy() for model in models]
    assert mean_of(models, unseen).to_numpy() == pytest.approx(np.mean(means, axis=0))
    assert models[0] != models[1]


def test_lightgbm_learns_the_same_rows(learned: pl.DataFrame, unseen: pl.DataFrame) -> None:
    params = {**lightgbm_demand.DEFAULT_PARAMS, "min_data_in_leaf": 20}
    made = [
        lightgbm_demand.train(learned, seed=1, params=params, rounds=40, threads=t) for t in (1, 2)
    ]
    means = [lightgbm_demand.predict(m, unseen).to_numpy() for m in made]
    assert means[0] == pytest.approx(means[1])
    assert poisson_deviance(unseen["units"].to_numpy(), means[0]) < 2.2


def test_bad_examples_are_refused(learned: pl.DataFrame) -> None:
    with pytest.raises(ValueError, match="no examples"):
        train(learned.head(0))
    with pytest.raises(ValueError, match="not sorted"):
        train(learned.reverse())
    with pytest.raises(ValueError, match="have no units"):
        train(learned.with_columns(pl.lit(None, dtype=pl.Float64).alias("units")))
    with pytest.raises(ValueError, match="above zero"):
        train(learned.with_columns(pl.lit(0.0).alias("clean_level")))
    with pytest.raises(ValueError, match="are fixed"):
        train(learned, params={"monotone_constraints": "()"})
