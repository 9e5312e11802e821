"""Which tests would pay: lifts that may be worth a promotion but are not proven, and their size."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from scipy.special import ndtr

from models.actions.baselines import Room
from models.actions.rules import admissible
from models.actions.sample_size import shortest, stores_per_arm
from models.actions.settings import Limits, TrialSettings

# Half widths of 95 % intervals in standard deviations.
Z95 = 1.96
# Knowing less than a dollar's worth a week pays for no test.
LEAST_PRIZE = 1.0
# Ideas of one category that are looked at: if these are too small to be shown, so is the rest.
TRIED = 5


@dataclass(frozen=True)
class Proposal:
    """A test of one action of one product over stores drawn at random.

    Attributes:
        product_id: What is promoted.
        action: How.
        category: Of the product.
        mean: Units per store and week without the action.
        lift: Own units more per store and week that it must show: as expected, or the fewest that
            pay if those are more.
        prize: What it is worth per week to know, over the chain.
        weeks: How long it takes; the longest allowed if it cannot be done.
        stores: Per arm.
        available: Stores that could take part.
        feasible: Whether they are enough.
        cost: What the treated stores' actions cost over all weeks.
        treated: Stores with the action, drawn at random; empty if it cannot be done.
        control: Stores without it.
    """

    product_id: str
    action: str
    category: str
    mean: float
    lift: float
    prize: float
    weeks: int
    stores: int
    available: int
    feasible: bool
    cost: float
    treated: tuple[str, ...] = ()
    control: tuple[str, ...] = ()

    @property
    def says(self) -> str:
        size = f"{self.stores:,} stores with and {self.stores:,} without, for {self.weeks} weeks"
        if self.feasible:
            return f"{self.action} of {self.product_id}: {size}"
        return (
            f"{self.action} of {self.product_id}: {size}, more than the {self.available:,} stores "
            "that could take part"
        )


def proposals(
    candidates: pl.DataFrame,
    plan: pl.DataFrame,
    limits: Limits,
    trial: TrialSettings,
    *,
    seed: int,
    standing: bool = False,
) -> tuple[Proposal, ...]:
    """The tests with the largest prize, one per category.

    Lifts that are not proven (they rest on a model, or their lower bound does not cover their
    cost) are ranked by the expected value of perfect information (Raiffa and Schlaifer 1961): with
    value less cost over the chain of mean m and spread s, knowing it is worth m F(m/s) + s f(m/s),
    the mean of what it brings where it pays. Errors of one action of one product are taken as the
    same in every store. Tests take only what the plan
    leaves of slots, caps and budget in a store, and no product that the plan promotes there. One
    test per category: two would touch each other's sales.

    Args:
        candidates: All of the week, from ``candidates.prepared``.
        plan: What the week does.
        limits: What stores have room for.
        trial: Power, longest test, and how many tests.
        seed: Of the draw of stores.
        standing: Whether ``plan`` is what stands: then a test may take a slot from it, and only
            its products are left alone.

    Returns:
        At most ``trial.proposals``, feasible ones first, each by its prize.
    """
    made: list[Proposal] = []
    room = Room(limits)
    for row in (plan.clear() if standing else plan).iter_rows(named=True):
        room.take(row)
    tried: Counter[str] = Counter()
    ranked = _ranked(candidates, plan, limits)
    for idea in ranked.iter_rows(named=True):
        if idea["category"] in {p.category for p in made if p.feasible}:
            continue
        if tried[idea["category"]] >= TRIED:
            continue
        tried[idea["category"]] += 1
        made.append(_proposal(idea, candidates, plan, limits, trial, room, seed=seed))
        if sum(p.feasible for p in made) >= trial.proposals:
            break
    best = sorted(made, key=lambda p: (not p.feasible, -p.prize, p.product_id, p.action))
    return tuple(_one_per_category(best)[: trial.proposals])


def _ranked(candidates: pl.DataFrame, plan: pl.DataFrame, limits: Limits) -> pl.DataFrame:
    """Products by actions with what knowing their lift is worth a week, largest first."""
    places = plan.select("store_id", "product_id")
    free = candidates.join(places, on=["store_id", "product_id"], how="anti").filter(
        ~pl.col("product_id").is_in(sorted(limits.excluded))
    )
    proven = admissible(free, limits) & (free["value_low"] > free["cost"])
    unit = (pl.col("value_high") - pl.col("value_low")) / (pl.col("lift_high") - pl.col("lift_low"))
    own = pl.col("response") - pl.col("baseline")
    ideas = (
        free.filter(~proven & (pl.col("lift_high") > pl.col("lift_low")))
        .group_by("category", "product_id", "action")
        .agg(
            (pl.col("value") - pl.col("cost")).sort().sum().alias("_mean"),
            ((pl.col("value_high") - pl.col("value_low")) / (2 * Z95)).sort().sum().alias("_sd"),
            pl.col("baseline").sort().mean().alias("mean"),
            pl.max_horizontal(own, pl.col("cost") / unit).sort().mean().alias("lift"),
            pl.col("cost").sort().mean(),
            pl.len().alias("stores"),
        )
    )
    z = (ideas["_mean"] / ideas["_sd"]).to_numpy()
    density = np.exp(-(z**2) / 2.0) / np.sqrt(2.0 * np.pi)
    prize = ideas["_mean"].to_numpy() * ndtr(z) + ideas["_sd"].to_numpy() * density
    return (
        ideas.with_columns(pl.Series("prize", prize, dtype=pl.Float64))
        .filter((pl.col("prize") >= LEAST_PRIZE) & (pl.col("lift") > 0))
        .sort("prize", "product_id", "action", descending=[True, False, False])
    )


def _proposal(
    idea: Mapping[str, Any],
    candidates: pl.DataFrame,
    plan: pl.DataFrame,
    limits: Limits,
    trial: TrialSettings,
    room: Room,
    *,
    seed: int,
) -> Proposal:
    rested = (pl.col("weeks_since_promotion") >= limits.weeks_between).fill_null(value=True)
    rows = candidates.filter(
        (pl.col("product_id") == idea["product_id"]) & (pl.col("action") == idea["action"]) & rested
    ).join(plan.select("store_id", "product_id"), on=["store_id", "product_id"], how="anti")
    by_store = {row["store_id"]: row for row in rows.iter_rows(named=True) if room.fits(row)}
    drawn = sorted(by_store, key=lambda store: _hash(seed, idea, store))
    size = {"mean": idea["mean"], "lift": idea["lift"], "trial": trial}
    found = shortest(stores=len(drawn), **size)
    weeks = found[0] if found else trial.most_weeks
    stores = found[1] if found else stores_per_arm(weeks=weeks, **size)
    treated: list[str] = []
    if found:
        for store in drawn:
            # The chain's budget may end before the stores do.
            if len(treated) < stores and room.take(by_store[store]):
                treated.append(store)
    feasible = found is not None and len(treated) == stores
    control = [store for store in drawn if store not in set(treated)][:stores]
    return Proposal(
        product_id=idea["product_id"],
        action=idea["action"],
        category=idea["category"],
        mean=idea["mean"],
        lift=idea["lift"],
        prize=idea["prize"],
        weeks=weeks,
        stores=stores,
        available=len(drawn),
        feasible=feasible,
        cost=math.fsum(by_store[s]["cost"] for s in treated) * weeks
        if feasible
        else stores * weeks * idea["cost"],
        treated=tuple(sorted(treated)) if feasible else (),
        control=tuple(sorted(control)) if feasible else (),
    )


def _one_per_category(made: Sequence[Proposal]) -> list[Proposal]:
    first: dict[str, Proposal] = {}
    for proposal in made:
        first.setdefault(proposal.category, proposal)
    return list(first.values())


def _hash(seed: int, idea: Mapping[str, Any], store: str) -> bytes:
    text = f"{seed}|test|{idea['product_id']}|{idea['action']}|{store}"
    return hashlib.blake2b(text.encode(), digest_size=8).digest()
