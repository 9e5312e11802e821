"""Simpler plans to compare with: what stands, what sells most, what lifts most, value for money."""

from __future__ import annotations

from collections import Counter

import numpy as np
import polars as pl

from models.actions.candidates import KEY
from models.actions.rules import admissible
from models.actions.settings import Limits

CURRENT = "current"
TOP_RESPONSE = "top_response"
TOP_LIFT = "top_lift"
GREEDY_RATIO = "greedy_ratio"
RANDOM = "random"
BASELINES = (CURRENT, TOP_RESPONSE, TOP_LIFT, GREEDY_RATIO, RANDOM)

# A cent of rounding must not turn away what fits.
_CENT = 0.005


def baselines(candidates: pl.DataFrame, limits: Limits, *, seed: int) -> dict[str, pl.DataFrame]:
    """Every baseline's chosen rows.

    All but the plan as it stands keep the limits from above and take what is required; they are
    filled one action after another, the best first by their own measure: ``top_response`` the
    units it should sell under the action, ``top_lift`` the units it should sell more,
    ``greedy_ratio`` the sure gain per money spent, where there is one, ``random`` chance.

    Args:
        candidates: From ``candidates.prepared``.
        limits: What must hold.
        seed: Of ``random``.
    """
    allowed = candidates.filter(admissible(candidates, limits))
    gain = pl.col("value_low") - pl.col("cost")
    chance = np.random.default_rng(seed).random(allowed.height)
    ratio = allowed.filter(gain > 0).with_columns((gain / pl.col("cost").clip(0.01)).alias("_by"))
    return {
        CURRENT: candidates.filter(pl.col("current")),
        TOP_RESPONSE: filled(allowed.with_columns(pl.col("response").alias("_by")), limits),
        TOP_LIFT: filled(allowed.with_columns(pl.col("lift").alias("_by")), limits),
        GREEDY_RATIO: filled(ratio, limits),
        RANDOM: filled(allowed.with_columns(pl.Series("_by", chance)), limits),
    }


def filled(rows: pl.DataFrame, limits: Limits) -> pl.DataFrame:
    """Take rows in falling order of ``_by``, each that still fits.

    Args:
        rows: Candidates with ``_by``.
        limits: Limits from above hold; those from below are not looked at.
    """
    promised = {(r.store_id, r.product_id, r.action) for r in limits.required}
    first = rows.with_columns(
        pl.Series("_first", [key in promised for key in rows.select(KEY).iter_rows()], pl.Boolean)
    ).sort(["_first", "_by", *KEY], descending=[True, True, False, False, False])
    room = Room(limits)
    taken = [
        row["_at"]
        for row in first.with_row_index("_at").iter_rows(named=True)
        if row["store_id"] not in room.full and room.take(row)
    ]
    return first[taken].sort(KEY).drop("_first", "_by")


class Room:
    """What is still free while a plan is filled one action after another."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.spent = 0.0
        self.used: Counter[tuple[str, ...]] = Counter()
        self.money: dict[str, float] = {}
        self.places: set[tuple[str, str]] = set()
        self.full: set[str] = set()

    def fits(self, row: dict) -> bool:  # type: ignore[type-arg]
        """Whether an action can be added: a named row of candidates."""
        store, own = row["store_id"], self.limits.of(row["store_id"])
        cap = self.limits.category_caps.get(row["category"], own.category_cap)
        if (store, row["product_id"]) in self.places:
            return False
        counted = (
            (own.display_slots, row["display_slot"], ("display", store)),
            (own.mailer_slots, row["mailer_slot"], ("mailer", store)),
            (own.actions, True, ("actions", store)),
            (cap, True, ("category", store, row["category"])),
        )
        if any(
            wanted and most is not None and self.used[key] >= most for most, wanted, key in counted
        ):
            return False
        spent = self.money.get(store, 0.0) + row["cost"]
        if own.budget is not None and spent > own.budget + _CENT:
            return False
        budget = self.limits.budget
        return budget is None or self.spent + row["cost"] <= budget + _CENT

    def take(self, row: dict) -> bool:  # type: ignore[type-arg]
        """Add an action if it fits; whether it did."""
        if not self.fits(row):
            return False
        store = row["store_id"]
        self.places.add((store, row["product_id"]))
        self.used["display", store] += row["display_slot"]
        self.used["mailer", store] += row["mailer_slot"]
        self.used["actions", store] += 1
        self.used["category", store, row["category"]] += 1
        self.money[store] = self.money.get(store, 0.0) + row["cost"]
        self.spent += row["cost"]
        most = self.limits.of(store).actions
        if most is not None and self.used["actions", store] >= most:
            self.full.add(store)
        return True
