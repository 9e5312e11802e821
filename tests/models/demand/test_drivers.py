from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest
import xgboost as xgb
from hypothesis import given
from hypothesis import strategies as st

from models.demand.drivers import by_product_and_week, contributions, in_units, logarithmic_mean
from models.demand.xgboost_demand import margin

GROUPS = {"base": ("a",), "season": ("b",), "price": ("c",), "display": ("d",)}
NAMES = [name for members in GROUPS.values() for name in members]


def examples(rows: int, *, seed: int) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "store_id": [f"s{i}" for i in range(rows)],
            "product_id": ["p"] * rows,
            "week_start": [date(2017, 1, 2)] * rows,
            "clean_level": rng.gamma(1, 1, rows) + 0.01,
            **{name: rng.normal(size=rows) for name in NAMES},
        }
    ).with_columns(pl.when(pl.col("d") > 0).then("d").alias("d"))


def model(frame: pl.DataFrame, *, seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    x = frame.select(NAMES).to_numpy()
    level = frame["clean_level"].to_numpy()
    y = rng.poisson(level * np.exp(0.5 * x[:, 0] - 0.8 * x[:, 2] + 0.3))
    data = xgb.DMatrix(x, label=y, base_margin=np.log(level), feature_names=NAMES)
    params = {"objective": "count:poisson", "base_score": 1.0, "max_depth": 3, "seed": 1}
    return bytes(xgb.train(params, data, num_boost_round=20).save_raw("ubj"))


def test_drivers_sum_to_the_forecast_in_logs_and_in_units() -> None:
    frame = examples(400, seed=1)
    trained = model(frame, seed=2)
    found = contributions(trained, frame, groups=GROUPS)
    logs = found.select(pl.sum_horizontal(f"log_{g}" for g in GROUPS)).to_series().to_numpy()
    expected = margin(trained, frame)
    assert logs == pytest.approx(expected, abs=1e-5)
    assert found["units"].to_numpy() == pytest.approx(np.exp(expected), rel=1e-5)
    units = found.select(pl.sum_horizontal(f"units_{g}" for g in GROUPS)).to_series()
    assert units.to_numpy() == pytest.approx(found["units"].to_numpy(), rel=1e-9)


def test_a_driver_has_the_sign_of_its_log() -> None:
    frame = examples(200, seed=3)
    found = contributions(model(frame, seed=4), frame, groups=GROUPS)
    for group in ("season", "price", "display"):
        assert (found[f"log_{group}"].sign() == found[f"units_{group}"].sign()).all()


def test_units_by_hand() -> None:
    # From 2 to 8 by two equal factors of 2: each adds half of the 6.
    logs = {"base": np.log([2.0]), "x": np.log([2.0]), "y": np.log([2.0])}
    found = in_units(logs)
    assert {k: float(v[0]) for k, v in found.items()} == pytest.approx({"base": 2, "x": 3, "y": 3})


@given(st.lists(st.floats(-8, 8), min_size=2, max_size=6))
def test_units_sum_to_the_forecast_whatever_the_logs(values: list[float]) -> None:
    logs = {"base": np.array([values[0]])} | {
        f"g{i}": np.array([v]) for i, v in enumerate(values[1:])
    }
    total = float(np.exp(sum(values)))
    assert sum(float(v[0]) for v in in_units(logs).values()) == pytest.approx(total, rel=1e-6)


@given(st.floats(1e-6, 1e6), st.floats(1e-6, 1e6))
def test_the_logarithmic_mean_lies_between(a: float, b: float) -> None:
    mean = float(logarithmic_mean(np.array([a]), np.array([b]))[0])
    assert min(a, b) * (1 - 1e-9) <= mean <= max(a, b) * (1 + 1e-9)
    # Nearly symmetric near zero gap, where the series is cut.
    assert mean == pytest.approx(float(logarithmic_mean(np.array([b]), np.array([a]))[0]), rel=1e-9)


def test_sums_over_stores() -> None:
    frame = examples(50, seed=5)
    found = contributions(model(frame, seed=6), frame, groups=GROUPS)
    summed = by_product_and_week(found)
    assert summed.height == 1
    assert summed["units"].item() == pytest.approx(found["units"].sum())


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"base": ("a",), "price": ("c", "d")}, "b belong to no group"),
        ({"base": ("a", "b"), "price": ("b", "c", "d")}, "b is in base and in price"),
        ({"rest": NAMES}, "no group base"),
    ],
)
def test_a_feature_has_one_group(groups: dict[str, tuple[str, ...]], message: str) -> None:
    frame = examples(50, seed=7)
    with pytest.raises(ValueError, match=message):
        contributions(model(frame, seed=8), frame, groups=groups)
