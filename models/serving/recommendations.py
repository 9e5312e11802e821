"""What a store is told to do in a week: its plan, its tests, and what else was considered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from models.actions.candidates import MODEL_ONLY
from models.actions.reasons import reason
from models.actions.settings import Limits
from models.actions.store_budget import affordable_tests, beside_tests, store_plan
from models.actions.weekly import ACTION, CONTROL, EXPLORED, TREATED
from models.serving.action_snapshot import ActionSnapshot

# Not in the plan: shown so that people see what else there is, and why not.
CONSIDERED = "considered"
# Carried out first, then tests, then stores that only compare.
_ORDER = {ACTION: 0, EXPLORED: 0, TREATED: 1, CONTROL: 2}
_SHOWN = (
    "product_id",
    "action",
    "kind",
    "evidence",
    "lift_low",
    "lift",
    "lift_high",
    "value_low",
    "value",
    "value_high",
    "cost",
    "propensity",
    "test_weeks",
    "test_stores",
)


@dataclass(frozen=True)
class Recommended:
    """An answer for one store.

    Attributes:
        actions: To carry out or to test, surest gain first; keys as the plan's columns, and
            ``reasons``, a list.
        considered: The best of what is not in the plan, each with why not.
        cost: Of all actions and tests chosen, also those beyond ``k``.
        replanned: Whether the budget called for another plan than the standing one.
    """

    actions: Sequence[Mapping[str, Any]]
    considered: Sequence[Mapping[str, Any]]
    cost: float
    replanned: bool


def recommend(
    snapshot: ActionSnapshot, *, store_id: str, k: int, budget: float | None = None
) -> Recommended:
    """The plan of one store, or the best one that a smaller budget allows.

    Args:
        snapshot: Of the week.
        store_id: The store.
        k: Actions at most, and as many considered ones.
        budget: What the store's actions may cost together; ``None``: as planned.

    Raises:
        ContradictionError: No plan within the budget keeps all limits.
    """
    candidates = snapshot.candidates.get(store_id)
    chosen = snapshot.plan.get(store_id)
    replanned = False
    rows: list[dict[str, Any]] = []
    if chosen is not None:
        spent = chosen.filter(pl.col("kind") != CONTROL)["cost"].sum()
        replanned = budget is not None and budget < spent
        if replanned and budget is not None:
            rows = _within(snapshot, chosen, candidates, store_id=store_id, budget=budget)
        else:
            rows = [r | {"reasons": r["reasons"].split("; ")} for r in chosen.to_dicts()]
    rows.sort(key=lambda r: (_ORDER[r["kind"]], r["cost"] - r["value_low"], r["product_id"]))
    return Recommended(
        actions=[_shown(row) for row in rows[:k]],
        considered=_considered(candidates, rows, snapshot.settings.limits, k=k),
        cost=round(sum(r["cost"] for r in rows if r["kind"] != CONTROL), 2),
        replanned=replanned,
    )


def _within(
    snapshot: ActionSnapshot,
    chosen: pl.DataFrame,
    candidates: pl.DataFrame | None,
    *,
    store_id: str,
    budget: float,
) -> list[dict[str, Any]]:
    """Actions planned anew under the budget, and the tests that what is left pays for."""
    rows: list[dict[str, Any]] = []
    if candidates is not None and chosen["kind"].is_in([ACTION, EXPLORED]).any():
        # Tests stand as they are planned: another action of their product would spoil them.
        tested = chosen.filter(pl.col("kind").is_in([TREATED, CONTROL]))
        free, limits = beside_tests(candidates, snapshot.settings.limits, tested, store_id=store_id)
        made = store_plan(free, limits, store_id=store_id, budget=budget)
        # Nothing in it is drawn at random: it is certain.
        told = {"kind": ACTION, "propensity": 1.0, "test_weeks": None, "test_stores": None}
        rows = [r | told | {"reasons": reason(r).split("; ")} for r in made.rows.to_dicts()]
    left = budget - sum(row["cost"] for row in rows)
    tests = affordable_tests(chosen.filter(pl.col("kind") == TREATED), budget=left)
    kept = pl.concat([tests, chosen.filter(pl.col("kind") == CONTROL)])
    return rows + [r | {"reasons": r["reasons"].split("; ")} for r in kept.to_dicts()]


def _considered(
    candidates: pl.DataFrame | None, planned: Sequence[Mapping[str, Any]], limits: Limits, *, k: int
) -> list[dict[str, Any]]:
    if candidates is None:
        return []
    busy = [row["product_id"] for row in planned]
    best = (
        candidates.filter(~pl.col("product_id").is_in(busy))
        .with_columns((pl.col("value") - pl.col("cost")).alias("net"))
        .sort("net", "product_id", "action", descending=[True, False, False])
        .unique("product_id", keep="first", maintain_order=True)
        .head(k)
    )
    nothing = {"kind": CONSIDERED, "propensity": None, "test_weeks": None, "test_stores": None}
    return [
        _shown(row | nothing | {"reasons": [_why_not(row, limits), *reason(row).split("; ")]})
        for row in best.to_dicts()
    ]


def _why_not(row: Mapping[str, Any], limits: Limits) -> str:
    """The first rule that keeps it out of a plan."""
    rested = row["weeks_since_promotion"]
    if row["product_id"] in limits.excluded:
        return "not planned: the product is never promoted"
    if row["evidence"] == MODEL_ONLY:
        return "not planned: no experiment or comparison shows it yet, so test it first"
    if rested is not None and rested < limits.weeks_between:
        return f"not planned: it rests {limits.weeks_between} weeks between promotions"
    if row["value_low"] <= row["cost"]:
        return "not planned: it is not surely worth its cost"
    return "not planned: others are worth more within the limits"


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in _SHOWN} | {"reasons": row["reasons"]}
