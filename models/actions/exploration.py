"""The part of a plan that is left to chance, and with which probability each thing could happen.

Each planned action is a slot. With probability ``share`` it is replaced by one drawn evenly among
its alternatives: none at all, another action of the same product, or the same action of another
product of the store and category, none of which takes more money, displays or places in the
mailer. So every draw keeps every limit whatever the other slots draw, the draws are independent,
and each propensity is known exactly: what off-policy estimators need (Horvitz and Thompson 1952).
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from models.actions.candidates import KEY, NONE
from models.actions.settings import Exploration, Limits

# Other products that may stand in for a planned one: each more makes every propensity smaller.
SUBSTITUTES = 3

LOG_SCHEMA: Mapping[str, type[pl.DataType]] = {
    "store_id": pl.String,
    "slot_product_id": pl.String,
    "slot_action": pl.String,
    "week_start": pl.Date,
    "product_id": pl.String,
    "action": pl.String,
    "propensity": pl.Float64,
    "drawn": pl.Boolean,
}


@dataclass(frozen=True, eq=False)
class Drawn:
    """A plan as it is carried out.

    Attributes:
        rows: Candidates carried out, with ``propensity``, ``explored``, ``slot_product_id`` and
            ``slot_action`` (what was planned in its place).
        log: Every thing that could have happened in every slot, doing nothing (``none``) among
            them: columns of ``LOG_SCHEMA``; propensities of a slot sum to one.
        given_up: Expected value less cost that exploring gives up, money per week.
    """

    rows: pl.DataFrame
    log: pl.DataFrame
    given_up: float


def explore(
    plan: pl.DataFrame, candidates: pl.DataFrame, limits: Limits, exploration: Exploration
) -> Drawn:
    """Draw what is carried out of a plan.

    Args:
        plan: Chosen candidates.
        candidates: All of the week, from ``candidates.prepared``. Alternatives may rest on a model
            alone: to be drawn is how they are tested.
        limits: Rest between promotions and exclusions hold for alternatives as well. A required
            action is never replaced; nor by nothing where a least number of actions is asked for.
        exploration: Share and seed.
    """
    rested = (pl.col("weeks_since_promotion") >= limits.weeks_between).fill_null(value=True)
    free = candidates.filter(rested & ~pl.col("product_id").is_in(sorted(limits.excluded)))
    alternatives = _alternatives(plan, free)
    promised = {(r.store_id, r.product_id, r.action) for r in limits.required}
    log: list[dict[str, Any]] = []
    kept: list[dict[str, Any]] = []
    given_up = 0.0
    for slot in plan.sort(KEY).iter_rows(named=True):
        key = (slot["store_id"], slot["product_id"], slot["action"])
        others: list[dict[str, Any]] = [] if key in promised else list(alternatives[key])
        if key not in promised and not _must_act(slot, limits):
            others.append(slot | {"action": NONE, "value": 0.0, "cost": 0.0})
        share = exploration.share if others else 0.0
        options = [(slot, 1.0 - share), *((other, share / len(others)) for other in others)]
        at = _draw(slot, [p for _, p in options], seed=exploration.seed)
        named = {"slot_product_id": slot["product_id"], "slot_action": slot["action"]}
        for i, (row, propensity) in enumerate(options):
            log.append(row | named | {"propensity": propensity, "drawn": i == at})
            given_up += propensity * (slot["value"] - slot["cost"] - row["value"] + row["cost"])
        row, propensity = options[at]
        if row["action"] != NONE:
            kept.append(row | named | {"propensity": propensity, "explored": at > 0})
    schema = dict(plan.schema) | {
        "slot_product_id": pl.String,
        "slot_action": pl.String,
        "propensity": pl.Float64,
        "explored": pl.Boolean,
    }
    return Drawn(
        rows=pl.DataFrame(kept, schema=schema).sort(KEY),
        log=pl.DataFrame(
            [{name: row[name] for name in LOG_SCHEMA} for row in log], schema=dict(LOG_SCHEMA)
        ),
        given_up=given_up,
    )


def _alternatives(
    plan: pl.DataFrame, free: pl.DataFrame
) -> defaultdict[tuple[str, str, str], list[dict[str, Any]]]:
    """By slot: other actions of its product, and its own action of products that no slot holds."""
    slots = plan.select(
        *KEY,
        "category",
        pl.col("display_slot").alias("_display"),
        pl.col("mailer_slot").alias("_mailer"),
        pl.col("cost").alias("_most"),
    )
    no_more = (
        (pl.col("cost") <= pl.col("_most"))
        & (pl.col("display_slot") <= pl.col("_display"))
        & (pl.col("mailer_slot") <= pl.col("_mailer"))
    )
    same = (
        slots.rename({"action": "_slot_action"})
        .join(free.drop("category"), on=["store_id", "product_id"])
        .filter(no_more & (pl.col("action") != pl.col("_slot_action")))
        .sort(KEY)
    )
    found: defaultdict[tuple[str, str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in same.iter_rows(named=True):
        found[row["store_id"], row["product_id"], row["_slot_action"]].append(row)
    idle = free.join(
        slots.select("store_id", "product_id"), on=["store_id", "product_id"], how="anti"
    )
    others = (
        slots.rename({"product_id": "_slot_product"})
        .join(idle, on=["store_id", "category", "action"])
        .filter(no_more)
        .sort("value", "product_id", "_slot_product", descending=[True, False, False])
    )
    taken: set[tuple[str, str]] = set()
    counts: defaultdict[tuple[str, str, str], int] = defaultdict(int)
    for row in others.iter_rows(named=True):
        key = (row["store_id"], row["_slot_product"], row["action"])
        place = (row["store_id"], row["product_id"])
        # A product stands in for one slot only: two draws must not meet.
        if place not in taken and counts[key] < SUBSTITUTES:
            taken.add(place)
            counts[key] += 1
            found[key].append(row)
    return found


def _must_act(slot: Mapping[str, Any], limits: Limits) -> bool:
    least = limits.of(slot["store_id"]).least_actions
    return bool(least or limits.category_least.get(slot["category"]))


def _draw(slot: Mapping[str, Any], propensities: list[float], *, seed: int) -> int:
    """Place of the drawn option; of the slot's own hash, so that other slots do not change it."""
    text = f"{seed}|{slot['week_start']}|{slot['store_id']}|{slot['product_id']}"
    number = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
    left = number / 2**64
    for i, propensity in enumerate(propensities):
        left -= propensity
        if left < 0:
            return i
    return 0
