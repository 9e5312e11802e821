from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.actions.checker import violations
from models.actions.exploration import explore
from models.actions.plan import plan
from models.actions.settings import Exploration, Limits, Required
from tests.models.actions.markets import candidate, drawn, free, market

SLOT = ["store_id", "slot_product_id"]


def test_alternatives_and_propensities_by_hand() -> None:
    frame = market(
        candidate(product="a", action="display", value=9, cost=2),
        # Takes no display and costs less: an alternative; the dearer mailer is none.
        candidate(product="a", action="discount_20", value=2, cost=1),
        candidate(product="a", action="mailer", value=2, cost=3),
        # May stand in for it; the one of another category may not.
        candidate(product="b", action="display", value=1, cost=2),
        candidate(product="c", action="display", value=1, cost=2, category="BEER"),
    )
    taken = frame.filter((pl.col("product_id") == "a") & (pl.col("action") == "display"))
    found = explore(taken, frame, free(), Exploration(share=0.3))
    log = {(p, a): q for p, a, q in found.log.select("product_id", "action", "propensity").rows()}
    assert log == pytest.approx(
        {
            ("a", "display"): 0.7,
            ("a", "discount_20"): 0.1,
            ("a", "none"): 0.1,
            ("b", "display"): 0.1,
        }
    )
    # Planned: 9 - 2; instead 2 - 1, 0 and 1 - 2, each with a tenth.
    assert found.given_up == pytest.approx(0.1 * (7 - 1) + 0.1 * 7 + 0.1 * (7 + 1))


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.floats(0, 0.9))
def test_every_draw_keeps_every_limit(seed: int, share: float) -> None:
    frame, limits = drawn(seed)
    planned = plan(frame, limits).rows
    found = explore(planned, frame, limits, Exploration(share=share, seed=seed))
    assert violations(found.rows, frame, limits, proven=False) == []
    assert (
        found.log.height == 0
        or found.log.group_by(SLOT)
        .agg(pl.col("propensity").sum(), pl.col("drawn").sum())
        .select(((pl.col("propensity") - 1).abs() < 1e-9).all() & (pl.col("drawn") == 1).all())
        .item()
    )
    # No product stands in two slots.
    pairs = found.log.filter(pl.col("action") != "none").select(
        "store_id", "product_id", "slot_product_id"
    )
    assert pairs.unique().select("store_id", "product_id").is_unique().all()
    assert (
        found.log.filter("drawn")["propensity"].min() is None
        or (found.log.filter("drawn")["propensity"] > 0).all()
    )


def test_draws_happen_as_often_as_they_say() -> None:
    frame = market(
        *(candidate(str(s), "a", "display", cost=2) for s in range(400)),
        *(candidate(str(s), "a", "discount_20", cost=1) for s in range(400)),
    )
    planned = frame.filter(pl.col("action") == "display")
    log = explore(planned, frame, free(), Exploration(share=0.4, seed=3)).log
    shares = dict(log.filter("drawn").group_by("action").len().rows())
    # Two thirds of .4 each within three standard errors of 400 draws.
    for action, share in {"display": 0.6, "discount_20": 0.2, "none": 0.2}.items():
        assert shares[action] / 400 == pytest.approx(
            share, abs=3 * (share * (1 - share) / 400) ** 0.5
        )


def test_another_store_does_not_change_a_draw() -> None:
    one = market(*(candidate(str(s), "a") for s in range(30)))
    more = market(*(candidate(str(s), "a") for s in range(60)))
    few = explore(one, one, free(), Exploration(share=0.5)).log.filter("drawn")
    many = explore(more, more, free(), Exploration(share=0.5)).log.filter("drawn")
    columns = ["store_id", "action"]
    assert set(few.select(columns).rows()) <= set(many.select(columns).rows())


def test_what_is_required_is_never_left_to_chance() -> None:
    frame = market(candidate(product="a"), candidate(product="b"))
    limits = replace(free(), required=(Required("1", "a", "display"),))
    planned = frame.filter(pl.col("product_id") == "a")
    log = explore(planned, frame, limits, Exploration(share=0.9)).log
    assert log.select("product_id", "propensity").rows() == [("a", 1.0)]


def test_an_empty_plan_explores_nothing() -> None:
    frame = market(candidate())
    found = explore(frame.clear(), frame, Limits(), Exploration())
    assert found.rows.is_empty()
    assert found.log.is_empty()
    assert found.given_up == 0
