from __future__ import annotations

from datetime import date, timedelta

import hypothesis
import numpy as np
import polars as pl
import pytest
from hypothesis import strategies as st
from scipy import stats

from models.demand.dispersion import Dispersion, fit_dispersion
from models.evaluation import demand_metrics as metrics
from models.evaluation.demand import coverage, judge, randomised_pit
from models.evaluation.demand_bootstrap import bootstrap, bounds, compared
from models.evaluation.demand_levels import LEVELS, summed, with_forecasts


def week(n: int) -> date:
    return date(2017, 1, 2) + timedelta(weeks=n)


Y = np.array([2.0, 0.0, 4.0])
F = np.array([1.0, 1.0, 5.0])


def test_metrics_by_hand() -> None:
    assert metrics.wape(Y, F) == pytest.approx(3 / 6)
    assert metrics.bias(Y, F) == pytest.approx(7 / 6 - 1)
    expected = 2 * np.mean([2 * np.log(2) - 2 + 1, 1.0, 4 * np.log(4 / 5) - 4 + 5])
    assert metrics.poisson_deviance(Y, F) == pytest.approx(expected)
    assert metrics.wape(Y, np.zeros(3)) == 1.0


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing was sold"):
        metrics.wape(np.zeros(2), np.ones(2))
    with pytest.raises(ValueError, match="nothing was sold"):
        metrics.bias(np.zeros(2), np.ones(2))
    with pytest.raises(ValueError, match="no rows"):
        metrics.poisson_deviance(np.zeros(0), np.zeros(0))


@hypothesis.given(mean=st.floats(0.01, 40.0))
def test_the_floor_is_the_mean_deviation_of_a_poisson(mean: float) -> None:
    k = np.arange(400)
    expected = float((stats.poisson.pmf(k, mean) * np.abs(k - mean)).sum()) / mean
    assert metrics.poisson_floor(np.array([mean])) == pytest.approx(expected, rel=1e-6)


@hypothesis.given(st.lists(st.integers(0, 30), min_size=1, max_size=20), st.floats(0.1, 5.0))
def test_the_deviance_is_smallest_at_the_truth(units: list[int], factor: float) -> None:
    y = np.array(units, dtype=float)
    truth = np.maximum(y, metrics.SMALLEST_FORECAST)
    assert metrics.poisson_deviance(y, truth) <= metrics.poisson_deviance(y, truth * factor) + 1e-12


def test_wrmsse_by_hand() -> None:
    history = pl.DataFrame(
        {
            "product_id": ["a"] * 4 + ["b"] * 3 + ["c"] * 2,
            "week_start": [
                week(0),
                week(1),
                week(2),
                week(4),
                week(0),
                week(1),
                week(2),
                week(0),
                week(1),
            ],
            "units": [1.0, 3.0, 3.0, 9.0, 10.0, 13.0, 10.0, 5.0, 5.0],
            "revenue": [1.0, 1.0, 1.0, 1.0, 4.0, 4.0, 4.0, 1.0, 1.0],
        }
    )
    scales = metrics.series_scales(history, series=["product_id"])
    # Week 4 does not follow week 2; c never changed.
    assert scales["scale"].to_list() == [2.0, 9.0, None]
    assert scales["weight"].to_list() == pytest.approx([4 / 18, 12 / 18, 2 / 18])
    rows = pl.DataFrame(
        {
            "product_id": ["a", "a", "b", "c"],
            "units": [1.0, 1.0, 4.0, 1.0],
            "forecast": [2.0, 0.0, 1.0, 9.0],
        }
    )
    expected = (4 * np.sqrt(1 / 2) + 12 * np.sqrt(9 / 9)) / 16
    assert metrics.wrmsse(rows, scales, series=["product_id"]) == pytest.approx(expected)
    with pytest.raises(ValueError, match="no judged series"):
        metrics.wrmsse(rows.filter(pl.col("product_id") == "c"), scales, series=["product_id"])


