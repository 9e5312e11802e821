"""When a training is due, and how drift is measured."""

from __future__ import annotations

import math
from datetime import date, timedelta

import numpy as np
import pytest

from models.release.drift import reference, stability_index
from models.release.retraining import RetrainingPolicy, decide

TRAINED = date(2026, 1, 5)
POLICY = RetrainingPolicy()
DRIFTED = {"a": 0.3, "b": 0.9, "c": 0.25, "d": 0.1}


def decided(weeks: int, drift=None, trained: date | None = TRAINED):
    return decide(
        POLICY,
        trained_until=trained,
        matured_until=TRAINED + timedelta(weeks=weeks),
        drift=drift or {},
    )


@pytest.mark.parametrize(
    ("weeks", "drift", "trigger", "reason"),
    [
        (0, {}, None, "no label has matured since the training"),
        (0, DRIFTED, None, "3 feature(s) drifted (b 0.90, a 0.30, c 0.25) and wait for it"),
        (1, DRIFTED, "drift", "3 features drifted (b 0.90, a 0.30, c 0.25)"),
        (1, {"a": 0.3}, None, "1 of 4 weeks have matured"),
        (3, {}, None, "3 of 4 weeks"),
        (4, {}, "cadence", "4 weeks have matured since the training, 4 make it due"),
    ],
)
def test_triggers(weeks: int, drift, trigger: str | None, reason: str) -> None:
    found = decided(weeks, drift)
    assert (found.trigger, found.retrain) == (trigger, trigger is not None)
    assert reason in found.reason


def test_the_first_training_is_always_due() -> None:
    assert decided(0, trained=None).retrain


def test_one_situation_has_one_key() -> None:
    assert decided(4).key == decided(4, DRIFTED).key != decided(5).key


def test_the_index_by_hand() -> None:
    then = np.arange(100, dtype=np.float32)[:, None]
    kept = reference(then, ["x"])
    assert kept["x"]["counts"] == [10] * 10 + [0]
    # Everybody in the first bin: nine bins and the missing ones count as half a row.
    now = np.zeros((100, 1), dtype=np.float32)
    p = np.array([100] + [0.5] * 10) / 105
    q = np.array([10] * 10 + [0.5]) / 100.5
    expected = float(((p - q) * np.log(p / q)).sum())
    assert stability_index(kept, now, ["x"])["x"] == pytest.approx(expected)
    assert stability_index(kept, then, ["x"])["x"] == 0.0


def test_heaps_and_missing_values_have_bins_of_their_own() -> None:
    then = np.array([0.0] * 90 + [5.0] * 10 + [np.nan] * 100, dtype=np.float32)[:, None]
    kept = reference(then, ["x"])
    assert sum(kept["x"]["counts"]) == 200
    assert stability_index(kept, then, ["x"])["x"] == 0.0
    present = np.where(np.isnan(then), 0.0, then).astype(np.float32)
    assert stability_index(kept, present, ["x"])["x"] > 0.25
    assert stability_index(kept, present, ["other"]) == {}
    empty = np.full((5, 1), np.nan, dtype=np.float32)
    assert math.isfinite(stability_index(reference(empty, ["x"]), present, ["x"])["x"])


def test_names_must_match() -> None:
    with pytest.raises(ValueError, match="2 names"):
        reference(np.zeros((3, 1), dtype=np.float32), ["a", "b"])
