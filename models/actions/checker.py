"""An independent judge of a plan: counts with joins and sums, sharing nothing with the solver."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from models.actions.candidates import KEY, MODEL_ONLY, PLACE
from models.actions.settings import Limits

# A hundredth of a cent.
ROUNDING = 1e-4


def violations(
    plan: pl.DataFrame, candidates: pl.DataFrame, limits: Limits, *, proven: bool = True
) -> list[str]:
    """Every limit that a plan breaks, in words; empty if it keeps them all.

    Args:
        plan: Chosen rows: ``store_id, product_id, action``.
        candidates: Columns of ``candidates.SCHEMA``.
        limits: What must hold.
        proven: Whether an action needs better evidence than a model; what is drawn at random to
            learn from does not.
    """
    facts = candidates.select(
        *KEY,
        "category",
        "evidence",
        "display_slot",
        "mailer_slot",
        "cost",
        "weeks_since_promotion",
    )
    rows = plan.select(KEY).join(facts, on=list(KEY), how="left")
    promised = {(r.store_id, r.product_id, r.action) for r in limits.required}
    return [
        *_rows(rows, limits, promised, proven=proven),
        *_chain(rows, limits),
        *_stores(rows, candidates, limits),
        *_categories(rows, candidates, limits),
        *(
            f"required {action} of {product} in store {store} is missing"
            for store, product, action in sorted(promised - set(rows.select(KEY).iter_rows()))
        ),
    ]


def _rows(
    rows: pl.DataFrame, limits: Limits, promised: set[tuple[str, str, str]], *, proven: bool
) -> Iterator[str]:
    for store, product, action in rows.filter(pl.col("cost").is_null()).select(KEY).iter_rows():
        yield f"{action} of {product} in store {store} is no candidate"
    for store, product, count in rows.group_by(PLACE).len().sort(PLACE).iter_rows():
        if count > 1:
            yield f"{product} has {count} actions in store {store}"
    for row in rows.sort(KEY).iter_rows(named=True):
        what = f"{row['action']} of {row['product_id']} in store {row['store_id']}"
        rested = row["weeks_since_promotion"]
        if rested is not None and rested < limits.weeks_between:
            yield f"{what} comes {rested} weeks after the last, before {limits.weeks_between}"
        if row["product_id"] in limits.excluded:
            yield f"{what}: the product is excluded"
        key = (row["store_id"], row["product_id"], row["action"])
        if proven and row["evidence"] == MODEL_ONLY and key not in promised:
            yield f"{what} rests on a model alone"


def _chain(rows: pl.DataFrame, limits: Limits) -> Iterator[str]:
    spent = float(rows["cost"].sum())
    if limits.budget is not None and spent > limits.budget + ROUNDING:
        yield f"the chain spends {spent:.2f} of {limits.budget:.2f}"


def _stores(rows: pl.DataFrame, candidates: pl.DataFrame, limits: Limits) -> Iterator[str]:
    counted = rows.group_by("store_id").agg(
        pl.col("cost").sum().alias("budget"),
        pl.col("display_slot").sum().alias("display_slots"),
        pl.col("mailer_slot").sum().alias("mailer_slots"),
        pl.len().alias("actions"),
    )
    every = candidates.select("store_id").unique().sort("store_id")
    for row in (
        every.join(counted, on="store_id", how="left").sort("store_id").iter_rows(named=True)
    ):
        own = limits.of(row["store_id"])
        for name in ("budget", "display_slots", "mailer_slots", "actions"):
            most, used = getattr(own, name), row[name] or 0
            if most is not None and used > most + ROUNDING:
                yield f"store {row['store_id']}: {name} {used:g} of {most:g}"
        if (row["actions"] or 0) < own.least_actions:
            yield f"store {row['store_id']}: fewer than {own.least_actions} actions"


def _categories(rows: pl.DataFrame, candidates: pl.DataFrame, limits: Limits) -> Iterator[str]:
    counts = {
        (store, category): count
        for store, category, count in rows.group_by("store_id", "category").len().iter_rows()
    }
    for (store, category), used in sorted(counts.items()):
        most = limits.category_caps.get(category, limits.of(store).category_cap)
        if most is not None and used > most:
            yield f"store {store}: {used} products of {category}, cap {most}"
    for store in candidates["store_id"].unique().sort():
        for category, least in limits.category_least.items():
            if counts.get((store, category), 0) < least:
                yield f"store {store}: fewer than {least} products of {category}"