def rows(seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    made = [
        (f"s{s}", f"p{p}", week(w), "c", float(rng.poisson(2.0 + p)), p == 1, 1.0 + p)
        for w in range(6)
        for s in range(5)
        for p in range(3)
    ]
    names = ["store_id", "product_id", "week_start", "category", "units", "promoted", "revenue"]
    return pl.DataFrame(made, schema=names, orient="row")


def test_levels_are_sums() -> None:
    frame = with_forecasts(rows(), {"m": pl.Series(np.full(90, 0.5))})
    chain = summed(frame, LEVELS[1], columns=["m"])
    assert chain.height == 18
    assert chain["m"].to_list() == pytest.approx([2.5] * 18)
    assert chain["units"].sum() == frame["units"].sum()
    assert chain.filter("promoted")["product_id"].unique().to_list() == ["p1"]
    assert summed(frame, LEVELS[2], columns=["m"]).height == 30
    with pytest.raises(ValueError, match="90 rows"):
        with_forecasts(rows(), {"m": pl.Series([1.0])})
    with pytest.raises(ValueError, match="missing or below zero"):
        with_forecasts(rows(), {"m": pl.Series([np.nan] * 90)})


def test_draws_start_with_the_data_and_do_not_depend_on_the_order() -> None:
    frame = with_forecasts(
        rows(), {"m": pl.Series(np.full(90, 3.0)), "n": pl.Series(np.full(90, 1.0))}
    )
    drawn = bootstrap(frame, models=["m", "n"], block="store_id", seed=1, draws=200)
    y = frame["units"].to_numpy()
    assert drawn["m"]["wape"][0] == pytest.approx(metrics.wape(y, np.full(90, 3.0)))
    assert drawn["m"]["poisson_deviance"][0] == pytest.approx(
        metrics.poisson_deviance(y, np.full(90, 3.0))
    )
    again = bootstrap(frame.reverse(), models=["m", "n"], block="store_id", seed=1, draws=200)
    assert again["n"]["bias"] == pytest.approx(drawn["n"]["bias"])
    told = bounds(drawn["m"]["wape"])
    assert told["low"] < told["estimate"] < told["high"]
    better = compared(drawn, model="m")["n"]["poisson_deviance"]
    assert better["estimate"] < 0
    assert better["high"] < 0


def test_judge_tells_every_level() -> None:
    frame = rows()
    held = frame.filter(pl.col("week_start") >= week(4))
    made = judge(
        held,
        {"xgboost": pl.Series(np.full(30, 3.0)), "ma13": pl.Series(np.full(30, 2.0))},
        history=frame.filter(pl.col("week_start") < week(4)),
        seed=0,
    )
    assert list(made) == ["product_store_week", "chain_product_week", "store_category_week"]
    top = made["product_store_week"]
    assert set(top["models"]["xgboost"]) == set(metrics.METRICS)
    assert top["zero_forecast"]["wape"] == 1.0
    assert top["poisson_floor"]["wape"] == pytest.approx(metrics.poisson_floor(np.array([3.0])))
    # No store-category is mostly promoted: there is nothing to say, and nothing is said.
    assert "promo_wape" not in made["store_category_week"]["models"]["ma13"]


@pytest.mark.parametrize(("scale", "power"), [(0.6, 1.0), (0.4, 2.0)])
def test_dispersion_is_recovered_and_covers(scale: float, power: float) -> None:
    rng = np.random.default_rng(4)
    mean = rng.gamma(1.0, 2.0, 40_000) + 0.05
    size = mean ** (2 - power) / scale
    units = rng.negative_binomial(size, size / (size + mean))
    found = fit_dispersion(units, mean)
    assert found.scale == pytest.approx(scale, rel=0.12)
    assert found.power == pytest.approx(power, abs=0.1)
    pit = randomised_pit(units, mean, found, seed=0)
    told = coverage(pit, pl.Series([week(0)] * units.size))
    assert told["covered"] == pytest.approx(0.95, abs=0.005)
    assert told["histogram"] == pytest.approx([0.1] * 10, abs=0.01)
    low, high = found.interval(mean)
    assert ((units >= low) & (units <= high)).mean() > 0.95


def test_a_wrong_dispersion_shows_in_the_coverage() -> None:
    rng = np.random.default_rng(1)
    mean = np.full(20_000, 3.0)
    units = rng.negative_binomial(1.5, 1.5 / 4.5, 20_000)
    told = coverage(
        randomised_pit(units, mean, Dispersion(scale=1e-5, power=2.0), seed=0),
        pl.Series([week(0)] * 20_000),
    )
    assert told["covered"] < 0.9
    with pytest.raises(ValueError, match="choose weeks with sales"):
        fit_dispersion(np.zeros(3), np.ones(3))
