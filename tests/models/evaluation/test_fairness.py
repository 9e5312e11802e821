from __future__ import annotations

import polars as pl
import pytest

from models.evaluation import fairness
from models.evaluation.metrics import per_event
from tests.models.evaluation.test_metrics import LATER, WEEK, purchases, ranking


def measures(ndcg: dict[str, float], *, weeks: int = 10) -> pl.DataFrame:
    """Households whose events all have one NDCG; the reference has half of it."""
    rows = [
        (household, WEEK, value, value / 2, 0.1, 10.0, 0.25)
        for household, value in ndcg.items()
        for _ in range(weeks)
    ]
    return pl.DataFrame(rows, schema=["household_id", "as_of", *fairness.MEASURES], orient="row")


def people(groups: dict[str, int], *, attribute: str = "age") -> pl.DataFrame:
    rows = [(f"{group}/{i}", group) for group, n in groups.items() for i in range(n)]
    return pl.DataFrame(rows, schema=["household_id", attribute], orient="row")


def test_gap_and_ratio_by_hand() -> None:
    given = people({"19-24": 40, "65+": 40})
    ndcg = {h: 0.3 if g == "65+" else 0.24 for h, g in given.rows()}
    gap = fairness.group_gap(measures(ndcg), given, attribute="age")
    assert gap is not None
    assert gap.ndcg_gap == pytest.approx(0.06)
    assert gap.ndcg_ratio == pytest.approx(0.8)
    assert gap.reference_ratio == pytest.approx(0.8)
    assert (gap.offers_gap, gap.promoted_gap) == (0.0, 0.0)
    rows = gap.groups.select("group", "households", "events", "compared").rows()
    assert rows == [("19-24", 40, 400, True), ("65+", 40, 400, True)]


def test_a_small_group_is_shown_and_not_compared() -> None:
    given = people({"19-24": 40, "45-54": 40, "65+": 5})
    ndcg = {h: 0.01 if g == "65+" else 0.3 for h, g in given.rows()}
    gap = fairness.group_gap(measures(ndcg), given, attribute="age")
    assert gap is not None
    assert gap.ndcg_ratio == pytest.approx(1.0)
    assert (gap.compared, gap.groups.height) == (2, 3)


def test_one_group_has_nobody_to_be_compared_with() -> None:
    given = people({"19-24": 40})
    gap = fairness.group_gap(
        measures(dict.fromkeys(given["household_id"], 0.3)), given, attribute="age"
    )
    assert gap is not None
    assert (gap.compared, gap.ndcg_gap, gap.ndcg_ratio) == (1, 0.0, 1.0)


def test_households_without_the_attribute_are_left_out() -> None:
    given = people({"19-24": 40}).with_columns(age=pl.lit(None, pl.String))
    assert fairness.group_gap(measures({"19-24/0": 0.3}), given, attribute="age") is None


def test_bands_come_in_their_own_order() -> None:
    given = people({"100-124K": 1, "15-24K": 1, "Under 15K": 1}, attribute="income")
    ndcg = dict.fromkeys(given["household_id"], 0.3)
    gap = fairness.group_gap(measures(ndcg), given, attribute="income")
    assert gap is not None
    assert gap.groups["group"].to_list() == ["Under 15K", "15-24K", "100-124K"]


def test_thirds_by_what_was_spent_before() -> None:
    households = pl.DataFrame(
        {
            "household_id": ["a", "b", "c", "a"],
            "as_of": [WEEK, WEEK, WEEK, LATER],
            "spend_91d": [5.0, None, 9.0, 100.0],
        }
    )
    assert fairness.spend_thirds(households).rows() == [
        ("a", "middle third"),
        ("b", "lowest third"),
        ("c", "highest third"),
    ]


def test_what_an_event_got_by_hand() -> None:
    bought = purchases({"ann": ["a"], "bob": ["x"], "new": ["a"]})
    offers = ranking({"ann": ["a", "b"], "bob": ["a"]})
    judged = per_event(offers, bought, k=2)
    found = fairness.event_measures(
        judged, judged, offers, promoted=offers.filter(pl.col("product_id") == "b")
    )
    assert found.select("household_id", "ndcg", "offers", "promoted_share").rows() == [
        ("ann", 1.0, 2.0, 0.5),
        ("bob", 0.0, 1.0, 0.0),
        ("new", 0.0, 0.0, 0.0),
    ]
