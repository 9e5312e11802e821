"""Markets for the benchmark of action plans: random ones, one of a chain's size, simulated ones."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl

from models.actions.candidates import candidates
from models.actions.settings import Economics, Limits, StoreLimits
from models.actions.standing import standing_plan, weeks_since_promotion
from models.lift.action_lift import action_lift
from models.lift.actions import ACTIONS
from models.lift.effects import estimate_effects
from models.simulator.market import Market
from models.simulator.panel import market_panel, true_lift
from models.simulator.settings import MarketSettings

WEEK = date(2017, 12, 25)
ECONOMICS = Economics()
# Shares of random instances without a limit, and with one that is rare.
UNLIMITED = 0.25
RARE = 0.3


def drawn(rng: np.random.Generator, *, stores: int, products: int, categories: int) -> pl.DataFrame:
    """Lifts at random, with errors that grow with sales; value and cost as ever."""
    shape = (stores, products, len(ACTIONS))
    base = np.exp(rng.normal(0, 0.5, (stores, 1, 1)) + rng.normal(1.5, 1, (1, products, 1)))
    log_effect = np.array([0.5 * a.display + 0.3 * a.mailer + 2 * a.discount for a in ACTIONS])
    effect = np.expm1(log_effect * rng.normal(1, 0.5, (1, products, 1)))
    net = 0.6 * base * effect * np.exp(rng.normal(0, 0.2, shape))
    error = np.abs(net) * rng.uniform(0.05, 0.6, shape) + 0.05 * base
    store, product, action = (a.ravel() for a in np.indices(shape))
    evidence = rng.choice(["model_only", "identified", "experiment"], products, p=[0.2, 0.6, 0.2])
    lift = pl.DataFrame(
        {
            "store_id": [f"s{i:03d}" for i in store],
            "product_id": [f"p{i:04d}" for i in product],
            "week_start": [WEEK] * store.size,
            "action": np.array([a.name for a in ACTIONS])[action],
            "own": (net / 0.6).ravel(),
            "net": net.ravel(),
            "low": (net - error).ravel(),
            "high": (net + error).ravel(),
            "evidence": evidence[product],
            "baseline": np.broadcast_to(base, shape).ravel(),
            "base_price": np.exp(rng.normal(1.1, 0.4, products))[product],
            "category": np.array([f"c{i:02d}" for i in range(categories)])[product % categories],
        }
    )
    pairs = lift.select("store_id", "product_id").unique(maintain_order=True)
    rested = pairs.with_columns(
        pl.Series("weeks_since_promotion", rng.integers(0, 12, pairs.height), dtype=pl.Int32)
    ).sample(fraction=0.6, seed=int(rng.integers(1 << 30)))
    return candidates(lift, actions=ACTIONS, economics=ECONOMICS, promoted=rested)


def instance(seed: int) -> tuple[pl.DataFrame, Limits]:
    """A small market and limits at random; the limits can always be kept by doing nothing."""
    rng = np.random.default_rng(seed)
    frame = drawn(
        rng, stores=int(rng.integers(1, 6)), products=int(rng.integers(2, 12)), categories=3
    )

    def limit(high: float) -> float | None:
        return None if rng.random() < UNLIMITED else float(np.round(rng.uniform(0, high), 2))

    def count(high: int) -> int | None:
        return None if rng.random() < UNLIMITED else int(rng.integers(0, high))

    def store() -> StoreLimits:
        return StoreLimits(
            budget=limit(80),
            display_slots=count(5),
            mailer_slots=count(5),
            actions=count(9),
            category_cap=count(4),
        )

    limits = Limits(
        budget=limit(200),
        store=store(),
        stores={"s001": store()},
        category_caps={"c01": 1} if rng.random() < RARE else {},
        weeks_between=int(rng.integers(0, 5)),
        excluded=frozenset({"p0001"}) if rng.random() < RARE else frozenset(),
    )
    return frame, limits


def chain(*, stores: int, products: int, seed: int) -> pl.DataFrame:
    """Every product in every store with every action."""
    return drawn(np.random.default_rng(seed), stores=stores, products=products, categories=22)


def estimated_and_true(
    seed: int, *, base_units: float = 20.0, stores: int = 30
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Candidates of the last week of a simulated market: as estimated, and as they truly are.

    Lifts are estimated from the weeks before; the true ones are those of the simulator. Evidence
    of the true candidates is as if an experiment had shown them all.

    Args:
        seed: Of the market.
        base_units: Mean weekly units of a product in a store; 20 is a supermarket's better seller.
        stores: How many.
    """
    settings = MarketSettings(stores=stores, products=90, weeks=78, base_units=base_units)
    market = Market(settings, seed=seed)
    panel = market_panel(market)
    week = market.weeks[-1]
    effects = estimate_effects(panel.filter(pl.col("week_start") < week))
    targets = panel.filter(pl.col("week_start") == week).select(
        "store_id", "product_id", "week_start", "base_price", "category", "type"
    )
    lift = action_lift(effects, targets)
    own = ["own", "cannibalised", "pulled_forward", "net"]
    key = ["store_id", "product_id", "week_start", "action"]
    true = lift.drop(*own, "low", "high").join(
        true_lift(market, weeks=[week]).select(*key, *own), on=key, how="inner"
    )
    if true.height != lift.height:
        raise RuntimeError(
            f"{lift.height} lifts, {true.height} true ones: the simulator lacks some"
        )
    promoted = weeks_since_promotion(panel, week=week)
    current = standing_plan(panel, week=week, actions=ACTIONS)
    known = true.with_columns(
        pl.col("net").alias("low"),
        pl.col("net").alias("high"),
        pl.lit("experiment").alias("evidence"),
    )
    estimated, truly = (
        candidates(rows, actions=ACTIONS, economics=ECONOMICS, promoted=promoted, current=current)
        for rows in (lift, known)
    )
    return estimated, truly


def limits_of(frame: pl.DataFrame) -> Limits:
    """The default limits of a store, and 40 dollars a week for each."""
    return Limits(budget=40.0 * frame["store_id"].n_unique())
