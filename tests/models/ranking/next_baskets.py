"""Baskets to hold out of: households with habits, cycles and some chance."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import polars as pl

START = datetime.fromisoformat("2021-03-01T09:00:00")


def shop(*, households: int = 40, days: int = 90, seed: int = 7) -> pl.DataFrame:
    """``household_id, basket_id, sold_at, product_id`` of households that shop every 3 days."""
    rng = np.random.default_rng(seed)
    popular = 1.0 / np.arange(1, 41)
    popular /= popular.sum()
    rows = []
    for h in range(households):
        habits = rng.choice(40, size=8, replace=False, p=popular)
        cycles = rng.integers(3, 15, size=8)
        last = -rng.uniform(0, 1, size=8) * cycles
        for b, day in enumerate(range(int(rng.integers(3)), days, 3)):
            due = rng.random(8) < np.where(day - last >= cycles, 0.8, 0.05)
            last[due] = day
            products = {*habits[due], *rng.choice(40, size=2, p=popular)}
            sold_at = START + timedelta(days=day)
            rows += [(f"h{h:03}", f"b{h}-{b}", sold_at, f"p{p:02}") for p in products]
    schema = ["household_id", "basket_id", "sold_at", "product_id"]
    return pl.DataFrame(rows, schema=schema, orient="row")


def ordered(frame: pl.DataFrame) -> pl.DataFrame:
    """The same baskets with an order in place of times."""
    number = pl.col("sold_at").rank("dense").over("household_id").cast(pl.Int64)
    return frame.select("household_id", "basket_id", number.alias("order"), "product_id")
