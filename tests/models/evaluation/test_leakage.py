from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from models.evaluation.leakage import leakage_probe
from tests.models.evaluation.test_metrics import WEEK


def scored(*, events: int = 400, size: int = 30) -> pl.DataFrame:
    """A score and a feature that know something, one that knows all, one that knows nothing."""
    rng = np.random.default_rng(1)
    n = events * size
    liking = rng.normal(size=n)
    label = (liking + rng.normal(size=n) > 1.8).astype(np.int8)
    return pl.DataFrame(
        {
            "household_id": np.repeat([f"h{i:04}" for i in range(events)], size),
            "as_of": [WEEK] * n,
            "product_id": [f"p{i:02}" for i in range(size)] * events,
            "score": liking,
            "label": label,
            "habit": liking,
            "noise": rng.normal(size=n),
            "future": np.where(label == 1, 0.0, 1.0),
        }
    )


def test_an_honest_order_is_at_chance_on_shuffled_labels() -> None:
    probe = leakage_probe(scored(), features=["habit", "noise"], k=10, seed=1)
    assert probe is not None
    assert abs(probe.shuffled_ndcg - probe.chance_ndcg) < 4 * probe.shuffled_error
    assert probe.ndcg > probe.chance_ndcg + 0.2
    assert probe.strongest_feature == "habit"
    assert 0.6 < probe.strongest_auc < 0.95


def test_a_feature_from_the_future_is_found_in_either_direction() -> None:
    probe = leakage_probe(scored(), features=["habit", "future"], k=10, seed=1)
    assert probe is not None
    assert (probe.strongest_feature, probe.strongest_auc) == ("future", 1.0)


def test_a_feature_that_is_missing_where_nothing_was_bought_is_found() -> None:
    frame = scored().with_columns(told=pl.when(pl.col("label") == 1).then(0.0).cast(pl.Float32))
    probe = leakage_probe(frame, features=["told"], k=10, seed=1)
    assert probe is not None
    assert probe.strongest_auc == 1.0


def test_chance_by_hand() -> None:
    # One of two was bought, one is shown: half the time it is the right one.
    frame = pl.DataFrame(
        {
            "household_id": ["ann", "ann"],
            "as_of": [WEEK, WEEK],
            "product_id": ["a", "b"],
            "score": [1.0, 0.0],
            "label": [1, 0],
        }
    )
    probe = leakage_probe(frame, features=[], k=1, seed=1)
    assert probe is not None
    assert (probe.ndcg, probe.chance_ndcg) == (1.0, 0.5)
    assert (probe.strongest_feature, probe.strongest_auc) == ("", 0.5)


@pytest.mark.parametrize("label", [0, 1])
def test_nothing_to_tell_apart_is_no_probe(label: int) -> None:
    frame = scored(events=3).with_columns(label=pl.lit(label))
    assert leakage_probe(frame, features=["habit"], k=10, seed=1) is None


def test_the_order_of_rows_means_nothing() -> None:
    frame = scored(events=20)
    mixed = frame.sample(fraction=1, shuffle=True, seed=4)
    one, other = (leakage_probe(f, features=["habit"], k=5, seed=1) for f in (frame, mixed))
    assert one == other
