"""The limits of a plan as named rules over its candidates: sums between a low and a high."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from models.actions.candidates import KEY, MODEL_ONLY
from models.actions.settings import Limits

_ROW = "_row"


@dataclass(frozen=True, eq=False)
class Rule:
    """``low <= sum of weights of the chosen among rows <= high``.

    Attributes:
        name: Kind and place, e.g. ``display_slots:367``; unique in a plan.
        says: In words, for people.
        rows: Candidates it counts, by place in their frame.
        weights: What each counts; not negative.
        low: Least sum.
        high: Greatest sum.
        unit: What is counted.
    """

    name: str
    says: str
    rows: np.ndarray
    weights: np.ndarray
    low: float = 0.0
    high: float = np.inf
    unit: str = "actions"


def admissible(candidates: pl.DataFrame, limits: Limits) -> pl.Series:
    """Which candidates may be taken at all: evidence, rest between promotions, exclusions.

    An action that is required is admitted whatever its evidence: it was promised.
    """
    required = _is_required(candidates, limits)
    rested = (pl.col("weeks_since_promotion") >= limits.weeks_between).fill_null(value=True)
    allowed = candidates.select(
        (pl.col("evidence") != MODEL_ONLY)
        & rested
        & ~pl.col("product_id").is_in(sorted(limits.excluded))
    ).to_series()
    return allowed | required


def one_per_place(candidates: pl.DataFrame) -> list[np.ndarray]:
    """Candidates that exclude each other: those of one product in one store."""
    if candidates.is_empty():
        return []
    pairs = candidates.select(pl.struct("store_id", "product_id").rle_id().alias("place"))
    places = pairs["place"].to_numpy()
    starts = np.flatnonzero(places[1:] != places[:-1]) + 1
    return [rows for rows in np.split(np.arange(len(places)), starts) if len(rows) > 1]


def rules(
    candidates: pl.DataFrame, limits: Limits, *, stores: Sequence[str] = ()
) -> tuple[Rule, ...]:
    """Every declared limit, as it applies to these candidates.

    Args:
        candidates: From ``candidates.prepared``.
        limits: What the plan must respect.
        stores: Every store of the plan; those without a candidate may lack what they must have.

    Raises:
        ValueError: A required action is no candidate.
    """
    frame = candidates.with_row_index(_ROW)
    return (
        *_promised(frame, limits),
        *_rest(frame, limits),
        *_chain(frame, limits),
        *_stores(frame, limits),
        *_least(frame, limits, sorted({*stores, *frame["store_id"].unique()})),
        *_categories(frame, limits),
    )


def _chain(frame: pl.DataFrame, limits: Limits) -> Iterator[Rule]:
    if limits.budget is not None:
        yield Rule(
            "budget",
            f"the actions of the chain cost at most {limits.budget:,.2f}",
            frame[_ROW].to_numpy(),
            frame["cost"].to_numpy(),
            high=limits.budget,
            unit="money",
        )


def _stores(frame: pl.DataFrame, limits: Limits) -> Iterator[Rule]:
    for (store,), part in frame.group_by("store_id", maintain_order=True):
        own = limits.of(str(store))
        rows, ones = part[_ROW].to_numpy(), np.ones(part.height)
        if own.budget is not None:
            yield Rule(
                f"store_budget:{store}",
                f"the actions of store {store} cost at most {own.budget:,.2f}",
                rows,
                part["cost"].to_numpy(),
                high=own.budget,
                unit="money",
            )
        if own.display_slots is not None:
            yield Rule(
                f"display_slots:{store}",
                f"store {store} has room for {own.display_slots} displays",
                rows,
                part["display_slot"].cast(pl.Float64).to_numpy(),
                high=own.display_slots,
                unit="displays",
            )
        if own.mailer_slots is not None:
            yield Rule(
                f"mailer_slots:{store}",
                f"the mailer of store {store} has {own.mailer_slots} places",
                rows,
                part["mailer_slot"].cast(pl.Float64).to_numpy(),
                high=own.mailer_slots,
                unit="places",
            )
        if own.actions is not None:
            yield Rule(
                f"actions:{store}",
                f"store {store} promotes at most {own.actions} products",
                rows,
                ones,
                high=own.actions,
            )


def _least(frame: pl.DataFrame, limits: Limits, stores: Sequence[str]) -> Iterator[Rule]:
    for store in stores:
        least = limits.of(store).least_actions
        if least or limits.category_least:
            part = frame.filter(pl.col("store_id") == store)
        if least:
            yield Rule(
                f"least_actions:{store}",
                f"store {store} promotes at least {least} products",
                part[_ROW].to_numpy(),
                np.ones(part.height),
                low=least,
            )
        for category, asked in limits.category_least.items():
            rows = part.filter(pl.col("category") == category)[_ROW].to_numpy()
            yield Rule(
                f"category_least:{store}:{category}",
                f"store {store} promotes at least {asked} products of {category}",
                rows,
                np.ones(len(rows)),
                low=asked,
            )


def _categories(frame: pl.DataFrame, limits: Limits) -> Iterator[Rule]:
    for (store, category), part in frame.group_by("store_id", "category", maintain_order=True):
        cap = limits.category_caps.get(str(category), limits.of(str(store)).category_cap)
        rows, ones = part[_ROW].to_numpy(), np.ones(part.height)
        if cap is not None:
            yield Rule(
                f"category_cap:{store}:{category}",
                f"store {store} promotes at most {cap} products of {category}",
                rows,
                ones,
                high=cap,
            )


def _promised(frame: pl.DataFrame, limits: Limits) -> Iterator[Rule]:
    for r in limits.required:
        row = frame.filter(
            (pl.col("store_id") == r.store_id)
            & (pl.col("product_id") == r.product_id)
            & (pl.col("action") == r.action)
        )
        what = f"{r.action} of {r.product_id} in store {r.store_id}"
        if row.is_empty():
            raise ValueError(
                f"{what} is required but no candidate: the store does not sell it, or no lift of "
                "this action was estimated; take it out of limits.required"
            )
        yield Rule(
            f"required:{r.store_id}:{r.product_id}:{r.action}",
            f"{what} is required",
            row[_ROW].to_numpy(),
            np.ones(1),
            low=1,
        )


def _rest(frame: pl.DataFrame, limits: Limits) -> Iterator[Rule]:
    # Only a required action can break it: others that are tired are no candidates at all.
    promised = frame.filter(_is_required(frame, limits))
    tired = promised.filter(pl.col("weeks_since_promotion") < limits.weeks_between)
    for row in tired.iter_rows(named=True):
        yield Rule(
            f"weeks_between:{row['store_id']}:{row['product_id']}:{row['action']}",
            f"{row['product_id']} rests {limits.weeks_between} weeks between promotions in store "
            f"{row['store_id']}, and the last was {row['weeks_since_promotion']} ago",
            np.array([row[_ROW]]),
            np.ones(1),
            high=0,
        )
    for row in promised.filter(pl.col("product_id").is_in(sorted(limits.excluded))).iter_rows(
        named=True
    ):
        yield Rule(
            f"excluded:{row['store_id']}:{row['product_id']}:{row['action']}",
            f"{row['product_id']} is never promoted",
            np.array([row[_ROW]]),
            np.ones(1),
            high=0,
        )


def _is_required(candidates: pl.DataFrame, limits: Limits) -> pl.Series:
    wanted = pl.DataFrame(
        {
            "store_id": [r.store_id for r in limits.required],
            "product_id": [r.product_id for r in limits.required],
            "action": [r.action for r in limits.required],
        },
        schema=dict.fromkeys(KEY, pl.String),
    ).with_columns(pl.lit(value=True).alias("_required"))
    return (
        candidates.select(KEY)
        .join(wanted.unique(), on=list(KEY), how="left", maintain_order="left")["_required"]
        .fill_null(value=False)
    )
