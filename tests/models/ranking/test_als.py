from __future__ import annotations

from dataclasses import asdict

import numpy as np
import polars as pl
import pytest

from models.ranking.als import AlsParams, Factors, als, factorise
from models.ranking.basket_history import basket_history, sorted_enums

SCHEMA = {
    "household_id": pl.String,
    "product_id": pl.String,
    "basket_id": pl.String,
    "at": pl.Int64,
}


def two_tastes() -> pl.DataFrame:
    """Twelve households: six buy a, b, c and six x, y, z; h00 never bought c."""
    rows = []
    for h in range(12):
        for at, product in enumerate("abc" if h < 6 else "xyz"):
            if not (h == 0 and product == "c"):
                rows.append((f"h{h:02}", product, f"{h}-{at}", at))
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


SMALL = AlsParams(factors=2, regularization=0.1, alpha=10.0, iterations=10)


def test_what_similar_households_buy_is_found() -> None:
    found = als(two_tastes(), limit=3, seed=1, params=SMALL)
    for household, want in (("h00", "abc"), ("h05", "abc"), ("h06", "xyz")):
        mine = found.filter(pl.col("household_id") == household)
        assert set(mine["product_id"]) == set(want)
        assert mine["rank"].to_list() == [1, 2, 3]


def test_one_factor_by_hand() -> None:
    # One household, one product, bought twice: c = 1 + .5*2 = 2. With y fixed, x = c*y/(c*y^2 + l);
    # the sweeps meet where x = y: c*y^2 + l = c, so x*y = 1 - l/c = .95.
    history = pl.DataFrame(
        [("ann", "tea", "b1", 1), ("ann", "tea", "b2", 2)], schema=SCHEMA, orient="row"
    )
    params = AlsParams(factors=1, regularization=0.1, alpha=0.5, iterations=200)
    assert als(history, limit=1, seed=1, params=params)["score"][0] == pytest.approx(0.95, abs=1e-3)


def test_seed_and_threads() -> None:
    history = basket_history(two_tastes())
    one = factorise(history, params=SMALL, seed=1, threads=1)
    two = factorise(history, params=SMALL, seed=1, threads=2)
    other = factorise(history, params=SMALL, seed=2, threads=1)
    assert np.array_equal(one.households, two.households)
    assert np.array_equal(one.products, two.products)
    assert not np.array_equal(one.households, other.households)


def test_a_line_printed_twice_counts_once() -> None:
    lines = two_tastes()
    assert als(pl.concat([lines, lines]), limit=3, seed=1).equals(als(lines, limit=3, seed=1))


def test_nothing_bought_gives_nothing() -> None:
    assert als(two_tastes().clear(), limit=3, seed=1).is_empty()


def test_a_household_without_a_history_has_no_row() -> None:
    coded = sorted_enums(two_tastes(), ("household_id", "product_id"))
    cut = coded.filter(pl.col("household_id") != "h03")
    found = als(cut, limit=3, seed=1, params=SMALL)
    assert "h03" not in found["household_id"].to_list()
    assert als(cut, limit=3, seed=1, households=pl.Series(["h03"])).is_empty()


def test_wrong_parameters_are_refused() -> None:
    with pytest.raises(ValueError, match="must be"):
        AlsParams(factors=0)


def test_vectors_of_an_earlier_history_are_a_start() -> None:
    before = basket_history(two_tastes())
    found = factorise(before, params=SMALL, seed=1)
    new = two_tastes().filter(pl.col("household_id") == two_tastes()["household_id"][0])
    grown = pl.concat([two_tastes(), new.with_columns(household_id=pl.lit("zz"))])
    later = basket_history(grown)
    one = AlsParams(**{**asdict(SMALL), "iterations": 1})
    warm = factorise(later, params=one, seed=1, earlier=(before, found))
    settled = factorise(later, params=SMALL, seed=1)
    cold = factorise(later, params=one, seed=1)

    def scores(vectors: Factors) -> np.ndarray:
        return vectors.households @ vectors.products.T

    off = np.abs(scores(warm) - scores(settled)).max()
    assert off < 0.1
    assert off < np.abs(scores(cold) - scores(settled)).max() / 3
    # Nothing of the earlier one is changed.
    assert scores(found).tobytes() == scores(factorise(before, params=SMALL, seed=1)).tobytes()
