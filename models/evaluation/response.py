"""The response head on campaigns it had not seen, beside the repeat-cadence heuristic.

Rolling: each campaign is predicted by a model of the campaigns whose window had closed, and whose
late sales had had their time, before it started. A figure stands only where enough happened to say
it; elsewhere its place holds a status and the reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Literal

import numpy as np
import polars as pl

from models.evaluation.bootstrap import DRAWS, Interval, mean_intervals
from models.evaluation.metrics import calibration_error, per_event
from models.ranking import response
from models.ranking.order import OrderBy, top

K = response.K

MODEL = "response"
HEURISTIC = "repeat_cadence"
SYSTEMS = (MODEL, HEURISTIC)

# A bootstrap over fewer households means little.
MIN_HOUSEHOLDS = 30
# Fewer responses than these leave a mean over events to a handful of households.
MIN_POSITIVES = 100
# With half of them, trees spoilt the heuristic on campaigns that started before November.
MIN_TRAIN_POSITIVES = 1000

# Retraining for less changes next to nothing and costs as much.
RETRAIN_GROWTH = 1.2

Status = Literal["measured", "too_few"]


@dataclass(frozen=True)
class ResponseResult:
    """One window on one set of campaigns.

    Attributes:
        name: ``rolling`` (every campaign that could be predicted) or ``held_out``.
        days: Window of the response.
        status: ``measured``, or ``too_few`` where too little happened to say anything; then the
            mappings of figures are empty.
        reason: The status in words.
        campaigns: Campaigns judged.
        pairs: Shortlisted pairs judged.
        events: Household-campaigns with a response.
        households: Households among them.
        positives: Responses, shortlisted or not.
        reach: Share of the responses that the shortlist held; ``None`` if there was none.
        metrics: System to ``ndcg@10, ap@10, recall@10`` to its interval, over events.
        differences: Metric to the paired interval of model minus heuristic.
        calibration: System to ``ece``, ``mean_probability`` and ``response_rate`` of the ten it
            puts first for each targeted household, and ``ece_shortlist`` of all pairs.
    """

    name: str
    days: int
    status: Status
    reason: str
    campaigns: tuple[str, ...] = ()
    pairs: int = 0
    events: int = 0
    households: int = 0
    positives: int = 0
    reach: float | None = None
    metrics: Mapping[str, Mapping[str, Interval]] = field(default_factory=dict)
    differences: Mapping[str, Interval] = field(default_factory=dict)
    calibration: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "name": self.name,
            "days": self.days,
            "status": self.status,
            "reason": self.reason,
            "campaigns": list(self.campaigns),
            "pairs": self.pairs,
            "events": self.events,
            "households": self.households,
            "positives": self.positives,
            "reach": self.reach,
            "models": {
                name: {metric: interval.as_dict() for metric, interval in found.items()}
                for name, found in self.metrics.items()
            },
            "differences": {m: i.as_dict() for m, i in self.differences.items()},
            "calibration": {name: dict(found) for name, found in self.calibration.items()},
        }


@dataclass(frozen=True)
class RollingModel:
    """The model that would have been in use when campaigns of one day started.

    Attributes:
        started_at: That day's midnight, naive UTC.
        booster: Of the campaigns that were mature by then.
    """

    started_at: datetime
    booster: bytes


def rolling_models(
    rows: pl.DataFrame,
    *,
    seed: int,
    min_positives: int = MIN_TRAIN_POSITIVES,
    params: Mapping[str, Any] = response.DEFAULT_PARAMS,
    rounds: int = response.DEFAULT_ROUNDS,
) -> list[RollingModel]:
    """A model for each start with enough mature campaigns behind it, oldest first.

    A model serves until the responses behind it have grown by a fifth.

    Args:
        rows: From ``models.ranking.response.examples``.
        seed: Of training.
        min_positives: Responses that a training set needs.
        params: As for ``response.train``.
        rounds: As for ``response.train``.
    """
    label, known = (f(response.LEARNED_DAYS) for f in (response.label, response.known_at))
    mature = rows.filter(pl.col(response.SHORTLISTED) & pl.col(label).is_not_null())
    models: list[RollingModel] = []
    learned = 0
    for started in rows["started_at"].unique().sort().to_list():
        behind = mature.filter(pl.col(known) <= started)
        positives = int(behind[label].sum())
        if positives < max(min_positives, 1):
            continue
        if not models or positives >= RETRAIN_GROWTH * learned:
            booster = response.train(behind, seed=seed, params=params, rounds=rounds)
            learned = positives
        else:
            booster = models[-1].booster
        models.append(RollingModel(started_at=started, booster=booster))
    return models


def rolling_predictions(
    rows: pl.DataFrame, models: Sequence[RollingModel], *, days: int
) -> pl.DataFrame:
    """What each model says of the campaigns that started with it.

    Calibrated on what such models had said of earlier campaigns that they had not seen either.

    Args:
        rows: From ``models.ranking.response.examples``.
        models: From ``rolling_models``.
        days: Window of the response.

    Returns:
        ``PREDICTION_SCHEMA``: a probability per system, the model's log-odds and what happened, for
        the campaigns whose window is mature. ``calibrated`` is false where too little was known
        before the start to calibrate on.
    """
    label, known = response.label(days), response.known_at(days)
    mature = rows.filter(pl.col(label).is_not_null())
    parts: list[pl.DataFrame] = []
    for model in models:
        judged = mature.filter(pl.col("started_at") == model.started_at)
        if judged.is_empty():
            continue
        said = judged.select(
            *response.KEY,
            "started_at",
            pl.col(known).alias("label_known_at"),
            response.SHORTLISTED,
            pl.col(label).alias("label"),
            response.log_odds(model.booster, judged, days=days),
            response.repeat_cadence(days=days).cast(pl.Float64).alias(HEURISTIC),
        )
        calibration = _calibration_behind(parts, started=model.started_at)
        parts.append(
            said.with_columns(
                response.probabilities(calibration, said["log_odds"]).alias(MODEL),
                pl.lit(calibration is not None).alias("calibrated"),
            )
        )
    return pl.concat([pl.DataFrame(schema=PREDICTION_SCHEMA), *parts])


PREDICTION_SCHEMA: Mapping[str, Any] = {
    **dict.fromkeys(response.KEY, pl.String),
    "started_at": pl.Datetime("us"),
    "label_known_at": pl.Datetime("us"),
    response.SHORTLISTED: pl.Boolean,
    "label": pl.Int8,
    "log_odds": pl.Float64,
    HEURISTIC: pl.Float64,
    MODEL: pl.Float64,
    "calibrated": pl.Boolean,
}

# What orders a system's list: calibration may make ties of what the model tells apart.
ORDERED_BY = {MODEL: "log_odds", HEURISTIC: HEURISTIC}


def _calibration_behind(
    parts: Sequence[pl.DataFrame], *, started: datetime
) -> response.Calibration | None:
    """Learned from earlier predictions whose outcome was known when the campaign started."""
    known = [part.filter(pl.col("label_known_at") <= started) for part in parts]
    return response.calibrate(
        pl.concat([pl.DataFrame(schema=PREDICTION_SCHEMA), *known]).filter(
            pl.col(response.SHORTLISTED)
        )
    )


def evaluate_response(
    predictions: pl.DataFrame, *, name: str, days: int, seed: int, draws: int = DRAWS
) -> ResponseResult:
    """Judge predictions, or say that too little happened to judge them.

    Both systems order the same shortlist; what counts is every response of the event, shortlisted
    or not. Average precision at k divides by the smaller of k and the event's responses.

    Args:
        predictions: From ``rolling_predictions``; the campaigns to judge.
        name: What the set of campaigns is called.
        days: Window of the response.
        seed: Of the bootstrap, which draws whole households.
        draws: Bootstrap samples.
    """
    truth = predictions.filter(pl.col("label") == 1)
    shortlist = predictions.filter(pl.col(response.SHORTLISTED))
    counted = {
        "name": name,
        "days": days,
        "campaigns": tuple(predictions["campaign_id"].unique().sort().to_list()),
        "pairs": shortlist.height,
        "events": truth.select(pl.struct("campaign_id", "household_id").n_unique()).item(),
        "households": truth["household_id"].n_unique(),
        "positives": truth.height,
        "reach": float(truth[response.SHORTLISTED].mean()) if truth.height else None,  # type: ignore[arg-type]
    }
    reason = _too_few(counted)
    if reason:
        return ResponseResult(**counted, status="too_few", reason=reason)  # type: ignore[arg-type]
    judged = {system: _per_event(shortlist, truth, by=ORDERED_BY[system]) for system in SYSTEMS}
    columns = ("ndcg", "ap", "recall")
    wide = pl.concat(
        [
            judged[MODEL].select("household_id"),
            *(judged[s].select(pl.col(c).alias(f"{s} {c}") for c in columns) for s in SYSTEMS),
        ],
        how="horizontal",
    ).with_columns(
        (pl.col(f"{MODEL} {c}") - pl.col(f"{HEURISTIC} {c}")).alias(f"difference {c}")
        for c in columns
    )
    found = mean_intervals(
        wide, [c for c in wide.columns if c != "household_id"], seed=seed, draws=draws
    )

    def named(prefix: str) -> dict[str, Interval]:
        return {f"{c}@{K}": found[f"{prefix} {c}"] for c in columns}

    gain = found["difference ndcg"]
    verdict = (
        "better than" if gain.low > 0 else "worse than" if gain.high < 0 else "not told apart from"
    )
    return ResponseResult(
        **counted,  # type: ignore[arg-type]
        status="measured",
        reason=f"NDCG@{K} is {verdict} that of {HEURISTIC}: {gain.estimate:+.4f} "
        f"({gain.confidence:.0%} interval {gain.low:+.4f} to {gain.high:+.4f})",
        metrics={system: named(system) for system in SYSTEMS},
        differences=named("difference"),
        calibration={s: _calibration(shortlist, system=s) for s in SYSTEMS},
    )


def _too_few(counted: Mapping[str, Any]) -> str | None:
    if not counted["campaigns"]:
        return (
            "no campaign could be predicted: none had enough mature campaigns with responses "
            f"behind it ({MIN_TRAIN_POSITIVES} responses are needed to learn from)"
        )
    if counted["positives"] < MIN_POSITIVES or counted["households"] < MIN_HOUSEHOLDS:
        return (
            f"{counted['positives']} responses of {counted['households']} households in "
            f"{len(counted['campaigns'])} campaign(s) are too few to say anything; "
            f"{MIN_POSITIVES} responses of {MIN_HOUSEHOLDS} households are needed"
        )
    return None


def _ranking(shortlist: pl.DataFrame, *, by: str) -> pl.DataFrame:
    # The campaign stands where metrics expect the week: two may start in one week.
    return (
        top(
            shortlist.lazy().select("campaign_id", "household_id", "product_id", by),
            group=("campaign_id", "household_id"),
            order=(OrderBy(by),),
            limit=K,
        )
        .rename({"campaign_id": "as_of"})
        .collect()
    )


def _per_event(shortlist: pl.DataFrame, truth: pl.DataFrame, *, by: str) -> pl.DataFrame:
    ranking = _ranking(shortlist, by=by)
    bought = truth.select("household_id", pl.col("campaign_id").alias("as_of"), "product_id")
    events = per_event(ranking, bought, k=K)
    return events.join(
        average_precision(ranking, bought, k=K), on=["household_id", "as_of"], how="left"
    ).with_columns(pl.col("ap").fill_null(0.0))


def average_precision(ranking: pl.DataFrame, bought: pl.DataFrame, *, k: int) -> pl.DataFrame:
    """Mean of the precision at each hit, over the smaller of k and what was bought.

    Args:
        ranking: ``household_id, as_of, product_id, rank``.
        bought: ``household_id, as_of, product_id``.
        k: Cut-off.

    Returns:
        ``household_id, as_of, ap`` of the events with a hit.
    """
    event = ["household_id", "as_of"]
    sizes = bought.group_by(event).agg(pl.len().alias("bought"))
    hits = (
        ranking.filter(pl.col("rank") <= k)
        .join(bought, on=[*event, "product_id"], how="inner")
        .sort(*event, "rank")
        .with_columns(pl.int_range(1, pl.len() + 1).over(event).alias("nth"))
        .with_columns((pl.col("nth") / pl.col("rank")).alias("precision"))
    )
    return (
        hits.group_by(event, maintain_order=True)
        .agg(pl.col("precision").sum())
        .join(sizes, on=event, how="left")
        .select(*event, (pl.col("precision") / pl.col("bought").clip(upper_bound=k)).alias("ap"))
    )


def _calibration(shortlist: pl.DataFrame, *, system: str) -> dict[str, float]:
    first = _ranking(shortlist, by=ORDERED_BY[system]).rename({"as_of": "campaign_id"})
    shown = shortlist.join(first, on=list(response.KEY), how="semi")
    return {
        "ece": calibration_error(shown[system], shown["label"]),
        "ece_shortlist": calibration_error(shortlist[system], shortlist["label"]),
        # Sorted, because a mean of floats depends on the order of its terms.
        "mean_probability": float(np.mean(shown[system].sort().to_numpy())),
        "response_rate": float(np.mean(shown["label"].to_numpy())),
    }


def of_campaigns_from(predictions: pl.DataFrame, first: date) -> pl.DataFrame:
    """Predictions of the campaigns that start on or after a day."""
    return predictions.filter(pl.col("started_at").dt.date() >= first)


def campaign_table(predictions: pl.DataFrame) -> pl.DataFrame:
    """``campaign_id, starts, targeted, events, positives`` of each campaign, oldest first."""
    return (
        predictions.group_by("started_at", "campaign_id")
        .agg(
            pl.col("household_id").n_unique().alias("targeted"),
            pl.col("household_id").filter(pl.col("label") == 1).n_unique().alias("events"),
            pl.col("label").cast(pl.Int64).sum().alias("positives"),
        )
        .sort("started_at", "campaign_id")
        .select(
            "campaign_id",
            pl.col("started_at").dt.date().alias("starts"),
            "targeted",
            "events",
            "positives",
        )
    )


@dataclass(frozen=True)
class Evaluation:
    """Everything that was found out, for the report and for the model that is stored.

    Attributes:
        results: Held-out campaigns first, then all that could be predicted; both windows each.
        campaigns: ``campaign_table`` of the shortest window, which more campaigns have closed.
        calibrations: Window to the map learned from all that was predicted and is known; ``None``
            where too little is.
    """

    results: tuple[ResponseResult, ...]
    campaigns: pl.DataFrame
    calibrations: Mapping[int, response.Calibration | None]


def evaluate(
    rows: pl.DataFrame,
    *,
    held_out_from: date,
    seed: int,
    min_positives: int = MIN_TRAIN_POSITIVES,
    draws: int = DRAWS,
) -> Evaluation:
    """Roll over all campaigns, and judge both windows.

    Args:
        rows: From ``models.ranking.response.examples``.
        held_out_from: First day of the campaigns that nobody tuned on.
        seed: Of training and of intervals.
        min_positives: As for ``rolling_models``.
        draws: As for ``evaluate_response``.
    """
    models = rolling_models(rows, seed=seed, min_positives=min_positives)
    predictions = {days: rolling_predictions(rows, models, days=days) for days in response.WINDOWS}
    parts = {
        "held_out": {d: of_campaigns_from(p, held_out_from) for d, p in predictions.items()},
        "rolling": predictions,
    }
    return Evaluation(
        results=tuple(
            evaluate_response(part, name=name, days=days, seed=seed, draws=draws)
            for name, windows in parts.items()
            for days, part in windows.items()
        ),
        campaigns=campaign_table(predictions[min(response.WINDOWS)]),
        calibrations={
            days: response.calibrate(p.filter(pl.col(response.SHORTLISTED)))
            for days, p in predictions.items()
        },
    )
