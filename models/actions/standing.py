"""What stands before planning: a panel's promotions as actions, and how long products rested."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import polars as pl

from models.lift.actions import Action

_DAYS = 7


def standing_plan(panel: pl.DataFrame, *, week: date, actions: Sequence[Action]) -> pl.DataFrame:
    """The plan of a week as it stands, in declared actions.

    What is displayed or in the mailer, with the nearest declared discount beside it. A discount
    alone is a shelf price: it goes on for months, and no week's plan takes it away. Where
    the panel does not know the week's plan yet, that of the last week it knows goes on.

    Args:
        panel: ``store_id, product_id, week_start, display, mailer, discount`` and, if there,
            ``plan_known``.
        week: Monday of the week.
        actions: The declared ones.

    Returns:
        ``store_id, product_id, action``; a promotion that no declared action is like is left out.
    """
    known = panel.filter("plan_known") if "plan_known" in panel.columns else panel
    last = known.filter(pl.col("week_start") <= week)["week_start"].max()
    kinds = pl.DataFrame(
        {
            "action": [a.name for a in actions],
            "_display": [a.display for a in actions],
            "_mailer": [a.mailer for a in actions],
            "_discount": [a.discount for a in actions],
        }
    )
    rows = known.filter(pl.col("week_start") == last).select(
        "store_id",
        "product_id",
        (pl.col("display").fill_null("0") != "0").alias("_display"),
        (pl.col("mailer").fill_null("0") != "0").alias("_mailer"),
        pl.col("discount").fill_null(0.0).alias("_given"),
    )
    away = (pl.col("_given") - pl.col("_discount")).abs()
    return (
        rows.filter(pl.col("_display") | pl.col("_mailer"))
        .join(kinds, on=["_display", "_mailer"])
        .sort(["store_id", "product_id", away, "action"])
        .unique(["store_id", "product_id"], keep="first", maintain_order=True)
        .select("store_id", "product_id", "action")
    )


def weeks_since_promotion(panel: pl.DataFrame, *, week: date) -> pl.DataFrame:
    """Full weeks since each product was last displayed or in the mailer of each store.

    A discount alone does not count: shelf discounts go on for months, and nobody waits for them.

    Args:
        panel: As for ``standing_plan``; only weeks before ``week`` are looked at.
        week: Monday of the week that is planned; a promotion the week before was 0 weeks ago.

    Returns:
        ``store_id, product_id, weeks_since_promotion``; without those never promoted.
    """
    shown = (pl.col("display").fill_null("0") != "0") | (pl.col("mailer").fill_null("0") != "0")
    return (
        panel.filter((pl.col("week_start") < week) & shown)
        .group_by("store_id", "product_id")
        .agg(
            ((pl.lit(week) - pl.col("week_start").max()).dt.total_days() // _DAYS - 1)
            .cast(pl.Int32)
            .alias("weeks_since_promotion")
        )
        .sort("store_id", "product_id")
    )
