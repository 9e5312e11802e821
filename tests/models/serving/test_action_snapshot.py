"""Files of a week's actions: what they hold, and what is refused."""

from __future__ import annotations

import io
import json

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from models.actions.settings import ActionSettings, Limits
from models.serving.action_snapshot import CONSIDERED, read_files, worth_keeping
from tests.bentos import action_world
from tests.models.actions.markets import candidate, market


def test_what_is_read_is_what_was_written() -> None:
    found = read_files(action_world.files())
    assert found.facts.week == action_world.WEEK
    assert found.stores == set(action_world.STORES)
    assert found.products["p0"] == ("SODA", "COLA")
    assert found.settings == action_world.settings()
    assert found.model == action_world.model()
    assert found.basis is not None
    assert found.basis.features.dtype == np.float32
    rows = pl.concat(found.plan[s] for s in action_world.STORES)
    assert rows.filter(pl.col("kind") == "action").height == 3 * len(action_world.STORES)
    weeks = found.weeks["s1"]
    assert weeks["forecast"].null_count() == weeks.height - 1


def test_the_same_week_gives_the_same_bytes() -> None:
    first = action_world.files()
    action_world.files.cache_clear()
    assert action_world.files() == first


def test_a_missing_file_and_another_format_are_named() -> None:
    files = dict(action_world.files())
    del files["plan.parquet"]
    with pytest.raises(ValueError, match=r"plan\.parquet"):
        read_files(files)
    files = dict(action_world.files())
    files["facts.json"] = json.dumps({**json.loads(files["facts.json"]), "format": 99}).encode()
    with pytest.raises(ValueError, match="format 99"):
        read_files(files)


def test_an_array_is_data_and_never_code() -> None:
    files = dict(action_world.files())
    stream = io.BytesIO()
    np.save(stream, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    files["prices.npy"] = stream.getvalue()
    with pytest.raises(ValueError, match="allow_pickle=False"):
        read_files(files)


def test_kept_is_what_a_plan_may_hold_and_the_best_of_the_rest() -> None:
    doubtful = {"evidence": "model_only"}
    rows = market(
        candidate("1", "sure", value=-5),
        *(candidate("1", f"m{i:03d}", value=float(i), **doubtful) for i in range(50)),
        candidate("1", "m049", "mailer", value=1.0, **doubtful),
    )
    kept = worth_keeping(rows, ActionSettings(limits=Limits(weeks_between=0)))
    assert kept.height == 1 + CONSIDERED
    best = kept.filter(pl.col("evidence") == "model_only")
    assert best["product_id"].to_list() == [f"m{i:03d}" for i in range(50 - CONSIDERED, 50)]
    assert_frame_equal(kept, kept.sort("store_id", "product_id", "action"))
