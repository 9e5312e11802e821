from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import optuna
import polars as pl
import pytest
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.trial import TrialState

from models.ranking import tuning
from models.ranking.families import FAMILIES, XGBOOST, Family
from models.ranking.study import (
    WARM_UP_TRIALS,
    Objective,
    Params,
    StudyResult,
    search,
    study_name,
)
from tests.models.ranking.conftest import FEATURES, weeks

SPACE = {"x": FloatDistribution(-5.0, 5.0), "n": IntDistribution(1, 9)}
TRIALS = 12
ROOT = Path(__file__).parents[3]


def hill(params: Params) -> float:
    return float(-((params["x"] - 1.5) ** 2) - (params["n"] - 4) ** 2)


def climb(params: Params) -> Generator[float, None, float]:
    """Two estimates before the value; the first already tells good from bad."""
    yield hill(params) - 2.0
    yield hill(params) - 1.0
    return hill(params)


def run(folder: Path, *, trials: int = TRIALS, **changes: object) -> StudyResult:
    given = {
        "objective": hill,
        "space": SPACE,
        "storage": f"sqlite:///{folder / 'studies.db'}",
        "name": "hill",
        "seed": 11,
        "trials": trials,
        "start": {"x": 0.0, "n": 1},
        **changes,
    }
    return search(given.pop("objective"), **given)  # type: ignore[arg-type,operator]


def history(folder: Path) -> list[tuple[str, Params, float, dict[int, float]]]:
    study = optuna.load_study(study_name="hill", storage=f"sqlite:///{folder / 'studies.db'}")
    states = (TrialState.COMPLETE, TrialState.PRUNED)
    done = sorted(study.get_trials(states=states), key=lambda t: t.number)
    return [(t.state.name, t.params, t.values[0], t.intermediate_values) for t in done]


def test_two_searches_are_equal(tmp_path: Path) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    one, other = (run(folder) for folder in folders)
    assert one == other
    assert history(folders[0]) == history(folders[1])
    assert history(folders[0])[0][1] == {"x": 0.0, "n": 1}
    assert one.value == max(value for _, _, value, _ in history(folders[0]))


def test_a_rerun_repeats_no_trial(tmp_path: Path) -> None:
    first = run(tmp_path)

    def never(params: Params) -> float:
        raise AssertionError(f"tried {params} again")

    again = run(tmp_path, objective=never)
    assert again.params == first.params
    assert again.resumed == TRIALS


def test_more_trials_continue_and_fewer_look_back(tmp_path: Path) -> None:
    short = run(tmp_path, trials=5)
    longer = run(tmp_path, trials=TRIALS)
    assert longer.resumed == 5
    assert run(tmp_path, trials=5).params == short.params


class StopError(Exception):
    pass


@pytest.mark.parametrize("objective", [hill, climb])
@pytest.mark.parametrize("at", [0, 1, 3, 7])
def test_a_failed_trial_is_replaced(tmp_path: Path, at: int, objective: Objective) -> None:
    calls = 0

    def failing(params: Params) -> float | Generator[float, None, float]:
        nonlocal calls
        calls += 1
        if calls == at + 1:
            raise StopError
        return objective(params)

    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir()
    broken.mkdir()
    run(whole, objective=objective)
    with pytest.raises(StopError):
        run(broken, objective=failing)
    assert run(broken, objective=objective).params == run(whole, objective=objective).params
    assert history(broken) == history(whole)


def test_a_trial_below_the_median_is_stopped_and_counts(tmp_path: Path) -> None:
    finished, seen = [], []

    def watched(params: Params) -> Generator[float, None, float]:
        value = yield from climb(params)
        finished.append(params)
        return value

    result = run(tmp_path, objective=watched, on_trial=lambda *told: seen.append(told))
    trials = history(tmp_path)
    assert result.trials == len(trials) == TRIALS
    assert 0 < result.pruned == sum(state == "PRUNED" for state, *_ in trials)
    assert len(finished) == TRIALS - result.pruned
    assert [value is None for _, _, value in seen] == [state == "PRUNED" for state, *_ in trials]
    # None before enough have run to their end; then those below the median of these.
    assert all(state == "COMPLETE" for state, *_ in trials[:WARM_UP_TRIALS])
    for i, (state, _, _, estimates) in enumerate(trials[WARM_UP_TRIALS:], start=WARM_UP_TRIALS):
        complete = [t[3] for t in trials[:i] if t[0] == "COMPLETE"]
        median = statistics.median(past[0] for past in complete)
        assert (state == "PRUNED") == (estimates[0] < median)
    assert result.value == max(t[2] for t in trials if t[0] == "COMPLETE")


def test_a_pruned_search_continues_as_if_it_had_never_stopped(tmp_path: Path) -> None:
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    whole = run(tmp_path / "whole", objective=climb)
    for trials in (3, 7, TRIALS):
        parts = run(tmp_path / "parts", objective=climb, trials=trials)
    assert history(tmp_path / "parts") == history(tmp_path / "whole")
    assert (parts.params, parts.value, parts.pruned) == (whole.params, whole.value, whole.pruned)
    assert parts.resumed == 7


