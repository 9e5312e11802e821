from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from models.evaluation.bootstrap import mean_intervals, paired_interval

FIRST = date(2017, 1, 2)


def events(values: np.ndarray) -> pl.DataFrame:
    """Values of households x weeks."""
    households, weeks = values.shape
    return pl.DataFrame(
        {
            "household_id": np.repeat([f"h{i:04}" for i in range(households)], weeks),
            "as_of": [FIRST + timedelta(weeks=w) for w in range(weeks)] * households,
            "ndcg": values.ravel(),
        }
    )


def test_against_a_loop() -> None:
    values = np.random.default_rng(1).random((40, 3))
    got = mean_intervals(events(values), ["ndcg"], seed=9, draws=300)["ndcg"]
    counts = np.random.default_rng(9).multinomial(40, np.full(40, 1 / 40), size=300)
    means = [
        np.concatenate([np.repeat(values[i], n) for i, n in enumerate(row)]).mean()
        for row in counts
    ]
    assert got.estimate == pytest.approx(values.mean())
    assert (got.low, got.high) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])))
    assert (got.events, got.households) == (120, 40)


def test_households_are_drawn_whole() -> None:
    # Weeks of one household are equal: 100 of them say no more than one does.
    one = np.random.default_rng(2).random((50, 1))
    few = mean_intervals(events(one), ["ndcg"], seed=1)["ndcg"]
    many = mean_intervals(events(np.repeat(one, 100, axis=1)), ["ndcg"], seed=1)["ndcg"]
    assert (many.low, many.high) == pytest.approx((few.low, few.high))


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    covered = 0
    for trial in range(200):
        values = rng.normal(0.3, 0.1, size=(60, 1)) + rng.normal(0, 0.1, size=(60, 2))
        interval = mean_intervals(events(values), ["ndcg"], seed=trial, draws=400)["ndcg"]
        covered += interval.low <= 0.3 <= interval.high
    assert 0.88 <= covered / 200 <= 0.99


def test_pairing_removes_what_households_share() -> None:
    rng = np.random.default_rng(4)
    base = rng.random((200, 2))
    better = base + 0.01
    paired = paired_interval(events(better), events(base), "ndcg", seed=1)
    assert (paired.low, paired.estimate, paired.high) == pytest.approx((0.01, 0.01, 0.01))


def test_no_difference_is_an_interval_around_zero() -> None:
    rng = np.random.default_rng(5)
    one, other = events(rng.random((200, 2))), events(rng.random((200, 2)))
    paired = paired_interval(one, other, "ndcg", seed=1)
    assert paired.low < 0 < paired.high


def test_seeded_and_blind_to_row_order() -> None:
    frame = events(np.random.default_rng(6).random((50, 3)))
    one = mean_intervals(frame, ["ndcg"], seed=1)
    assert one == mean_intervals(frame.reverse(), ["ndcg"], seed=1)
    assert one != mean_intervals(frame, ["ndcg"], seed=2)


def test_different_events_are_refused() -> None:
    frame = events(np.ones((5, 2)))
    with pytest.raises(ValueError, match="model has 10 events, baseline 9"):
        paired_interval(frame, frame.head(9), "ndcg", seed=1)


def test_a_missing_value_is_refused() -> None:
    frame = events(np.array([[0.5], [np.nan]]))
    with pytest.raises(ValueError, match="1 of 2 events have no value"):
        mean_intervals(frame, ["ndcg"], seed=1)


def test_no_events_are_refused() -> None:
    with pytest.raises(ValueError, match="no events"):
        mean_intervals(events(np.ones((1, 1))).clear(), ["ndcg"], seed=1)
