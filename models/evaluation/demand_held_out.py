"""The demand model and its baselines on weeks that nobody has learned from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import polars as pl

from models.calendar import ONE_WEEK
from models.demand import baselines, lightgbm_demand, xgboost_demand
from models.demand.dispersion import Dispersion
from models.demand.drift import WEEKS, corrected
from models.demand.examples import demand_examples
from models.demand.protocol import before
from models.demand.thinning import thin_zeros
from models.evaluation.demand import MODEL, coverage, judge, randomised_pit

# Without learning, or learned in seconds.
QUICK = ("ma13", "scan_pro", "ppml_fe")
# The two GBMs beside the model, as many trees as it has.
GBMS = ("gbm_no_promo", "lightgbm")
# An eighth of the cost of the default for the same deviance on sparse panels.
LIGHT_LEAVES = 31


@dataclass(frozen=True)
class HeldOut:
    """What was found.

    Attributes:
        levels: ``judge`` of the judged weeks.
        coverage: Of the intervals, by randomised PIT.
        rows: Examples of the judged weeks with ``mean``, one column per model, and ``pit``.
    """

    levels: dict[str, dict[str, Any]]
    coverage: dict[str, Any]
    rows: pl.DataFrame


def evaluate(
    panel: pl.DataFrame,
    *,
    model: bytes,
    dispersion: Dispersion,
    train_weeks: Sequence[date],
    held_out: Sequence[date],
    horizon: int,
    seed: int,
    rounds: int,
    threads: int,
    names: Sequence[str] = (*QUICK, *GBMS),
    params: Mapping[str, Any] = xgboost_demand.DEFAULT_PARAMS,
    on_step: Callable[[str], None] = lambda _: None,
) -> HeldOut:
    """Forecast each held-out week as known ``horizon`` weeks before it, with every model.

    The model and the GBMs are corrected by what their forecasts of the last known weeks were off by
    (``drift``); the rules follow the level by themselves.

    Args:
        panel: A demand panel up to the last held-out week.
        model: Learned from ``train_weeks`` for this horizon.
        dispersion: Of the same training.
        train_weeks: What the baselines learn from too.
        held_out: Weeks to judge.
        horizon: Weeks ahead.
        seed: Of training and intervals.
        rounds: Trees of the GBMs.
        threads: To use.
        names: Baselines beside the model.
        params: Of the GBM without promotion.
        on_step: Told in words what was done.
    """
    first: date = panel["week_start"].min()  # type: ignore[assignment]
    weeks = before(held_out, extra=WEEKS + horizon - 1, first=first + horizon * ONE_WEEK)
    learned = demand_examples(panel, targets=train_weeks, horizon=horizon)
    shown = demand_examples(panel, targets=weeks, horizon=horizon)
    on_step(f"demand: {shown.height:,} rows to forecast {horizon} week(s) ahead")
    means: dict[str, pl.Series] = {MODEL: xgboost_demand.predict(model, shown)}
    judged = shown.filter(pl.col("week_start").is_in(list(held_out)))
    found = {name: maker(learned, judged) for name, maker in _quick().items() if name in names}
    thinned = thin_zeros(learned, seed=seed)
    if "gbm_no_promo" in names:
        means["gbm_no_promo"] = baselines.gbm_no_promo(
            thinned, shown, seed=seed, rounds=rounds, params=params, threads=threads
        )
    if "lightgbm" in names:
        light = {**lightgbm_demand.DEFAULT_PARAMS, "num_leaves": LIGHT_LEAVES}
        means["lightgbm"] = baselines.lightgbm(
            thinned, shown, seed=seed, rounds=rounds, params=light, threads=threads
        )
    for name, mean in means.items():
        rows = shown.select("week_start", "units", mean.alias("mean"))
        found[name] = corrected(rows, targets=held_out, horizon=horizon)["mean"]
        on_step(f"demand: {name} has forecast")
    history = demand_history(panel, before_week=min(held_out))
    pit = randomised_pit(judged["units"].to_numpy(), found[MODEL].to_numpy(), dispersion, seed=seed)
    return HeldOut(
        levels=judge(judged, found, history=history, seed=seed),
        coverage=coverage(pit, judged["week_start"]) | {"dispersion": dispersion.as_dict()},
        rows=judged.with_columns(
            *(mean.alias(name) for name, mean in found.items()), pl.Series("pit", pit)
        ),
    )


def _quick() -> dict[str, Callable[[pl.DataFrame, pl.DataFrame], pl.Series]]:
    return {
        "ma13": lambda _, rows: baselines.ma13(rows),
        "scan_pro": baselines.scan_pro,
        "ppml_fe": baselines.ppml_fe,
    }


def demand_history(panel: pl.DataFrame, *, before_week: date) -> pl.DataFrame:
    """The panel's active rows before a week, as ``judge`` wants them."""
    rows = panel.filter(pl.col("week_start") < before_week)
    if "active" in rows.columns:
        rows = rows.filter(pl.col("active"))
    absent = [name for name in ("revenue", "category") if name not in rows.columns]
    return rows.with_columns(*(pl.lit(None).alias(name) for name in absent)).select(
        "store_id",
        "product_id",
        "week_start",
        pl.col("category").cast(pl.String).fill_null("unknown"),
        pl.col("units").cast(pl.Float64),
        pl.col("revenue").cast(pl.Float64),
        pl.lit(value=False).alias("promoted"),
    )
