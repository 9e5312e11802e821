from __future__ import annotations

import json
import math

import numpy as np
import polars as pl
import pytest

from models.ranking.selection import select
from tests.models.ranking.conftest import weeks

HOUSEHOLDS = 200


def events(shift: float = 0.0, *, noise: float = 0.0, seed: int = 1) -> pl.DataFrame:
    """NDCG of two weeks per household: shared luck, plus a family's own shift and noise."""
    rng = np.random.default_rng(7)
    own = np.random.default_rng(seed)
    luck = rng.normal(0.3, 0.1, size=2 * HOUSEHOLDS)
    return pl.DataFrame(
        {
            "household_id": [f"hh{i // 2:03}" for i in range(2 * HOUSEHOLDS)],
            "as_of": weeks(0, 1) * HOUSEHOLDS,
            "ndcg": luck + shift + own.normal(0.0, noise, size=2 * HOUSEHOLDS),
        }
    )


def test_the_incumbent_stays_unless_the_difference_is_significant() -> None:
    result = select(
        {
            "xgboost": events(),
            "lightgbm": events(0.001, noise=0.2),
            "neural": events(-0.02),
        },
        seed=1,
    )
    assert result.differences["lightgbm"].low < 0 < result.differences["lightgbm"].high
    assert (result.winner, result.served, result.overtaken_by) == (
        "xgboost",
        "xgboost",
        None,
    )
    assert "no challenger ranks significantly better than xgboost" in result.reason


def test_a_significantly_better_challenger_is_named_loudly() -> None:
    result = select(
        {"xgboost": events(), "lightgbm": events(0.01, noise=0.01), "neural": events()},
        seed=1,
    )
    assert result.differences["lightgbm"].low > 0
    assert (result.winner, result.served, result.overtaken_by) == (
        "lightgbm",
        "xgboost",
        "lightgbm",
    )
    assert "lightgbm ranks significantly better than xgboost" in result.reason


def test_of_several_better_ones_the_highest_mean_wins_and_the_first_of_equals() -> None:
    three = {
        "neural": events(0.01),
        "xgboost": events(),
        "lightgbm": events(0.03),
        "other": events(0.03),
    }
    assert select(three, seed=1).winner == "lightgbm"


def test_equal_families_are_equal() -> None:
    result = select({"xgboost": events(), "neural": events()}, seed=1)
    assert result.overtaken_by is None
    assert result.differences["neural"].as_dict() == {"estimate": 0, "low": 0, "high": 0}


def test_the_answer_is_json_and_repeatable() -> None:
    judged = {"xgboost": events(), "neural": events(0.01, noise=0.05)}
    one = select(judged, seed=3)
    assert select({k: v.reverse() for k, v in judged.items()}, seed=3) == one
    read = json.loads(json.dumps(one.as_dict()))
    assert read["means"]["xgboost"] == one.means["xgboost"]
    assert math.isclose(
        read["differences"]["neural"]["estimate"],
        one.means["neural"] - one.means["xgboost"],
        abs_tol=1e-12,
    )


def test_other_events_are_refused() -> None:
    with pytest.raises(ValueError, match="same purchases"):
        select({"xgboost": events(), "neural": events().head(-1)}, seed=1)


def test_without_the_incumbent_there_is_no_rule() -> None:
    with pytest.raises(ValueError, match="'xgboost' is served"):
        select({"neural": events()}, seed=1)
