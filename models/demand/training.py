"""From a demand panel to trained models: tuned, measured on unseen weeks, learned from all."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import polars as pl

from models.demand import xgboost_demand
from models.demand.dispersion import Dispersion, fit_dispersion
from models.demand.examples import weekly_examples
from models.demand.protocol import HORIZONS, DemandWeeks, demand_weeks
from models.demand.thinning import keep_zeros, zeros_kept
from models.demand.tuning import tune
from models.ranking.study import StudyResult

# Trees of every model here: half as many of twice the step judge the tuning weeks the same.
ROUNDS = 120

DISPERSION_FILE = "dispersion.json"


def model_file(horizon: int) -> str:
    """Where the model of a horizon lies beside the others; ``model.ubj`` is that of one week."""
    return "model.ubj" if horizon == 1 else f"horizon_{horizon}.ubj"


@dataclass(frozen=True)
class DemandTraining:
    """What a training made.

    Attributes:
        files: Name of a file to its content: a model per horizon, and the dispersions.
        study: The search of the parameters, one week ahead.
        dispersions: Horizon to the scatter around forecasts.
        weeks: Horizon to the weeks the final model learned from.
        rows: Horizon to the examples of these weeks.
        deviance: Horizon to the Poisson deviance on the validation weeks.
    """

    files: Mapping[str, bytes]
    study: StudyResult
    dispersions: Mapping[int, Dispersion]
    weeks: Mapping[int, tuple[date, ...]]
    rows: Mapping[int, int]
    deviance: Mapping[int, float]

    @property
    def model(self) -> bytes:
        return self.files[model_file(1)]


def train(
    panel: pl.DataFrame | pl.LazyFrame,
    *,
    last: date,
    data_snapshot: str,
    storage: str,
    seed: int,
    trials: int,
    threads: int,
    on_step: Callable[[str], None] = lambda _: None,
) -> DemandTraining:
    """Tune one week ahead, then learn every horizon with those parameters.

    Args:
        panel: A demand panel; weeks after ``last`` are not looked at. A lazy one of a large chain
            takes half of the memory.
        last: Last week to learn from.
        data_snapshot: Names the data; another one is another study.
        storage: SQLAlchemy address of the studies.
        seed: Of everything that is drawn.
        trials: Of the search.
        threads: To use.
        on_step: Told in words what was done.

    Raises:
        ValueError: The panel cannot be used, or is too short.
    """
    from models.evaluation.demand_metrics import poisson_deviance

    known = panel.lazy().filter(pl.col("week_start") <= last)
    first: date = known.select(pl.col("week_start").min()).collect().item()
    files: dict[str, bytes] = {}
    dispersions: dict[int, Dispersion] = {}
    deviance: dict[int, float] = {}
    rows: dict[int, int] = {}
    split = {h: demand_weeks(last, first=first, horizon=h) for h in HORIZONS}
    study: StudyResult | None = None
    for horizon in HORIZONS:
        weeks = split[horizon]
        examples = _examples(known, weeks=weeks, horizon=horizon, seed=seed)
        unseen = examples.unseen
        judged = examples.learned.filter(pl.col("week_start").is_in(weeks.tuning_train))
        if study is None:
            study = tune(
                judged,
                unseen,
                last_week=last,
                data_snapshot=data_snapshot,
                storage=storage,
                seed=seed,
                trials=trials,
                rounds=ROUNDS,
                threads=threads,
                on_trial=_told(on_step, trials=trials),
            )
        rows[horizon] = examples.rows
        fitted = {
            part: xgboost_demand.train(
                chosen, params=study.params, rounds=ROUNDS, seed=seed, threads=threads
            )
            for part, chosen in (("judged", judged), ("final", examples.learned))
        }
        units = unseen["units"].to_numpy()
        mean = xgboost_demand.predict(fitted["judged"], unseen).to_numpy()
        dispersions[horizon] = fit_dispersion(units, mean)
        deviance[horizon] = poisson_deviance(units, mean)
        files[model_file(horizon)] = fitted["final"]
        on_step(
            f"training: {horizon} week(s) ahead on {rows[horizon]:,} rows, deviance of the "
            f"validation weeks {deviance[horizon]:.4f}"
        )
        # The next horizon's are as large; a large chain has no room for both.
        del examples, unseen, judged
    told: dict[str, Any] = {str(h): d.as_dict() for h, d in dispersions.items()}
    files[DISPERSION_FILE] = json.dumps(told, sort_keys=True).encode()
    assert study is not None  # noqa: S101
    return DemandTraining(
        files=files,
        study=study,
        dispersions=dispersions,
        weeks={h: w.train for h, w in split.items()},
        rows=rows,
        deviance=deviance,
    )


@dataclass(frozen=True)
class _Examples:
    """Thinned ones to learn from, whole ones of the validation weeks; ``rows`` before thinning."""

    learned: pl.DataFrame
    unseen: pl.DataFrame
    rows: int


def _examples(known: pl.LazyFrame, *, weeks: DemandWeeks, horizon: int, seed: int) -> _Examples:
    taught = known.filter(pl.col("week_start").is_in(weeks.train))
    if "active" in known.collect_schema():
        taught = taught.filter(pl.col("active").cast(pl.Boolean).fill_null(value=True))
    share = zeros_kept(taught)
    learned, unseen, rows = [], [], 0
    for week in weekly_examples(known, targets=weeks.train, horizon=horizon):
        rows += week.height
        learned.append(keep_zeros(week, share=share, seed=seed))
        if week["week_start"][0] in weeks.validation:
            unseen.append(week)
    return _Examples(pl.concat(learned), pl.concat(unseen), rows)


def _told(
    on_step: Callable[[str], None], *, trials: int
) -> Callable[[int, Mapping[str, Any], float | None], None]:
    def told(index: int, params: Mapping[str, Any], value: float | None) -> None:  # noqa: ARG001
        outcome = "stopped early" if value is None else f"deviance {-value:.4f}"
        on_step(f"tuning: trial {index + 1} of {trials}, demand, {outcome}")

    return told
