"""Small made-up markets for the tests of plans."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl

from models.actions.candidates import SCHEMA, prepared
from models.actions.settings import Limits, StoreLimits

WEEK = date(2017, 12, 25)
KINDS = {
    "display": (True, False, 0.0),
    "mailer": (False, True, 0.0),
    "discount_20": (False, False, 0.2),
    "display_mailer": (True, True, 0.0),
}


def candidate(
    store: str = "1",
    product: str = "a",
    action: str = "display",
    *,
    value: float = 10.0,
    width: float = 0.0,
    cost: float = 1.0,
    **columns: object,
) -> dict[str, object]:
    """A row; what is not named is unremarkable."""
    display, mailer, discount = KINDS[action]
    return {
        "store_id": store,
        "product_id": product,
        "week_start": WEEK,
        "action": action,
        "category": "SODA",
        "evidence": "identified",
        "display_slot": display,
        "mailer_slot": mailer,
        "discount": discount,
        "baseline": 10.0,
        "response": 10.0 + value,
        "lift_low": value - width,
        "lift": value,
        "lift_high": value + width,
        "value_low": value - width,
        "value": value,
        "value_high": value + width,
        "cost": cost,
        "weeks_since_promotion": None,
        "current": False,
    } | columns


def market(*rows: dict[str, object]) -> pl.DataFrame:
    return prepared(pl.DataFrame(list(rows), schema=dict(SCHEMA)))


def free() -> Limits:
    """No limits at all."""
    none = StoreLimits(display_slots=None, mailer_slots=None, actions=None, category_cap=None)
    return Limits(store=none, weeks_between=0)


def drawn(seed: int, *, stores: int = 3, products: int = 5) -> tuple[pl.DataFrame, Limits]:
    """A market and limits at random; the limits can always be kept by doing nothing."""
    rng = np.random.default_rng(seed)
    rows = []
    for store in range(stores):
        for product in range(products):
            for action in KINDS:
                if rng.random() < 0.2:
                    continue
                rows.append(
                    candidate(
                        str(store),
                        f"p{product}",
                        action,
                        value=float(np.round(rng.normal(6, 5), 2)),
                        width=float(rng.gamma(1, 2)),
                        cost=float(np.round(rng.gamma(2, 2), 2)),
                        category=f"c{product % 2}",
                        evidence=str(rng.choice(["model_only", "identified", "experiment"])),
                        weeks_since_promotion=int(rng.integers(0, 9)) or None,
                        current=bool(rng.random() < 0.1),
                    )
                )

    def limit(low: int, high: int) -> int | None:
        return None if rng.random() < 0.3 else int(rng.integers(low, high))

    limits = Limits(
        budget=limit(0, 60),
        store=StoreLimits(
            budget=limit(0, 25),
            display_slots=limit(0, 3),
            mailer_slots=limit(0, 4),
            actions=limit(0, 5),
            category_cap=limit(0, 3),
        ),
        stores={"1": StoreLimits(display_slots=1, actions=2)},
        category_caps={"c1": 1} if rng.random() < 0.3 else {},
        weeks_between=int(rng.integers(0, 4)),
        excluded=frozenset({"p3"}) if rng.random() < 0.3 else frozenset(),
    )
    return market(*rows), limits
