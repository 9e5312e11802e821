"""Error analysis: for whom and for what the model is better or worse than its baselines.

A slice is either a set of events (tenure, basket size) or a set of purchases (category, promotion
state); of the latter, only those purchases count as bought.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import polars as pl

from models.evaluation.bootstrap import Interval, mean_intervals
from models.evaluation.metrics import EVENT, PAIR, mean_metrics, per_event

# About two dozen slices are looked at: at 95 % one would seem worse by chance alone.
CONFIDENCE = 0.99
DRAWS = 1000

# Further categories are small, and each would be one more chance of a false alarm.
TOP_CATEGORIES = 10

TENURE = "tenure"
BASKET_SIZE = "basket_size"
CATEGORY = "category"
PROMOTION = "promotion"

# Upper bounds in weeks: a month, a quarter, half a year, three quarters.
_TENURE_WEEKS = (4, 13, 26, 39)
# Upper bounds in products bought in the week; quarters of them, roughly.
_BASKET_PRODUCTS = (5, 10, 20)

_DAYS_PER_WEEK = 7.0


@dataclass(frozen=True)
class Slice:
    """Part of the events or purchases, judged by itself.

    Attributes:
        dimension: What it is a part by: ``tenure``, ``basket_size``, ``category``, ``promotion``.
        name: Which part.
        events: Household-weeks in it.
        households: Households among them.
        purchases: Products bought in it.
        metrics: System to metric to value: the model, the reference and the best baseline.
        difference: NDCG of model minus reference, paired, at ``CONFIDENCE``.
    """

    dimension: str
    name: str
    events: int
    households: int
    purchases: int
    metrics: Mapping[str, Mapping[str, float]]
    difference: Interval


def slices(
    rankings: Mapping[str, pl.DataFrame],
    groups: pl.DataFrame,
    *,
    model: str,
    reference: str,
    k: int,
    seed: int,
) -> tuple[Slice, ...]:
    """Judge each slice.

    Args:
        rankings: The model, the reference and any other system to show, judged before.
        groups: ``dimension, name, household_id, as_of, product_id``: the purchases that count in a
            slice, from ``event_groups``, ``category_groups`` and ``promotion_groups``.
        model: Which system is judged.
        reference: Which it is compared with.
        k: Length of the judged list.
        seed: Of the bootstrap.

    Returns:
        One per dimension and name, in the order of first appearance.
    """
    # Only these rows can count, and every slice reads them again.
    short = {
        name: ranking.select(*PAIR, "rank").filter(pl.col("rank") <= k)
        for name, ranking in rankings.items()
    }
    found = []
    for (dimension, name), part in groups.group_by("dimension", "name", maintain_order=True):
        judged = {
            system: per_event(ranking, part, k=k, checked=True) for system, ranking in short.items()
        }
        gain = judged[model].select(
            "household_id", (pl.col("ndcg") - judged[reference]["ndcg"]).alias("ndcg")
        )
        found.append(
            Slice(
                dimension=str(dimension),
                name=str(name),
                events=gain.height,
                households=gain["household_id"].n_unique(),
                purchases=part.height,
                metrics={system: mean_metrics(frame, k=k) for system, frame in judged.items()},
                difference=mean_intervals(
                    gain, ["ndcg"], seed=seed, draws=DRAWS, confidence=CONFIDENCE
                )["ndcg"],
            )
        )
    return tuple(found)


def tenure_groups(purchases: pl.DataFrame, households: pl.DataFrame) -> pl.DataFrame:
    """Purchases by weeks since the household's first basket.

    Args:
        purchases: ``household_id, as_of, product_id``.
        households: ``household_id, as_of, days_since_first_basket``.
    """
    told = purchases.select(*PAIR).join(
        households.select(*EVENT, (pl.col("days_since_first_basket") / _DAYS_PER_WEEK).alias("at")),
        on=list(EVENT),
        how="left",
    )
    return _banded(told, dimension=TENURE, bounds=_TENURE_WEEKS, unit="weeks", none="no basket yet")


def basket_size_groups(purchases: pl.DataFrame) -> pl.DataFrame:
    """Purchases by how many products the household bought in the week.

    Args:
        purchases: ``household_id, as_of, product_id``, unique.
    """
    told = purchases.select(*PAIR, pl.len().over(*EVENT).cast(pl.Float64).alias("at"))
    return _banded(
        told, dimension=BASKET_SIZE, bounds=_BASKET_PRODUCTS, unit="products", none="none"
    )


def category_groups(
    purchases: pl.DataFrame, products: pl.DataFrame, *, top: int = TOP_CATEGORIES
) -> pl.DataFrame:
    """Purchases in the categories with most of them; the others are left out.

    Args:
        purchases: ``household_id, as_of, product_id``, unique.
        products: ``product_id, category``, unique by product.
        top: Categories kept, most purchases first; ties by name.
    """
    told = purchases.select(*PAIR).join(
        products.select("product_id", pl.col("category").alias("name")), on="product_id"
    )
    largest = (
        told.drop_nulls("name")
        .group_by("name")
        .len()
        .sort("len", "name", descending=[True, False])
        .head(top)
        .with_row_index("order")
    )
    return _groups(told.join(largest, on="name"), dimension=CATEGORY)


def promotion_groups(
    purchases: pl.DataFrame, lines: pl.LazyFrame, promotions: pl.LazyFrame
) -> pl.DataFrame:
    """Purchases by the promotion of the product in the store and week it was bought in.

    Args:
        purchases: ``household_id, as_of, product_id``, unique.
        lines: ``household_id, product_id, store_id, week_start`` of the judged weeks.
        promotions: ``product_id, store_id, week_start, on_display, in_mailer`` of the same weeks,
            unique; a product without a row was not promoted.
    """
    seen = (
        lines.select("household_id", "product_id", "store_id", "week_start")
        .unique()
        .join(
            promotions.select("product_id", "store_id", "week_start", "on_display", "in_mailer"),
            on=["product_id", "store_id", "week_start"],
            how="inner",
        )
        .group_by("household_id", "product_id", pl.col("week_start").alias("as_of"))
        .agg(pl.col("on_display").any(), pl.col("in_mailer").any())
        .collect()
    )
    display, mailer = (pl.col(c).fill_null(value=False) for c in ("on_display", "in_mailer"))
    states = ("not promoted", "in mailer", "on display", "display and mailer")
    place = mailer.cast(pl.UInt32) + 2 * display.cast(pl.UInt32)
    told = (
        purchases.select(*PAIR)
        .join(seen, on=list(PAIR), how="left")
        .with_columns(place.alias("order"))
        .with_columns(
            pl.col("order")
            .replace_strict(dict(enumerate(states)), return_dtype=pl.String)
            .alias("name")
        )
    )
    return _groups(told, dimension=PROMOTION)


def _banded(
    told: pl.DataFrame, *, dimension: str, bounds: tuple[int, ...], unit: str, none: str
) -> pl.DataFrame:
    """Bands of ``at`` up to and including each bound, and one above the last."""
    edges = [0, *bounds]
    names = [
        none,
        *(f"{low + 1} to {high} {unit}" for low, high in pairwise(edges)),
        f"over {bounds[-1]} {unit}",
    ]
    place = pl.sum_horizontal(
        pl.lit(1, pl.UInt32), *((pl.col("at") > bound).cast(pl.UInt32) for bound in bounds)
    )
    order = pl.when(pl.col("at").is_not_null()).then(place).otherwise(0).cast(pl.UInt32)
    return _groups(
        told.with_columns(order.alias("order")).with_columns(
            pl.col("order")
            .replace_strict(dict(enumerate(names)), return_dtype=pl.String)
            .alias("name")
        ),
        dimension=dimension,
    )


def _groups(told: pl.DataFrame, *, dimension: str) -> pl.DataFrame:
    return told.sort("order", "name", "as_of", "household_id", "product_id").select(
        pl.lit(dimension).alias("dimension"), "name", *PAIR
    )
