"""Price, display and mailer effects of a demand panel, by category, or why there is no estimate.

Counts of a panel of households are mostly zero, so logs of sales do not exist: ``fixed_effects`` is
a Poisson regression with effects of every product in a store and of every week. ``orthogonal``
takes one more step from there: what trees make of the competitors' promotions, the store's trips
and the week before is taken out of sales and of the treatments on other folds of stores
(double machine learning of a log-linear mean: the step is the Poisson's own, weighted by means).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from models.demand.elasticity import FOLDS, ORTHOGONAL, orthogonal
from models.demand.fixed_effects import MEAN, WORKING, Estimate, poisson

FIXED_EFFECTS = "fixed_effects"

PRICE, DISPLAY, MAILER = "log_price", "on_display", "in_mailer"
TERMS = (PRICE, DISPLAY, MAILER)
TITLES = {PRICE: "price elasticity", DISPLAY: "display", MAILER: "mailer"}

# A product that sold less in a store tells next to nothing about how its weeks differ; leaving it
# out by its total is harmless, for the regression is conditional on that total.
LEAST_UNITS = 8
# Sales under a treatment, and stores that saw it, below which nothing is estimated.
LEAST_TREATED_UNITS = 50
LEAST_STORES = 10
# An interval wider than a factor of e to either side says nothing to act on.
WIDEST = 1.0
# Prices that move by less than this (standard deviation of logs within a product and store).
LEAST_PRICE_SPREAD = 0.01

_PAIR = "_pair"
_CONTROLS = ("_trips", "_rivals_promoted", "_rivals_price", "_before")


@dataclass(frozen=True)
class CategoryEffects:
    """Effects in one category.

    Attributes:
        category: Its name.
        rows: Product-store-weeks used.
        units: Sold in them.
        products: Products used.
        stores: Stores used.
        methods: Method to term to estimate; logs, so a display of .4 sells e^.4 times as much.
        thin: Term to the reason why it has no estimate, or none to act on.
    """

    category: str
    rows: int
    units: int
    products: int
    stores: int
    methods: dict[str, dict[str, Estimate]]
    thin: dict[str, str]


def effects_by_category(
    panel: pl.DataFrame, *, seed: int = 1, with_orthogonal: bool = True
) -> tuple[CategoryEffects, ...]:
    """Estimate every category of a panel, the one that sold most first.

    Args:
        panel: ``store_id, product_id, week_start, units, price, display, mailer, category`` and,
            if known, ``panel_trips``. Rows without category, price or units are left out.
        seed: Of the folds.
        with_orthogonal: Whether to estimate the slower, orthogonal effects too.
    """
    rows = _prepared(panel)
    order = (
        rows.group_by("category")
        .agg(pl.col("units").sum())
        .sort("units", "category", descending=[True, False])
    )
    return tuple(
        _category(
            category,
            rows.filter(pl.col("category") == category),
            seed=seed,
            with_orthogonal=with_orthogonal,
        )
        for category in order["category"]
    )


def sentence(found: CategoryEffects) -> str:
    """What a category's data say, in words."""
    best = found.methods.get(ORTHOGONAL) or found.methods.get(FIXED_EFFECTS) or {}
    said = [_said(term, best[term]) for term in TERMS if term in best and term not in found.thin]
    thin = [f"{TITLES[term]}: {reason}" for term, reason in found.thin.items()]
    spoken = "; ".join(said) if said else "nothing can be said"
    return f"{found.category}: {spoken}." + (f" Too thin for {'; '.join(thin)}." if thin else "")


def _said(term: str, e: Estimate) -> str:
    if term == PRICE:
        span = f"{-e.high:.1f} to {-e.low:.1f}"
        return f"one per cent off the price sells {-e.estimate:.1f} % more ({span})"
    low, mid, high = (np.expm1(v) * 100 for v in (e.low, e.estimate, e.high))
    return f"{TITLES[term]} sells {mid:+.0f} % ({low:+.0f} to {high:+.0f})"


