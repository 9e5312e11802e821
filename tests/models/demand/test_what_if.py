"""The answer for one row is that of a forecast of the whole panel with the asked plan in it."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.demand import xgboost_demand
from models.demand.dispersion import Dispersion
from models.demand.examples import demand_examples, examples_of_plans
from models.demand.features import FEATURES
from models.demand.forecast import DRIVERS, forecast_horizons
from models.demand.plan_basis import PlanBasis, arrays_of, plan_basis, restored
from models.demand.what_if import AskedPlan, _features, what_if
from models.xgboost_booster import load
from tests.models.demand.market import market, week

WEEK = week(30)
DISPERSION = Dispersion(scale=0.5, power=1.3)


@pytest.fixture(scope="module")
def panel() -> pl.DataFrame:
    made = market(stores=4, products=6, weeks=31)
    # Sales of the week itself are nobody's to read; one price was never seen.
    return made.with_columns(
        pl.when(pl.col("week_start") < WEEK).then("units").alias("units"),
        pl.lit(value=True).alias("active"),
        pl.lit(value=True).alias("plan_known"),
        *(
            pl.when((pl.col("product_id") != "p5") | (pl.col("store_id") != "s3"))
            .then(name)
            .alias(name)
            for name in ("price", "base_price")
        ),
    )


@pytest.fixture(scope="module")
def model(panel: pl.DataFrame) -> bytes:
    examples = demand_examples(panel, targets=[week(w) for w in range(16, 30)])
    params = {"eta": 0.3, "max_depth": 4, "min_child_weight": 1.0, "reg_lambda": 1.0}
    return xgboost_demand.train(examples, params=params, rounds=20, seed=1, threads=1)


@pytest.fixture(scope="module")
def basis(panel: pl.DataFrame) -> PlanBasis:
    return plan_basis(panel, week=WEEK)


def with_plan(panel: pl.DataFrame, row: dict, asked: AskedPlan, discount: float) -> pl.DataFrame:
    here = (
        (pl.col("store_id") == row["store_id"])
        & (pl.col("product_id") == row["product_id"])
        & (pl.col("week_start") == WEEK)
    )
    plan = {
        "price": asked.price,
        "discount": discount,
        "display": asked.display,
        "mailer": asked.mailer,
    }
    return panel.with_columns(
        pl.when(here).then(pl.lit(value)).otherwise(pl.col(name)).alias(name)
        for name, value in plan.items()
    )


@pytest.mark.parametrize("place", [0, 7, 23])
def test_it_is_the_forecast_of_the_panel_with_that_plan(
    panel: pl.DataFrame, basis: PlanBasis, model: bytes, place: int
) -> None:
    row = basis.rows.row(place, named=True)
    asked = AskedPlan(price=2.1, display="7", mailer="A")
    changed = with_plan(panel, row, asked, 1 - 2.1 / 3.0 if row["base_price"] else 0.0)
    (batch,) = (
        forecast_horizons(changed, models={1: model}, dispersions={1: DISPERSION}, as_of=WEEK)
        .filter(pl.col("store_id") == row["store_id"], pl.col("product_id") == row["product_id"])
        .to_dicts()
    )
    found = what_if(
        basis,
        asked,
        place=place,
        booster=load(model),
        dispersion=DISPERSION,
        correction=batch["correction"],
    )
    assert found.asked.units == pytest.approx(batch["mean"], rel=1e-12)
    assert (found.asked.low, found.asked.high) == (batch["low"], batch["high"])
    for name in DRIVERS:
        assert found.asked.drivers[name.removeprefix("units_")] == pytest.approx(
            batch[name], rel=1e-9, abs=1e-12
        )
    assert sum(found.asked.drivers.values()) == pytest.approx(found.asked.units, rel=1e-6)


def test_the_standing_plan_is_the_standing_forecast(
    panel: pl.DataFrame, basis: PlanBasis, model: bytes
) -> None:
    forecast = forecast_horizons(
        panel, models={1: model}, dispersions={1: DISPERSION}, as_of=WEEK
    ).sort("store_id", "product_id")
    booster = load(model)
    for place in range(0, basis.rows.height, 5):
        standing = what_if(
            basis,
            AskedPlan(price=1.0, display="0", mailer="0"),
            place=place,
            booster=booster,
            dispersion=DISPERSION,
            correction=forecast["correction"][place],
        ).standing
        assert standing.units == pytest.approx(forecast["mean"][place], rel=1e-12)


@settings(max_examples=15, deadline=None)
@given(
    place=st.integers(0, 22),
    price=st.floats(0.5, 5.0),
    display=st.sampled_from(["0", "7", "new"]),
    mailer=st.sampled_from(["0", "A"]),
)
def test_features_are_those_of_the_whole_panel_bit_for_bit(
    panel: pl.DataFrame,
    basis: PlanBasis,
    place: int,
    price: float,
    display: str,
    mailer: str,
) -> None:
    row = basis.rows.row(place, named=True)
    discount = max(0.0, 1 - price / row["base_price"])
    if discount >= 0.9:
        return
    plan = pl.DataFrame(
        {
            "store_id": [row["store_id"]],
            "product_id": [row["product_id"]],
            "week_start": [WEEK],
            "price": [price],
            "base_price": [row["base_price"]],
            "discount": [discount],
            "display": [display],
            "mailer": [mailer],
        }
    )
    batch = examples_of_plans(panel, {"asked": plan}, targets=[WEEK])["asked"]
    expected = batch.select(pl.col(FEATURES).fill_null(float("nan"))).to_numpy()[place]
    asked = AskedPlan(price=price, display=display, mailer=mailer)
    found = _features(basis, asked, place=place, discount=discount)
    np.testing.assert_array_equal(found, expected)


def test_a_basis_survives_its_parts(basis: PlanBasis, model: bytes) -> None:
    s = basis.history.series
    again = restored(
        basis.rows,
        arrays_of(basis),
        display_codes=s.display_codes,
        mailer_codes=s.mailer_codes,
    )
    asked = AskedPlan(price=2.0, display="7", mailer="0")
    first, second = (
        what_if(b, asked, place=3, booster=load(model), dispersion=DISPERSION, correction=1.0)
        for b in (basis, again)
    )
    assert first == second


def test_a_lower_price_never_sells_less(basis: PlanBasis, model: bytes) -> None:
    sold = [
        what_if(
            basis,
            AskedPlan(price=price, display="0", mailer="0"),
            place=2,
            booster=load(model),
            dispersion=DISPERSION,
            correction=1.0,
        ).asked.units
        for price in (3.0, 2.7, 2.4, 2.0, 1.5)
    ]
    assert sold == sorted(sold)


def test_arrays_of_other_rows_are_refused(basis: PlanBasis) -> None:
    s = basis.history.series
    with pytest.raises(ValueError, match="features has shape"):
        restored(
            basis.rows.head(3),
            arrays_of(basis),
            display_codes=s.display_codes,
            mailer_codes=s.mailer_codes,
        )
    with pytest.raises(ValueError, match="prices, base_prices"):
        restored(basis.rows, {}, display_codes=(), mailer_codes=())
