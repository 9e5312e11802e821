"""A small market by arithmetic: stores x products x weeks with promotions that work."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl

FIRST = date(2017, 1, 2)


def week(number: int) -> date:
    return FIRST + timedelta(weeks=number)


def market(*, stores: int = 6, products: int = 5, weeks: int = 40, seed: int = 0) -> pl.DataFrame:
    """A full panel: each product sells about 8 a week, three times as much on offer."""
    rng = np.random.default_rng(seed)
    rows = []
    for s in range(stores):
        for p in range(products):
            size = 8.0 * np.exp(rng.normal(0, 0.4))
            for w in range(weeks):
                on = (w + 2 * p) % 7 == 0
                display = on and (s + w) % 2 == 0
                mean = size * (2.0 if on else 1.0) * (1.6 if display else 1.0)
                units = int(rng.poisson(mean))
                rows.append(
                    {
                        "store_id": f"s{s}",
                        "product_id": f"p{p}",
                        "week_start": week(w),
                        "units": units,
                        "revenue": units * (2.25 if on else 3.0),
                        "price": 2.25 if on else 3.0,
                        "base_price": 3.0,
                        "discount": 0.25 if on else 0.0,
                        "display": "7" if display else "0",
                        "mailer": "A" if on and p % 2 else "0",
                        "category": f"c{p % 2}",
                        "manufacturer_id": f"m{p % 3}",
                        "panel_trips": 100 + 10 * s,
                    }
                )
    return pl.DataFrame(rows)