def _prepared(panel: pl.DataFrame) -> pl.DataFrame:
    trips = pl.col("panel_trips") if "panel_trips" in panel.columns else pl.lit(None)
    here = ["store_id", "week_start", "category"]
    promoted = (pl.col(DISPLAY) + pl.col(MAILER) > 0).cast(pl.Float64)
    others = pl.len().over(here) - 1
    # A product outside the assortment has a row only where it sold: chosen by its outcome.
    kept = panel.filter("active") if "active" in panel.columns else panel
    return (
        kept.drop_nulls(["category", "price", "units"])
        .filter(pl.col("price") > 0)
        .with_columns(
            pl.col("price").log().alias(PRICE),
            (pl.col("display").fill_null("0") != "0").cast(pl.Float64).alias(DISPLAY),
            (pl.col("mailer").fill_null("0") != "0").cast(pl.Float64).alias(MAILER),
            trips.cast(pl.Float64).clip(lower_bound=1).log().fill_null(0.0).alias("_trips"),
            pl.struct("store_id", "product_id").rank("dense").alias(_PAIR),
        )
        .sort("store_id", "product_id", "week_start")
        .with_columns(
            ((promoted.sum().over(here) - promoted) / others.clip(1)).alias("_rivals_promoted"),
            ((pl.col(PRICE).sum().over(here) - pl.col(PRICE)) / others.clip(1)).alias(
                "_rivals_price"
            ),
            pl.col("units").shift(1).over(_PAIR).fill_null(0).cast(pl.Float64).alias("_before"),
        )
        .filter(pl.col("units").sum().over(_PAIR) >= LEAST_UNITS)
    )


def _category(
    category: str, rows: pl.DataFrame, *, seed: int, with_orthogonal: bool
) -> CategoryEffects:
    thin = {term: reason for term in TERMS if (reason := _too_thin(rows, term)) is not None}
    terms = [term for term in TERMS if term not in thin]
    methods: dict[str, dict[str, Estimate]] = {}
    if terms:
        found = poisson(
            rows, outcome="units", terms=terms, absorb=[_PAIR, "week_start"], cluster="store_id"
        )
        methods[FIXED_EFFECTS] = found.estimates
        last = found.last_step
        if with_orthogonal and last is not None and last["store_id"].n_unique() >= 2 * FOLDS:
            methods[ORTHOGONAL] = _one_step(last, terms, seed=seed)
    for term in terms:
        e = methods.get(ORTHOGONAL, methods[FIXED_EFFECTS])[term]
        if e.high - e.low > 2 * WIDEST:
            thin[term] = f"its interval spans a factor of {np.exp(e.high - e.low):,.0f}"
    return CategoryEffects(
        category=category,
        rows=rows.height,
        units=int(rows["units"].sum()),
        products=rows["product_id"].n_unique(),
        stores=rows["store_id"].n_unique(),
        methods=methods,
        thin=thin,
    )


def _one_step(last: pl.DataFrame, terms: Sequence[str], *, seed: int) -> dict[str, Estimate]:
    """Of the Poisson's last step, with what the controls explain taken out as well."""
    return orthogonal(
        last,
        outcome=WORKING,
        terms=terms,
        controls=list(_CONTROLS),
        cluster="store_id",
        weight=MEAN,
        seed=seed,
    ).estimates


def _too_thin(rows: pl.DataFrame, term: str) -> str | None:
    if rows["store_id"].n_unique() < LEAST_STORES:
        return f"{rows['store_id'].n_unique()} stores, {LEAST_STORES} are needed"
    if term == PRICE:
        own = rows.select((pl.col(PRICE) - pl.col(PRICE).mean().over(_PAIR)).std()).item()
        moves = f"prices move by {own or 0.0:.1%} within a product and store"
        return None if own is not None and own >= LEAST_PRICE_SPREAD else moves
    for on, when in ((1.0, "with"), (0.0, "without")):
        part = rows.filter(pl.col(term) == on)
        sold, stores = int(part["units"].sum()), part["store_id"].n_unique()
        if sold < LEAST_TREATED_UNITS or stores < LEAST_STORES:
            return (
                f"{sold} units in {stores} stores {when} it, {LEAST_TREATED_UNITS} in "
                f"{LEAST_STORES} are needed"
            )
    return None
