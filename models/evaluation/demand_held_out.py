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
from models.demand.protocol import before, origins
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

    Rolling origin: the given model forecasts the first weeks; it and every baseline that learns
    are learned anew every ``protocol.REFIT_WEEKS`` weeks, with the same parameters.

    The model and the GBMs are corrected by what their forecasts of the last known weeks were off by
    (``drift``); the rules follow the level by themselves.

    Args:
        panel: A demand panel up to the last held-out week.
        model: Learned from ``train_weeks`` for this horizon.
        dispersion: Of the same training.
        train_weeks: What the model learned from; the first baselines do, too.
        held_out: Weeks to judge.
        horizon: Weeks ahead.
        seed: Of training and intervals.
        rounds: Trees of the GBMs.
        threads: To use.
        names: Baselines beside the model.
        params: The model's own; the GBM without promotion has them too.
        on_step: Told in words what was done.
    """
    first: date = panel["week_start"].min()  # type: ignore[assignment]
    weeks = before(held_out, extra=WEEKS + horizon - 1, first=first + horizon * ONE_WEEK)
    rows = demand_examples(panel, targets=[*train_weeks, *weeks], horizon=horizon)
    on_step(f"demand: {rows.height:,} rows to learn from or forecast {horizon} week(s) ahead")
    stretches = origins(held_out, train=train_weeks, horizon=horizon, available=weeks)
    means: dict[str, list[pl.DataFrame]] = {}
    for number, origin in enumerate(stretches):
        learned = rows.filter(pl.col("week_start").is_in(origin.train))
        # The first one's forecasts of the weeks before say how far off its level is.
        shown_weeks = origin.targets if number else [w for w in weeks if w <= origin.targets[-1]]
        shown = rows.filter(pl.col("week_start").is_in(shown_weeks))
        makers = _makers(seed=seed, rounds=rounds, threads=threads, params=params)
        for name in (MODEL, *names):
            made = (
                xgboost_demand.predict(model, shown)
                if name == MODEL and not number
                else makers[name](learned, shown)
            )
            means.setdefault(name, []).append(
                shown.select("week_start", "units", made.alias("mean"))
            )
        on_step(
            f"demand: weeks {origin.targets[0]} to {origin.targets[-1]} are forecast {horizon} "
            "week(s) ahead"
        )
    judged = rows.filter(pl.col("week_start").is_in(list(held_out)))
    found = {
        name: _level(pl.concat(parts), name, held_out, horizon) for name, parts in means.items()
    }
    history = demand_history(panel, before_week=min(held_out))
    pit = randomised_pit(judged["units"].to_numpy(), found[MODEL].to_numpy(), dispersion, seed=seed)
    return HeldOut(
        levels=judge(judged, found, history=history, seed=seed),
        coverage=coverage(pit, judged["week_start"]) | {"dispersion": dispersion.as_dict()},
        rows=judged.with_columns(
            *(mean.alias(name) for name, mean in found.items()), pl.Series("pit", pit)
        ),
    )


def _level(rows: pl.DataFrame, name: str, held_out: Sequence[date], horizon: int) -> pl.Series:
    if name in QUICK:
        return rows.filter(pl.col("week_start").is_in(list(held_out)))["mean"]
    return corrected(rows, targets=held_out, horizon=horizon)["mean"]


def _makers(
    *, seed: int, rounds: int, threads: int, params: Mapping[str, Any]
) -> dict[str, Callable[[pl.DataFrame, pl.DataFrame], pl.Series]]:
    """What learns from the first frame and forecasts the second, by name."""
    light = {**lightgbm_demand.DEFAULT_PARAMS, "num_leaves": LIGHT_LEAVES}

    def model(learned: pl.DataFrame, shown: pl.DataFrame) -> pl.Series:
        thinned = thin_zeros(learned, seed=seed)
        made = xgboost_demand.train(
            thinned, params=params, rounds=rounds, seed=seed, threads=threads
        )
        return xgboost_demand.predict(made, shown)

    return {
        MODEL: model,
        "ma13": lambda _, rows: baselines.ma13(rows),
        "scan_pro": baselines.scan_pro,
        "ppml_fe": baselines.ppml_fe,
        "gbm_no_promo": lambda learned, shown: baselines.gbm_no_promo(
            thin_zeros(learned, seed=seed),
            shown,
            seed=seed,
            rounds=rounds,
            params=params,
            threads=threads,
        ),
        "lightgbm": lambda learned, shown: baselines.lightgbm(
            thin_zeros(learned, seed=seed),
            shown,
            seed=seed,
            rounds=rounds,
            params=light,
            threads=threads,
        ),
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