def test_an_estimate_that_is_no_number_is_refused(tmp_path: Path) -> None:
    def broken(params: Params) -> Generator[float, None, float]:
        yield float("inf")
        return hill(params)

    with pytest.raises(ValueError, match="objective is inf"):
        run(tmp_path, objective=broken)


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.models.ranking import test_tuning as t

calls = 0

def killed(params):
    global calls
    calls += 1
    trial = t.climb(params)
    yield next(trial)
    if calls == {at}:
        os.kill(os.getpid(), signal.SIGKILL)
    return (yield from trial)

t.run(Path(sys.argv[1]), objective=killed)
"""


@pytest.mark.slow
def test_a_killed_search_ends_as_an_uninterrupted_one(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    expected = run(whole, objective=climb)
    # Two run to their end in any case; the second dies between its first estimate and its value.
    for at in (1, 2):
        done = subprocess.run(
            [sys.executable, "-c", KILLED.format(at=at), str(killed)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=False,
            capture_output=True,
        )
        assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    resumed = run(killed, objective=climb)
    assert resumed.abandoned == 1
    assert resumed.resumed == 1
    assert (resumed.params, resumed.value) == (expected.params, expected.value)
    assert history(killed) == history(whole)


def test_an_objective_that_is_no_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="objective is nan"):
        run(tmp_path, objective=lambda _: float("nan"))


def test_the_name_follows_what_decides_the_result() -> None:
    base = study_name("r", space=SPACE, data_snapshot="1", features=["a"])
    assert base == study_name(
        "r", space=dict(reversed(SPACE.items())), data_snapshot="1", features=["a"]
    )
    assert base != study_name("r", space=SPACE, data_snapshot="2", features=["a"])
    assert base != study_name("r", space=SPACE, data_snapshot="1", features=["b"])
    wider = {**SPACE, "x": FloatDistribution(-5.0, 6.0)}
    assert base != study_name("r", space=wider, data_snapshot="1", features=["a"])


def tune(shop: pl.DataFrame, bought: pl.DataFrame, folder: Path, **changes: object) -> StudyResult:
    given = {
        "family": replace(XGBOOST, rounds=6),
        "purchases": bought,
        "features": FEATURES,
        "train_as_ofs": weeks(0, 1, 2, 3),
        "validation_as_ofs": weeks(4, 5),
        "last_as_of": weeks(5)[0],
        "data_snapshot": "s1",
        "storage": f"sqlite:///{folder / 'studies.db'}",
        "seed": 2,
        "trials": 3,
        "households": 40,
        **changes,
    }
    return tuning.tune(shop, **given)  # type: ignore[arg-type]


def test_tuning_is_reproducible_and_blind_to_later_weeks(
    shop: pl.DataFrame, bought: pl.DataFrame, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    one = tune(shop, bought, tmp_path / "a")
    later = pl.col("as_of") > weeks(5)[0]
    altered = shop.with_columns(
        pl.when(later).then(1 - pl.col("label")).otherwise("label").cast(pl.Int8).alias("label"),
        pl.when(later).then(0.0).otherwise("hp_habit").cast(pl.Float32).alias("hp_habit"),
    )
    other = tune(altered, bought.filter(~later), tmp_path / "b")
    assert one == other
    assert 0 < one.value <= 1


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_family_is_tuned_alike(
    shop: pl.DataFrame, bought: pl.DataFrame, tmp_path: Path, family: Family
) -> None:
    quick = replace(family, rounds=4)
    one = tune(shop, bought, tmp_path, family=quick)
    again = tune(shop, bought, tmp_path, family=quick)
    assert (again.params, again.value, again.resumed) == (one.params, one.value, 3)
    assert set(one.params) == set(family.defaults) == set(family.space)
    assert all(
        family.space[name]._contains(family.space[name].to_internal_repr(value))
        for name, value in family.defaults.items()
    )
    longer = tune(shop, bought, tmp_path, family=replace(family, rounds=5))
    assert (longer.name, longer.resumed) != (one.name, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"validation_as_ofs": weeks(5, 6)}, "is after 2017-02-06"),
        ({"validation_as_ofs": weeks(3)}, "after the training ones"),
        ({"train_as_ofs": []}, "got 0 and 2"),
    ],
)
def test_a_split_that_sees_too_much_is_refused(
    shop: pl.DataFrame, bought: pl.DataFrame, tmp_path: Path, changes: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        tune(shop, bought, tmp_path, **changes)


def test_the_sample_of_households_ignores_their_order() -> None:
    ids = pl.Series([f"h{i}" for i in range(50)])
    one = tuning.sample_households(ids, size=10, seed=1)
    assert one.len() == 10
    assert one.equals(tuning.sample_households(ids.reverse(), size=10, seed=1))
    assert not one.equals(tuning.sample_households(ids, size=10, seed=2))
    assert tuning.sample_households(ids, size=None, seed=1).len() == 50
