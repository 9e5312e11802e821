"""One word per release, and why."""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl
import pytest

from models.release.health import COLUMNS, Incident, reviews
from models.release.ledger import fold
from models.release.report import document, render_html
from tests.models.release.histories import GOOD, with_canary, with_live

HOUR = timedelta(hours=1)
GOOD_ANSWERS = {"error": None, "latency_ms": 2.0, "empty": False, "fallback": None}


def served(version: str, start: datetime, n: int, **answer: object) -> pl.DataFrame:
    row = GOOD_ANSWERS | {"model_version": version, "arm": "live"} | answer
    return pl.DataFrame(
        [{"decided_at": start + i * HOUR / 100, **row} for i in range(n)], schema=COLUMNS
    )


def promoted():
    """b replaced a, and what each answered: 300 before, 300 after."""
    history = with_canary()
    history.to("b", "live", evidence=GOOD)
    at = history.events[-1].at
    before = served("a", at - 5 * HOUR, 300)
    return history, at, before


def newest(history, decisions, *, now: datetime, incidents=()):
    found = reviews(history.events, decisions, incidents, now=now)
    return [(r.review, r.health, r.reason) for r in found if r.model_version == "b"]


@pytest.mark.parametrize(
    ("answer", "health", "reason"),
    [
        ({}, "Ready", "300 decisions, 0 failed, no guardrail failed"),
        ({"error": "x"}, "Unhealthy", "100.00% of the answers failed, at most 0.10% may"),
        ({"latency_ms": 3.0}, "Guardrails failing", "latency 3.00 ms, 2.00 ms before"),
        ({"empty": True}, "Guardrails failing", "100.00% empty answers, at most 1.00%"),
        ({"fallback": "no_model"}, "Guardrails failing", "100.00% fallback answers"),
        ({"arm": "canary"}, "No data", "0 decisions, 200 are needed"),
    ],
)
def test_on_the_day(answer, health: str, reason: str) -> None:
    history, at, before = promoted()
    decisions = pl.concat([before, served("b", at, 300, **answer)])
    ((name, found, said),) = newest(history, decisions, now=at + 12 * HOUR)
    assert (name, found) == ("on the day", health)
    assert reason in said


def test_a_week_later() -> None:
    history, at, before = promoted()
    decisions = pl.concat([before, served("b", at, 300)])
    week, day = newest(history, decisions, now=at + timedelta(days=3))
    assert (week[:2], day[:2]) == (("a week later", "Ready"), ("on the day", "Ready"))
    week, _ = newest(history, decisions, now=at + timedelta(days=8))
    assert week[1] == "Released"


def test_an_incident_or_a_rollback_makes_it_unhealthy() -> None:
    history, at, before = promoted()
    decisions = pl.concat([before, served("b", at, 300)])
    about = Incident(at=at + HOUR, title="disk full", model_version=None)
    other = about._replace(model_version="c")
    assert newest(history, decisions, now=at + 2 * HOUR, incidents=[other])[0][1] == "Ready"
    found = newest(history, decisions, now=at + 2 * HOUR, incidents=[about])
    assert found[0][1:] == ("Unhealthy", "1 incident(s): disk full")
    history.rollback("b")
    found = newest(history, decisions, now=at + timedelta(days=9))
    assert {health for _, health, _ in found} == {"Unhealthy"}
    assert "rolled back by ann: because" in found[0][2]


def test_the_first_release_has_nothing_to_be_compared_with() -> None:
    history = with_live()
    at = history.events[-1].at
    (review,) = reviews(history.events, served("a", at, 300, empty=True), now=at + HOUR * 5)
    assert (review.health, review.before) == ("Ready", None)
    assert not review.complete


def test_the_page_says_it_all() -> None:
    history, at, before = promoted()
    found = document(
        history.events,
        fold(history.events),
        reviews=[r.as_dict() for r in reviews(history.events, before, now=at + HOUR)],
        verdict=None,
        retraining={"retrain": False, "trigger": None, "reason": "no label has matured <yet>"},
        now=at + HOUR,
    )
    page = render_html(found)
    for said in ("<strong>b</strong> answers customers", "No data", "&lt;yet&gt;", "retired"):
        assert said in page
    assert "http" not in page.split("</style>")[1]
    assert "<script" not in page
