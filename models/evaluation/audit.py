"""The audit of one model: calibration, slices, fairness, popularity and leaks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

import polars as pl

from models.evaluation import fairness, slices
from models.evaluation.calibration import evaluate_calibration
from models.evaluation.leakage import LeakageProbe
from models.evaluation.metrics import PAIR, per_event
from models.evaluation.popularity import popularity_table
from models.evaluation.result import REFERENCE, Audit, EvaluationResult


@dataclass(frozen=True)
class AuditInputs:
    """What the audit reads beside the rankings.

    Attributes:
        purchases: ``household_id, as_of, product_id`` of the judged weeks.
        lines: ``household_id, product_id, store_id, week_start`` of all weeks up to them.
        promotions: ``product_id, store_id, week_start, on_display, in_mailer`` of those weeks.
        products: ``product_id, category, type``, unique by product.
        households: ``household_id, as_of, days_since_first_basket, spend_91d`` of the weeks.
        demographics: ``household_id, age, income``, unique by household; few have them.
        served: ``household_id, as_of, product_id, probability`` of the model's offers to every
            household; ``None`` if the model gives no probabilities.
        leakage: Probes of the same model.
    """

    purchases: pl.DataFrame
    lines: pl.LazyFrame
    promotions: pl.LazyFrame
    products: pl.DataFrame
    households: pl.DataFrame
    demographics: pl.DataFrame
    served: pl.DataFrame | None = None
    leakage: LeakageProbe | None = None


def audit(
    result: EvaluationResult,
    rankings: Mapping[str, pl.DataFrame],
    inputs: AuditInputs,
    *,
    seed: int,
) -> Audit:
    """Audit the model of ``result``.

    Args:
        result: From ``evaluate_ranking``.
        rankings: As given to it.
        inputs: What is read beside them.
        seed: Of the slices' bootstrap.
    """
    purchases = inputs.purchases.select(*PAIR).unique().sort("as_of", "household_id", "product_id")
    first = result.weeks[0]
    shown = dict.fromkeys((result.model, REFERENCE, result.best_baseline))
    past = (
        inputs.lines.filter(pl.col("week_start") < first)
        .select("household_id", "product_id")
        .unique()
        .collect()
    )
    return Audit(
        calibration=(
            evaluate_calibration(inputs.served, purchases) if inputs.served is not None else None
        ),
        slices=slices.slices(
            {name: rankings[name] for name in shown},
            _groups(inputs, purchases),
            model=result.model,
            reference=REFERENCE,
            k=result.k,
            seed=seed,
        ),
        fairness=_fairness(result, rankings, inputs, purchases),
        popularity=popularity_table(
            rankings, purchases, past=past, products=inputs.products, k=result.k
        ),
        leakage=inputs.leakage,
    )


def _groups(inputs: AuditInputs, purchases: pl.DataFrame) -> pl.DataFrame:
    weeks = purchases["as_of"].unique().to_list()
    judged = pl.col("week_start").is_in(weeks)
    return pl.concat(
        [
            slices.tenure_groups(purchases, inputs.households),
            slices.basket_size_groups(purchases),
            slices.category_groups(purchases, inputs.products),
            slices.promotion_groups(
                purchases, inputs.lines.filter(judged), inputs.promotions.filter(judged)
            ),
        ]
    )


def _fairness(
    result: EvaluationResult,
    rankings: Mapping[str, pl.DataFrame],
    inputs: AuditInputs,
    purchases: pl.DataFrame,
) -> tuple[fairness.GroupGap, ...]:
    offers = rankings[result.model].filter(pl.col("rank") <= result.k).select(*PAIR)
    judged, reference = (
        per_event(rankings[name], purchases, k=result.k, checked=True)
        for name in (result.model, REFERENCE)
    )
    measures = fairness.event_measures(
        judged, reference, offers, promoted=_promoted(offers, inputs, before=result.weeks[0])
    )
    found = (
        fairness.group_gap(measures, groups, attribute=attribute)
        for attribute, groups in (
            (fairness.INCOME, inputs.demographics),
            (fairness.AGE, inputs.demographics),
            (fairness.SPEND, fairness.spend_thirds(inputs.households)),
        )
    )
    return tuple(gap for gap in found if gap is not None)


def _promoted(offers: pl.DataFrame, inputs: AuditInputs, *, before: date) -> pl.DataFrame:
    """Offers promoted that week in the store where the household had shopped most often."""
    stores = (
        inputs.lines.filter(pl.col("week_start") < before)
        .group_by("household_id", "store_id")
        .len()
        .sort("household_id", "len", "store_id", descending=[False, True, False])
        .unique("household_id", keep="first", maintain_order=True)
        .select("household_id", "store_id")
    )
    promotions = inputs.promotions.filter(pl.col("on_display") | pl.col("in_mailer"))
    return (
        offers.lazy()
        .join(stores, on="household_id")
        .join(
            promotions.select(
                "product_id", "store_id", pl.col("week_start").alias("as_of")
            ).unique(),
            on=["product_id", "store_id", "as_of"],
            how="semi",
        )
        .select(*PAIR)
        .collect()
    )
