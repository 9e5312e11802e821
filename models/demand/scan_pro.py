"""A non-promoted base times the SCAN*PRO multiplier.

Wittink, Addona, Hawkes and Porter, "SCAN*PRO: the estimation, validation and use of promotional
effects based on scanner data" (1988; reprinted 2011): log sales of a product in a store are its own
intercept plus an elasticity times the log price index, plus effects of display, of feature
(mailer), and of both.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

TERMS = ("log_price_index", "on_display", "in_mailer", "both")
# Sales that a multiplier needs before it is a product's own, or a category's.
MIN_ROWS = 200
# Of each squared term: a term that never varies has no effect.
RIDGE = 1.0
# No multiplier is believed beyond these, whatever few sales say.
MAX_LOG_MULTIPLIER = 3.0


def terms(examples: pl.DataFrame) -> pl.DataFrame:
    """The multiplier's terms: log(1 - discount), display, mailer, both."""
    display, mailer = pl.col("display") != "0", pl.col("mailer") != "0"
    return examples.select(
        (1.0 - pl.col("discount").cast(pl.Float64)).log().alias(TERMS[0]),
        display.cast(pl.Float64).alias(TERMS[1]),
        mailer.cast(pl.Float64).alias(TERMS[2]),
        (display & mailer).cast(pl.Float64).alias(TERMS[3]),
    )


def multipliers(train: pl.DataFrame) -> dict[tuple[str, str], np.ndarray]:
    """Coefficients of ``TERMS`` for every product, category and for all, where there is enough.

    Args:
        train: Labelled examples; rows without sales have no log and are left out, as in the source.

    Returns:
        ``("product", id)``, ``("category", name)`` and ``("all", "")`` to coefficients. A narrower
        one is pulled to the wider one by ``RIDGE``.
    """
    rows = pl.concat(
        [train.select("store_id", "product_id", "category", "units"), terms(train)],
        how="horizontal",
    ).filter(pl.col("units") > 0)
    pair = ["store_id", "product_id"]
    centred = rows.with_columns(
        (pl.col("units").log() - pl.col("units").log().mean().over(pair)).alias("y"),
        *(pl.col(name) - pl.col(name).mean().over(pair) for name in TERMS),
    )
    found = {("all", ""): _solve(centred, prior=np.zeros(len(TERMS)))}
    category_of: dict[str, str] = {}
    for level in ("category", "product"):
        key = "category" if level == "category" else "product_id"
        for (name,), part in centred.group_by(key, maintain_order=True):
            if part.height < MIN_ROWS:
                continue
            wider = ("all", "")
            if level == "product":
                category_of[str(name)] = str(part["category"][0])
                wider = ("category", category_of[str(name)])
            found[level, str(name)] = _solve(part, prior=found.get(wider, found["all", ""]))
    return found


def scan_pro(train: pl.DataFrame, examples: pl.DataFrame) -> pl.Series:
    """Mean of the weeks without promotion times the multiplier of the plan.

    Args:
        train: Labelled examples to learn the multipliers from.
        examples: ``unpromoted_mean`` and the plan of what to forecast.
    """
    found = multipliers(train)
    coefficients = _coefficients(found, examples)
    effect = (terms(examples).to_numpy() * coefficients).sum(axis=1)
    bounded = np.clip(effect, -MAX_LOG_MULTIPLIER, MAX_LOG_MULTIPLIER)
    return pl.Series("mean", examples["unpromoted_mean"].to_numpy() * np.exp(bounded))


def _coefficients(found: dict[tuple[str, str], np.ndarray], examples: pl.DataFrame) -> np.ndarray:
    distinct = examples.select("product_id", "category").unique().sort("product_id", "category")
    rows = []
    for product, category in distinct.rows():
        for key in (("product", product), ("category", str(category)), ("all", "")):
            if key in found:
                rows.append((product, category, *found[key]))
                break
    table = pl.DataFrame(rows, schema=["product_id", "category", *TERMS], orient="row")
    joined = examples.select("product_id", "category").join(
        table, on=["product_id", "category"], how="left", maintain_order="left", nulls_equal=True
    )
    return joined.select(TERMS).to_numpy()


def _solve(rows: pl.DataFrame, *, prior: np.ndarray, names: Sequence[str] = TERMS) -> np.ndarray:
    x = rows.select(names).to_numpy()
    y = rows["y"].to_numpy()
    pull = RIDGE * np.eye(x.shape[1])
    return np.linalg.solve(x.T @ x + pull, x.T @ y + pull @ prior)
