from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from models.demand.elasticity import LOG_PRICE, ORTHOGONAL, POOLED, WITHIN, elasticity, orthogonal
from models.demand.panel_elasticity import (
    DISPLAY,
    FIXED_EFFECTS,
    MAILER,
    PRICE,
    effects_by_category,
    sentence,
)

TRUE = -3.0


def brands(*, seed: int, rows: int = 3000, liking: float = 1.0) -> pl.DataFrame:
    """Brands with a known elasticity; dearer ones are liked better by ``liking`` per price step."""
    rng = np.random.default_rng(seed)
    brand = rng.integers(0, 4, rows)
    price = np.exp(0.4 * brand + rng.normal(0, 0.15, rows))
    sales = np.exp(5 + liking * brand + TRUE * np.log(price) + rng.normal(0, 0.4, rows))
    return pl.DataFrame(
        {
            "sales": sales,
            "price": price,
            "brand": [f"b{i}" for i in brand],
            "store": rng.integers(0, 30, rows),
        }
    )


def found(frame: pl.DataFrame, **given: str | None):
    return elasticity(frame, sales="sales", price="price", **{"group": "brand", **given})


def test_pooling_hides_the_elasticity_and_says_so() -> None:
    made = found(brands(seed=1), cluster="store")
    pooled, within = made.methods[POOLED][LOG_PRICE], made.methods[WITHIN][LOG_PRICE]
    # 1 / .4 = 2.5 per log of price between brands, in which four fifths of the variance lie.
    assert pooled.estimate == pytest.approx(TRUE + 2.5 * made.between, abs=0.15)
    assert made.between > 0.8
    assert within.low < TRUE < within.high
    orthogonally = made.methods[ORTHOGONAL][LOG_PRICE]
    assert orthogonally.low < TRUE < orthogonally.high
    assert made.confounding == pytest.approx(pooled.estimate - within.estimate)
    (warning,) = made.warnings
    assert "confounded by brand" in warning
    assert f"{within.estimate:.2f}" in warning


def test_without_confounding_there_is_no_warning() -> None:
    made = found(brands(seed=2, liking=0.0))
    assert made.warnings == ()
    assert made.methods[POOLED][LOG_PRICE].estimate == pytest.approx(TRUE, abs=0.1)


def test_without_groups_the_reader_is_warned() -> None:
    made = found(brands(seed=3), group=None)
    assert list(made.methods) == [POOLED]
    assert "name what identifies a product" in made.warnings[0]


def test_orthogonal_takes_out_a_curve_that_a_line_would_not() -> None:
    rng = np.random.default_rng(4)
    x = rng.uniform(-2, 2, 4000)
    t = x**2 + rng.normal(0, 0.5, 4000)
    y = 0.7 * t + 2 * x**2 + rng.normal(0, 0.5, 4000)
    frame = pl.DataFrame({"x": x, "t": t, "y": y})
    made = orthogonal(frame, outcome="y", terms=["t"], controls=["x"]).estimates["t"]
    assert made.estimate == pytest.approx(0.7, abs=0.06)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sales": pl.lit(0.0)}, "sales is not above zero in 3,000"),
        ({"price": pl.lit(2.0)}, "log_price does not vary"),
    ],
)
def test_bad_rows_are_named(change: dict[str, pl.Expr], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        found(brands(seed=5).with_columns(**change))


def test_a_missing_column_is_named() -> None:
    with pytest.raises(ValueError, match="no column colour"):
        found(brands(seed=5), group="colour")


def panel(*, seed: int, stores: int = 20, products: int = 8, weeks: int = 40) -> pl.DataFrame:
    """Counts with known effects; promotions come where and when more is sold anyway."""
    rng = np.random.default_rng(seed)
    shape = (stores, products, weeks)
    size = rng.normal(0.2, 0.7, (stores, products, 1))
    season = 0.4 * np.sin(np.arange(weeks) / 6)
    chance = 1 / (1 + np.exp(2.0 - size - 2 * season))
    display, mailer = (rng.random(shape) < chance for _ in range(2))
    log_price = rng.normal(0, 0.2, (1, products, 1)) - 0.2 * (rng.random(shape) < 0.3)
    mean = np.exp(size + season + 0.5 * display + 0.3 * mailer - 2.0 * log_price - 0.5)
    store, product, week = (a.ravel() for a in np.indices(shape))
    return pl.DataFrame(
        {
            "store_id": [f"s{i}" for i in store],
            "product_id": [f"p{i}" for i in product],
            "week_start": [date(2017, 1, 2) + timedelta(weeks=int(w)) for w in week],
            "units": rng.poisson(mean).ravel(),
            "price": np.exp(np.broadcast_to(log_price, shape)).ravel(),
            "display": np.where(display, "A", "0").ravel(),
            "mailer": np.where(mailer, "H", "0").ravel(),
            "category": "SODA",
        }
    )


def test_effects_of_a_panel_are_recovered() -> None:
    (made,) = effects_by_category(panel(seed=1))
    for method in (FIXED_EFFECTS, ORTHOGONAL):
        for term, true in {PRICE: -2.0, DISPLAY: 0.5, MAILER: 0.3}.items():
            e = made.methods[method][term]
            assert e.estimate == pytest.approx(true, abs=3.5 * e.se), (method, term)
            assert e.se < 0.15
    assert made.thin == {}
    assert "display sells +" in sentence(made)


def test_a_thin_category_says_why() -> None:
    frame = panel(seed=2).with_columns(pl.lit("0").alias("mailer"), pl.lit(2.0).alias("price"))
    (made,) = effects_by_category(frame, with_orthogonal=False)
    assert set(made.thin) == {PRICE, MAILER}
    assert "0 units in 0 stores with it" in made.thin[MAILER]
    assert "prices move by 0.0%" in made.thin[PRICE]
    assert "Too thin for" in sentence(made)


def test_too_few_stores_say_nothing() -> None:
    (made,) = effects_by_category(panel(seed=3, stores=5), with_orthogonal=False)
    assert made.methods == {}
    assert "nothing can be said" in sentence(made)
