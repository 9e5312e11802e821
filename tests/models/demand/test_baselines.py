from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import PoissonRegressor

from models.demand import baselines, ppml, scan_pro
from models.demand.drift import corrected
from models.demand.examples import demand_examples
from tests.models.demand.market import market, week


def examples(**columns: list) -> pl.DataFrame:
    """Rows of one product in one store unless said otherwise."""
    size = len(next(iter(columns.values())))
    given = {
        "store_id": ["s"] * size,
        "product_id": ["p"] * size,
        "category": ["c"] * size,
        "week_start": [week(i) for i in range(size)],
        "discount": [0.0] * size,
        "display": ["0"] * size,
        "mailer": ["0"] * size,
    }
    return pl.DataFrame(given | columns)


def test_ma13_is_the_mean_and_zero_is_nothing() -> None:
    rows = examples(mean_13=[1.5, 0.0])
    assert baselines.ma13(rows).to_list() == [1.5, 0.0]
    assert baselines.zero(rows).to_list() == [0.0, 0.0]


def test_scan_pro_finds_the_multipliers_it_was_made_with() -> None:
    rng = np.random.default_rng(2)
    n = 4000
    discount = rng.choice([0.0, 0.1, 0.3], n)
    display, mailer = rng.random(n) < 0.3, rng.random(n) < 0.3
    log = 4.0 - 2.5 * np.log1p(-discount) + 0.5 * display + 0.3 * mailer + 0.2 * display * mailer
    rows = examples(
        units=np.exp(log).tolist(),
        discount=discount.tolist(),
        display=np.where(display, "7", "0").tolist(),
        mailer=np.where(mailer, "A", "0").tolist(),
        week_start=[week(0)] * n,
        unpromoted_mean=[10.0] * n,
    )
    found = scan_pro.multipliers(rows)["product", "p"]
    assert found == pytest.approx([-2.5, 0.5, 0.3, 0.2], abs=0.02)
    forecast = scan_pro.scan_pro(rows, rows).to_numpy()
    assert forecast == pytest.approx(10.0 * np.exp(log - 4.0), rel=0.03)


def test_scan_pro_leaves_zeros_out_and_falls_back_to_what_is_known() -> None:
    rows = examples(units=[0, 4, 8, 0], discount=[0.0, 0.0, 0.5, 0.5], unpromoted_mean=[4.0] * 4)
    found = scan_pro.multipliers(rows)
    assert set(found) == {("all", "")}
    other = rows.with_columns(pl.lit("q").alias("product_id"))
    assert scan_pro.scan_pro(rows, other).to_list() == scan_pro.scan_pro(rows, rows).to_list()


def test_ppml_equals_a_poisson_regression_on_dummies() -> None:
    panel = market(stores=3, products=3, weeks=30, seed=5)
    rows = panel.with_columns(pl.col("units").cast(pl.Float64)).sort(
        "week_start", "store_id", "product_id"
    )
    found = ppml.fit(rows)
    x = scan_pro.terms(rows)
    dummies = rows.select(
        pl.concat_str("store_id", "product_id").alias("pair"), pl.col("week_start").cast(pl.String)
    ).to_dummies()
    both = np.hstack([x.to_numpy(), dummies.to_numpy()])
    peer = PoissonRegressor(alpha=0.0, max_iter=5000, tol=1e-10, solver="newton-cholesky").fit(
        both, rows["units"].to_numpy()
    )
    assert found.coefficients == pytest.approx(peer.coef_[:4], abs=2e-3)
    recent = list(found.weeks)[-ppml.RECENT_WEEKS :]
    # Sums of every pair and week are met exactly, as the score demands.
    effects = rows.join(found.pairs, on=["store_id", "product_id"])["pair_effect"].to_numpy()
    weeks = rows["week_start"].replace_strict(found.weeks, return_dtype=pl.Float64).to_numpy()
    mean = np.exp(effects + weeks + x.to_numpy() @ found.coefficients)
    sums = (
        rows.with_columns(pl.Series("mean", mean))
        .group_by("week_start")
        .agg(pl.col("units", "mean").sum())
    )
    assert sums["mean"].to_numpy() == pytest.approx(sums["units"].to_numpy(), rel=1e-4)
    forecast = ppml.predict(found, rows.head(1))[0]
    week_effect = np.log(np.mean([np.exp(found.weeks[w]) for w in recent]))
    assert forecast == pytest.approx(
        np.exp(effects[0] + week_effect + x.to_numpy()[0] @ found.coefficients)
    )


def test_ppml_forecasts_nothing_of_what_never_sold() -> None:
    rows = pl.concat(
        [
            examples(units=[2.0, 4.0, 3.0]),
            examples(units=[0.0, 0.0, 0.0]).with_columns(pl.lit("q").alias("product_id")),
        ]
    )
    assert ppml.ppml_fe(rows, rows).to_list()[3:] == [0.0, 0.0, 0.0]
    with pytest.raises(ValueError, match="nothing was sold"):
        ppml.fit(rows.filter(pl.col("product_id") == "q"))


def test_all_together_and_the_model_without_promotions_does_not_see_them() -> None:
    panel = market()
    learned = demand_examples(panel, targets=[week(w) for w in range(12, 34)])
    rows = demand_examples(panel, targets=[week(34), week(35)])
    made = baselines.forecasts(learned, rows, seed=1, rounds=30, threads=1)
    assert list(made) == list(baselines.LEARNED)
    assert all((mean >= 0).all() for mean in made.values())
    flat = panel.with_columns(
        pl.lit(0.0).alias("discount"),
        pl.lit("0").alias("display"),
        pl.lit("0").alias("mailer"),
        pl.col("base_price").alias("price"),
    )
    blind = baselines.gbm_no_promo(
        demand_examples(flat, targets=[week(w) for w in range(12, 34)]),
        demand_examples(flat, targets=[week(34), week(35)]),
        seed=1,
        rounds=30,
        threads=1,
    )
    assert blind.to_numpy() == pytest.approx(made["gbm_no_promo"].to_numpy())


def test_drift_by_hand() -> None:
    rows = pl.DataFrame(
        {
            "week_start": [week(0), week(1), week(1), week(2), week(3)],
            "units": [9, 3, 3, 50, None],
            "mean": [3.0, 2.0, 3.0, 10.0, 10.0],
        }
    )
    made = corrected(rows, targets=[week(2), week(3)], horizon=1, weeks=2)
    # (9 + 6) / (3 + 5), then (6 + 50) / (5 + 10); a target's own units are not read.
    assert made["correction"].to_list() == pytest.approx([15 / 8, 56 / 15])
    assert made["mean"].to_list() == pytest.approx([150 / 8, 560 / 15])
    later = corrected(rows, targets=[week(3)], horizon=2, weeks=1)
    assert later["correction"].to_list() == pytest.approx([6 / 5])
    assert corrected(rows, targets=[week(0)], horizon=1)["correction"].to_list() == [1.0]
