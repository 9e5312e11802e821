"""One training of the offer ranker: every family tuned, judged and trained, and calibrated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import Any

import polars as pl

from models.ranking.calibration import fit_calibration, reliability, served
from models.ranking.families import CLASSIFIER, FAMILIES, XGBOOST, Family
from models.ranking.selection import Selection, select
from models.ranking.study import StudyResult
from models.ranking.tuning import judge, sample_households, tune

# A trial on a sample of households orders parameters as the whole does, in a fraction of the time.
TUNING_HOUSEHOLDS = 300

# The models that are compared, and that probabilities are mapped on, learn from these many.
JUDGED_HOUSEHOLDS = 800

CALIBRATION_FILE = "calibration.json"


@dataclass(frozen=True)
class Training:
    """What a training made.

    Attributes:
        files: Name of a file to its content: the served model, the other families' models, and the
            calibration unless there was too little to learn it from.
        studies: Family to its search.
        selection: Which family the rule chose, and why.
        calibration: The map's method, errors and reliability on the weeks it was learned from, or
            ``{"missing": reason}``.
    """

    files: Mapping[str, bytes]
    studies: Mapping[str, StudyResult]
    selection: Selection
    calibration: Mapping[str, Any]

    @property
    def model(self) -> bytes:
        """The served model."""
        return self.files[XGBOOST.file]


def train(
    examples: pl.DataFrame,
    *,
    purchases: pl.DataFrame,
    features: Sequence[str],
    tuning_train: Sequence[date],
    validation: Sequence[date],
    data_snapshot: str,
    storage: str,
    seed: int,
    trials: int,
    threads: int,
    families: Sequence[Family] = FAMILIES,
    on_step: Callable[[str], None] = lambda _: None,
) -> Training:
    """Tune each family, judge all on the validation weeks, and train each on all weeks.

    The judged models have not seen the validation weeks; the stored ones have. Probabilities are
    mapped on the lists of the judged models. Families are worked on side by side; what comes out
    does not depend on it.

    Args:
        examples: Labelled examples of both lists of as-ofs, sorted as ``dataset.examples`` does.
        purchases: ``household_id, product_id, as_of`` of everything bought in the validation weeks.
        features: Feature columns.
        tuning_train: As-ofs that trials and judged models learn from.
        validation: Later as-ofs, that they are judged on.
        data_snapshot: Names the data; another snapshot is another study.
        storage: SQLAlchemy address of the studies.
        seed: Of everything that is drawn.
        trials: Of each family.
        threads: To use in all.
        families: The served one and the classifier among them.
        on_step: Told in words what was done.

    Raises:
        ValueError: As ``tune``, ``select`` and the families say.
    """
    kept = sample_households(examples["household_id"], size=JUDGED_HOUSEHOLDS, seed=seed)
    learned = examples.filter(
        pl.col("as_of").is_in(list(tuning_train)) & pl.col("household_id").is_in(kept.implode())
    )
    unseen = examples.filter(pl.col("as_of").is_in(list(validation)))
    workers = min(threads, len(families))

    def one(family: Family) -> _Trained:
        study = tune(
            examples,
            family=family,
            purchases=purchases,
            features=features,
            train_as_ofs=tuning_train,
            validation_as_ofs=validation,
            last_as_of=max(validation),
            data_snapshot=data_snapshot,
            storage=storage,
            seed=seed,
            trials=trials,
            households=TUNING_HOUSEHOLDS,
            on_trial=_told(on_step, family=family.name, trials=trials),
        )
        fitted = partial(
            family.train,
            features=features,
            params=study.params,
            seed=seed,
            threads=threads // workers,
        )
        scores = family.score(fitted(learned), unseen)
        model = fitted(examples)
        on_step(f"training: {family.name} on all weeks, {len(model):,} bytes")
        return _Trained(study=study, scores=scores, model=model)

    with ThreadPoolExecutor(max_workers=workers) as pool:
        trained = dict(zip((f.name for f in families), pool.map(one, families), strict=True))
    scores = {name: family.scores for name, family in trained.items()}
    selection = select(
        {name: judge(scored, unseen, truth=purchases) for name, scored in scores.items()},
        seed=seed,
    )
    on_step(f"selection: {selection.reason}")
    files = {family.file: trained[family.name].model for family in families}
    offers = served(unseen, ranking=scores[XGBOOST.name], log_odds=scores[CLASSIFIER.name])
    calibration = _calibration(offers, files)
    on_step(f"calibration: {calibration}")
    return Training(
        files=files,
        studies={name: family.study for name, family in trained.items()},
        selection=selection,
        calibration=calibration,
    )


@dataclass(frozen=True)
class _Trained:
    study: StudyResult
    scores: pl.Series
    model: bytes


def _calibration(offers: pl.DataFrame, files: dict[str, bytes]) -> dict[str, Any]:
    try:
        fitted = fit_calibration(offers)
    except ValueError as error:
        # A small installation still gets a ranking; offers then have no probability, and the gate
        # on calibration says so.
        return {"missing": str(error)}
    files[CALIBRATION_FILE] = fitted.to_json().encode()
    p = pl.Series(fitted.apply(offers["score"].to_numpy()))
    return {
        "method": fitted.method,
        "offers": fitted.rows,
        "log_loss": dict(fitted.errors),
    } | reliability(p, offers["label"])


def _told(
    on_step: Callable[[str], None], *, family: str, trials: int
) -> Callable[[int, Mapping[str, Any], float | None], None]:
    def told(index: int, params: Mapping[str, Any], value: float | None) -> None:  # noqa: ARG001
        outcome = "stopped early" if value is None else f"NDCG@10 {value:.4f}"
        on_step(f"tuning: trial {index + 1} of {trials}, {family}, {outcome}")

    return told
