"""A seeded search that can be killed and resumed without changing its result.

Trial i samples with a seed made of the study's seed and i, from the finished trials before it.
A trial that was running when its process died is marked failed and its place is taken again with
the same seed and the same history, so the winner is that of an uninterrupted search. A trial that
was stopped early (pruned) is finished: it has used its place, and the search has learned from it.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import threading
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.trial import FrozenTrial, TrialState

Params = dict[str, Any]
Space = Mapping[str, BaseDistribution]
# A value, or a generator that yields cheaper estimates of it first and returns it in the end.
Objective = Callable[[Params], float | Generator[float, None, float]]
# Index, parameters and value of a trial; no value if it was pruned.
OnTrial = Callable[[int, Params, float | None], None]

# TPE needs a few trials before it can tell good from bad: the defaults and two random ones; its own
# default of 10 would leave a short search wholly random.
STARTUP_TRIALS = 3

# Trials that must have run to their end before others are held against their median.
WARM_UP_TRIALS = 2


# Optuna looks whether its tables exist and then makes them; two searches at once would make them
# twice.
_MAKING_TABLES = threading.Lock()

# What a write of a trial waits for another search's.
_BUSY_S = 60


@dataclass(frozen=True)
class StudyResult:
    """What a search found.

    Attributes:
        name: Of the study in its storage.
        params: Of the best trial; the earliest of equals.
        value: Its objective, larger is better.
        trials: Finished trials the winner was taken from, pruned ones included.
        pruned: How many of them were stopped early.
        resumed: How many of them an earlier process had finished.
        abandoned: Trials that were found half-way and replaced.
    """

    name: str
    params: Params
    value: float
    trials: int
    pruned: int
    resumed: int
    abandoned: int


def study_name(prefix: str, *, space: Space, **identity: Any) -> str:
    """A name that is the same exactly when the search would be.

    Args:
        prefix: What is being searched.
        space: The search space.
        **identity: Whatever else the objective's values depend on: data snapshot, feature set,
            weeks, seed and so on; JSON values.
    """
    described = {name: json.loads(distribution_to_json(d)) for name, d in space.items()}
    rules = [STARTUP_TRIALS, WARM_UP_TRIALS]
    text = json.dumps({"space": described, "rules": rules, **identity}, sort_keys=True)
    return f"{prefix}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def search(
    objective: Objective,
    *,
    space: Space,
    storage: str,
    name: str,
    seed: int,
    trials: int,
    start: Params | None = None,
    on_trial: OnTrial | None = None,
) -> StudyResult:
    """Maximise ``objective`` over ``space`` by TPE, continuing a study of the same name.

    A trial is stopped after an estimate below the median of what the trials that ran to their end
    had at the same point.

    One process at a time may search a study: a second one would take the first's running trial
    for an abandoned one. The caller holds the lock.

    Args:
        objective: Pure: the same parameters give the same values.
        space: Parameter names and their distributions.
        storage: SQLAlchemy address of the studies.
        name: From ``study_name``.
        seed: Of the sampler.
        trials: Finished trials to reach, pruned ones included; never a time limit, which no rerun
            could repeat.
        start: Parameters of the first trial, so that the search cannot end below them.
        on_trial: Called after each trial of this process.

    Raises:
        ValueError: ``trials`` is below 1, or an objective is not finite.
    """
    if trials < 1:
        raise ValueError(f"search(): {trials} trials asked for; give 1 or more")
    with _MAKING_TABLES:
        backend = optuna.storages.RDBStorage(storage, engine_kwargs=_patient(storage))
    try:
        study = optuna.create_study(
            storage=backend,
            study_name=name,
            direction="maximize",
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(n_startup_trials=WARM_UP_TRIALS),
        )
        abandoned = _fail_abandoned(study)
        resumed = len(_finished(study))
        for index in range(resumed, trials):
            study.sampler = _sampler(seed=seed, index=index)
            if index == 0 and start is not None:
                _enqueue_once(study, start)
            trial = study.ask(dict(space))
            params = dict(trial.params)
            try:
                value = _value(trial, objective(params), name=name, index=index)
            except BaseException:
                study.tell(trial, state=TrialState.FAIL)
                raise
            if value is None:
                study.tell(trial, state=TrialState.PRUNED)
            else:
                study.tell(trial, value)
            if on_trial is not None:
                on_trial(index, params, value)
        considered = _finished(study)[:trials]
        complete = [t for t in considered if t.state == TrialState.COMPLETE]
        best = max(complete, key=lambda t: (t.value, -t.number))
        return StudyResult(
            name=name,
            params=dict(best.params),
            value=float(best.values[0]),
            trials=len(considered),
            pruned=len(considered) - len(complete),
            resumed=min(resumed, trials),
            abandoned=abandoned,
        )
    finally:
        backend.remove_session()
        backend.engine.dispose()


def _patient(storage: str) -> dict[str, Any]:
    return {"connect_args": {"timeout": _BUSY_S}} if storage.startswith("sqlite") else {}


def _value(
    trial: optuna.Trial,
    given: float | Generator[float, None, float],
    *,
    name: str,
    index: int,
) -> float | None:
    """The value of a trial; ``None`` if an estimate of it was too low to go on."""
    if not isinstance(given, Generator):
        return _finite(given, trial=trial, name=name, index=index)
    for step in itertools.count():
        try:
            estimate = next(given)
        except StopIteration as stop:
            return _finite(stop.value, trial=trial, name=name, index=index)
        trial.report(_finite(estimate, trial=trial, name=name, index=index), step)
        if trial.should_prune():
            given.close()
            return None
    raise AssertionError("unreachable")


def _finite(given: float, *, trial: optuna.Trial, name: str, index: int) -> float:
    value = float(given)
    if not np.isfinite(value):
        raise ValueError(
            f"study {name}, trial {index}: the objective is {value} for {trial.params}; "
            "check that the validation weeks hold events"
        )
    return value


def _sampler(*, seed: int, index: int) -> optuna.samplers.TPESampler:
    mixed = int(np.random.SeedSequence([seed, index]).generate_state(1)[0])
    return optuna.samplers.TPESampler(
        seed=mixed,
        n_startup_trials=STARTUP_TRIALS,
        multivariate=False,
        # Other running trials would count as bad ones; there are none, and a killed one must not.
        constant_liar=False,
    )


def _finished(study: optuna.Study) -> list[FrozenTrial]:
    found = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
    return sorted(found, key=lambda t: t.number)


def _fail_abandoned(study: optuna.Study) -> int:
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    for trial in running:
        study.tell(trial.number, state=TrialState.FAIL)
    return len(running)


def _enqueue_once(study: optuna.Study, params: Params) -> None:
    if not study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        study.enqueue_trial(params)
