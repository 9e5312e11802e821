"""Fairness: whether some groups of households are served worse, beside what habit alone gives.

Demographics are read here and nowhere else: they never enter a model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from models.evaluation.metrics import EVENT

if TYPE_CHECKING:
    from fairlearn.metrics import MetricFrame

INCOME = "income"
AGE = "age"
SPEND = "spend"

# Smaller groups are shown and not compared: their mean moves more by chance than by treatment.
MIN_EVENTS = 200
MIN_HOUSEHOLDS = 30

_TERTILES = ("lowest third", "middle third", "highest third")

# Measures of one event, from ``event_measures``.
NDCG = "ndcg"
REFERENCE = "reference_ndcg"
RECALL = "recall"
OFFERS = "offers"
PROMOTED = "promoted_share"
MEASURES = (NDCG, REFERENCE, RECALL, OFFERS, PROMOTED)


@dataclass(frozen=True)
class GroupGap:
    """One attribute's groups side by side.

    Attributes:
        attribute: ``income``, ``age`` or ``spend``.
        groups: ``group, households, events, compared`` and the mean of every measure.
        ndcg_gap: Largest difference of NDCG between compared groups; 0 with fewer than two.
        ndcg_ratio: Smallest over largest NDCG of them; 1 with fewer than two.
        reference_ratio: The same for the reference's NDCG: the gap that habit alone leaves.
        offers_gap: Largest difference in offers served per household-week.
        promoted_gap: Largest difference in the share of offers that were promoted.
    """

    attribute: str
    groups: pl.DataFrame
    ndcg_gap: float
    ndcg_ratio: float
    reference_ratio: float
    offers_gap: float
    promoted_gap: float

    @property
    def compared(self) -> int:
        """Groups large enough to be compared."""
        return int(self.groups["compared"].sum())


def spend_thirds(households: pl.DataFrame) -> pl.DataFrame:
    """Thirds of the households by what they spent in the 91 days before the first judged week.

    Args:
        households: ``household_id, as_of, spend_91d``.

    Returns:
        ``household_id, spend``; households new after that week are left out.
    """
    first = households.filter(pl.col("as_of") == pl.col("as_of").min())
    place = pl.col("spend_91d").fill_null(0.0).rank("ordinal") - 1
    third = (place * len(_TERTILES) // pl.len()).cast(pl.Int32)
    return first.sort("household_id").select(
        "household_id",
        third.replace_strict(dict(enumerate(_TERTILES)), return_dtype=pl.String).alias(SPEND),
    )


def event_measures(
    judged: pl.DataFrame,
    reference: pl.DataFrame,
    offers: pl.DataFrame,
    *,
    promoted: pl.DataFrame,
) -> pl.DataFrame:
    """What each event got.

    Args:
        judged: Of the model, from ``per_event``.
        reference: Of the reference, same events in the same order.
        offers: ``household_id, as_of, product_id``, the offers served.
        promoted: The same columns, of offers promoted in the household's store that week.

    Returns:
        ``household_id, as_of`` and the measures, Float64.
    """
    counts = offers.group_by(*EVENT).agg(pl.len().cast(pl.Float64).alias(OFFERS))
    deals = promoted.group_by(*EVENT).agg(pl.len().cast(pl.Float64).alias("deals"))
    return (
        judged.select(*EVENT, NDCG, RECALL)
        .with_columns(reference[NDCG].alias(REFERENCE))
        .join(counts, on=list(EVENT), how="left")
        .join(deals, on=list(EVENT), how="left")
        .with_columns(pl.col(OFFERS, "deals").fill_null(0.0))
        .with_columns(
            (pl.col("deals") / pl.max_horizontal(OFFERS, pl.lit(1.0))).alias(PROMOTED),
        )
        .select(*EVENT, *MEASURES)
        .sort("as_of", "household_id")
    )


def group_gap(measures: pl.DataFrame, groups: pl.DataFrame, *, attribute: str) -> GroupGap | None:
    """Compare the groups of one attribute by fairlearn's ``MetricFrame``.

    Args:
        measures: From ``event_measures``.
        groups: ``household_id`` and the attribute; households without it are left out.
        attribute: Its column.

    Returns:
        ``None`` if no judged household has the attribute.
    """
    told = measures.join(
        groups.select("household_id", pl.col(attribute).alias("group")).drop_nulls(),
        on="household_id",
    ).sort("group", "as_of", "household_id")
    if told.is_empty():
        return None
    table = (
        _by_group(told)
        .join(
            told.group_by("group").agg(
                pl.col("household_id").n_unique().alias("households"),
                pl.len().alias("events"),
            ),
            on="group",
        )
        .with_columns(
            ((pl.col("events") >= MIN_EVENTS) & (pl.col("households") >= MIN_HOUSEHOLDS)).alias(
                "compared"
            )
        )
        .select("group", "households", "events", "compared", *MEASURES)
        .sort(_place(), "group")
    )
    large = table.filter(pl.col("compared"))["group"].to_list()
    if len(large) <= 1:
        return GroupGap(attribute, table, 0.0, 1.0, 1.0, 0.0, 0.0)
    compared = _metric_frame(told.filter(pl.col("group").is_in(large)))
    gap = compared.difference(method="between_groups")
    ratio = compared.ratio(method="between_groups")
    return GroupGap(
        attribute=attribute,
        groups=table,
        ndcg_gap=float(gap[NDCG]),
        ndcg_ratio=float(ratio[NDCG]),
        reference_ratio=float(ratio[REFERENCE]),
        offers_gap=float(gap[OFFERS]),
        promoted_gap=float(gap[PROMOTED]),
    )


def _place() -> pl.Expr:
    """Bands by their first number, the one without a lower bound first; thirds from the lowest."""
    number = pl.col("group").str.extract(r"(\d+)").cast(pl.Float64)
    below = pl.when(pl.col("group").str.starts_with("Under")).then(0.5).otherwise(0.0)
    third = pl.col("group").replace_strict(
        {name: float(i) for i, name in enumerate(_TERTILES)}, default=None, return_dtype=pl.Float64
    )
    return pl.coalesce(number - below, third)


def _by_group(told: pl.DataFrame) -> pl.DataFrame:
    means = _metric_frame(told).by_group
    return pl.DataFrame(
        {"group": [str(name) for name in means.index]}
        | {measure: [float(value) for value in means[measure]] for measure in MEASURES}
    )


def _metric_frame(told: pl.DataFrame) -> MetricFrame:
    """One frame for all measures: each event's value is its own, not a prediction's."""
    from fairlearn.metrics import MetricFrame

    values = {measure: told[measure].to_numpy() for measure in MEASURES}

    def mean(_true: Any, _predicted: Any, *, value: Any) -> float:
        return float(np.mean(value))

    return MetricFrame(
        metrics=dict.fromkeys(MEASURES, mean),
        y_true=values[NDCG],
        y_pred=values[NDCG],
        sensitive_features=told["group"].to_numpy(),
        sample_params={measure: {"value": value} for measure, value in values.items()},
    )
