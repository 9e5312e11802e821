from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import statsmodels.api as sm

from models.demand.fixed_effects import least_squares, poisson


def panel(*, seed: int, stores: int = 12, weeks: int = 15, effect: float = 0.7) -> pl.DataFrame:
    """Stores x weeks with effects of both, a term that goes with the store's size, and counts."""
    rng = np.random.default_rng(seed)
    store, week = np.meshgrid(np.arange(stores), np.arange(weeks), indexing="ij")
    size = rng.normal(0.5, 0.6, stores)[store]
    season = 0.5 * np.sin(week / 3)
    display = (rng.random((stores, weeks)) < 1 / (1 + np.exp(-size - season))).astype(float)
    price = rng.normal(1.0, 0.2, (stores, weeks)) + 0.1 * size
    mean = np.exp(size + season + effect * display - 1.5 * price + 1.5)
    return pl.DataFrame(
        {
            "store": [f"s{i}" for i in store.ravel()],
            "week": week.ravel(),
            "display": display.ravel(),
            "price": price.ravel(),
            "units": rng.poisson(mean).ravel(),
            "y": (np.log(mean) + rng.normal(0, 0.3, mean.shape)).ravel(),
            "trips": np.log(rng.uniform(50, 150, mean.shape)).ravel(),
        }
    )


def dummies(frame: pl.DataFrame) -> np.ndarray:
    both = frame.select("store", pl.col("week").cast(pl.String)).to_dummies().to_numpy()
    terms = frame.select("display", "price").to_numpy()
    # One week is left out: stores already sum to one.
    return np.column_stack([terms, both[:, :-1]]).astype(float)


def test_least_squares_is_that_of_dummies() -> None:
    frame = panel(seed=1).sample(fraction=0.8, seed=3)
    ours = least_squares(
        frame, outcome="y", terms=["display", "price"], absorb=["store", "week"], cluster="store"
    )
    fitted = sm.OLS(frame["y"].to_numpy(), dummies(frame)).fit()
    assert [e.estimate for e in ours.estimates.values()] == pytest.approx(fitted.params[:2])
    codes = frame["store"].rank("dense").to_numpy()
    robust = fitted.get_robustcov_results("cluster", groups=codes, use_correction=False)
    factor = np.sqrt(12 / 11)
    assert [e.se for e in ours.estimates.values()] == pytest.approx(robust.bse[:2] * factor)


def test_poisson_is_that_of_dummies() -> None:
    frame = panel(seed=2)
    ours = poisson(
        frame,
        outcome="units",
        terms=["display", "price"],
        absorb=["store", "week"],
        offset="trips",
        cluster="store",
    )
    fitted = sm.GLM(
        frame["units"].to_numpy(),
        dummies(frame),
        family=sm.families.Poisson(),
        offset=frame["trips"].to_numpy(),
    ).fit(tol=1e-12)
    assert [e.estimate for e in ours.estimates.values()] == pytest.approx(fitted.params[:2])
    codes = frame["store"].rank("dense").to_numpy()
    clustered = sm.GLM(
        frame["units"].to_numpy(),
        dummies(frame),
        family=sm.families.Poisson(),
        offset=frame["trips"].to_numpy(),
    ).fit(tol=1e-12, cov_type="cluster", cov_kwds={"groups": codes, "use_correction": False})
    factor = np.sqrt(12 / 11)
    assert [e.se for e in ours.estimates.values()] == pytest.approx(
        clustered.bse[:2] * factor, rel=1e-4
    )


def test_without_effects_there_is_an_intercept() -> None:
    frame = panel(seed=3)
    ours = least_squares(frame, outcome="y", terms=["price"])
    fitted = sm.OLS(frame["y"].to_numpy(), sm.add_constant(frame["price"].to_numpy())).fit()
    assert ours.estimates["price"].estimate == pytest.approx(fitted.params[1])
    assert ours.clusters == frame.height


def test_groups_that_never_sold_say_nothing() -> None:
    frame = panel(seed=4)
    silent = frame.filter(pl.col("store") == "s0").with_columns(
        pl.lit("silent").alias("store"), pl.lit(0).cast(pl.Int64).alias("units")
    )
    terms = {"outcome": "units", "terms": ["display"], "absorb": ["store", "week"]}
    alone = poisson(frame, **terms)
    beside = poisson(pl.concat([frame, silent]), **terms)
    assert beside.dropped == silent.height
    assert beside.estimates["display"].estimate == pytest.approx(
        alone.estimates["display"].estimate
    )


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    covered = 0
    for seed in range(100):
        found = poisson(
            panel(seed=seed, stores=40, weeks=8),
            outcome="units",
            terms=["display", "price"],
            absorb=["store", "week"],
            cluster="store",
        ).estimates["display"]
        covered += found.low <= 0.7 <= found.high
    assert 88 <= covered <= 100


def test_a_term_that_the_effects_explain_is_refused() -> None:
    frame = panel(seed=5).with_columns((pl.col("store") == "s1").cast(pl.Float64).alias("mine"))
    with pytest.raises(ValueError, match="mine does not vary within store"):
        least_squares(frame, outcome="y", terms=["mine"], absorb=["store"])


def test_terms_that_cannot_be_told_apart_are_refused() -> None:
    frame = panel(seed=5).with_columns((2 * pl.col("price")).alias("twice"))
    with pytest.raises(ValueError, match="not told apart"):
        least_squares(frame, outcome="y", terms=["price", "twice"], absorb=["store"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"units": pl.lit(-1)}, "negative values"),
        ({"units": pl.lit(0)}, "rows are zero"),
        ({"price": pl.lit(None, dtype=pl.Float64)}, "null or infinite values in price"),
        ({"store": pl.lit("one")}, "clustered by store"),
    ],
)
def test_bad_rows_are_named(change: dict[str, pl.Expr], message: str) -> None:
    frame = panel(seed=6).with_columns(**change)
    with pytest.raises(ValueError, match=message):
        poisson(frame, outcome="units", terms=["price"], absorb=["week"], cluster="store")
