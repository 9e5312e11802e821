from __future__ import annotations

from datetime import date, datetime, time, timedelta

import numpy as np
import polars as pl
import pytest

FIRST = date(2017, 1, 2)
FEATURES = ("score", "hp_habit", "p_popular", "hh_size_of_basket")


def weeks(*numbers: int) -> list[date]:
    return [FIRST + timedelta(weeks=n) for n in numbers]


@pytest.fixture(scope="session")
def shop() -> pl.DataFrame:
    """Labelled examples of 60 households, 8 weeks, 12 products; habit drives purchases."""
    rng = np.random.default_rng(5)
    rows = []
    for week in weeks(*range(8)):
        for h in range(60):
            for p in range(12):
                habit = rng.random()
                bought = rng.random() < 0.6 * habit**2 * (1.3 - p / 12)
                rows.append(
                    (
                        f"hh{h:010}",
                        f"p{p:02}",
                        week,
                        datetime.combine(week, time()),
                        "personal",
                        float(rng.random()),
                        None if rng.random() < 0.05 else habit,
                        1.0 - p / 12,
                        float(h % 7),
                        int(bought),
                    )
                )
    return pl.DataFrame(
        rows,
        schema={
            "household_id": pl.String,
            "product_id": pl.String,
            "as_of": pl.Date,
            "known_at": pl.Datetime("us"),
            "source": pl.String,
            **dict.fromkeys(FEATURES, pl.Float32),
            "label": pl.Int8,
        },
        orient="row",
    ).sort("as_of", "household_id", "product_id")


@pytest.fixture(scope="session")
def bought(shop: pl.DataFrame) -> pl.DataFrame:
    return shop.filter(pl.col("label") == 1).select("household_id", "product_id", "as_of")
