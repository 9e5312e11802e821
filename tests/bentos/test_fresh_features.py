"""Events: the next answer counts them, once, in every process, and no longer than needed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import polars as pl
import pytest
from starlette.testclient import TestClient

from bentos.app import build_app, use_engine
from bentos.engine import Engine
from bentos.event_schemas import BasketLine
from bentos.fresh_features import EventTimeError, FreshFeatures
from bentos.fresh_view import FreshRow, View, make_row
from bentos.schemas import RankOffersRequest
from models.ranking.fresh import as_of_after
from resources.api_keys import add_key
from resources.event_log import EventConflictError
from resources.online_history import write_history
from resources.online_snapshot import open_snapshot
from tests.bentos.tiny_service import FEATURE_SET_HASH, TinyService, make_service, ranking_of
from tests.models.ranking.tiny_week import (
    HOUSEHOLDS,
    INSTANT,
    STRANGER,
    at,
    examples_of,
    known_of,
    line,
    lines_of,
    week,
)

SOLD = at("2018-01-02T15:04:05")
NOW = at("2026-11-21T08:00:00")


@pytest.fixture
def service(tmp_path: Path) -> TinyService:
    return make_service(tmp_path / "home")


@pytest.fixture
def engine(service: TinyService) -> Iterator[Engine]:
    service.publish()
    engine = service.engine()
    yield engine
    engine.close()


def bought(product: str = "p23", basket: str = "n1", **changes: object) -> BasketLine:
    values = {
        "product_id": product,
        "basket_id": basket,
        "store_id": "s0",
        "sold_at": SOLD,
        "quantity": 3,
        "sales_value": 7.5,
    }
    return BasketLine.model_validate(values | changes)


def accept(
    fresh: FreshFeatures | None, event: str, *lines: BasketLine, household: str = ""
) -> dict:
    assert fresh is not None
    reply = fresh.accept(
        event_id=event, household=household or HOUSEHOLDS[0], lines=list(lines), now=NOW
    )
    return reply.model_dump()


def ask(engine: Engine, household: str = "1") -> dict:
    return engine.rank_offers(RankOffersRequest(household_id=household, k=20))


def products(reply: dict) -> list[str]:
    return [offer["product_id"] for offer in reply["offers"]]


def expected(service: TinyService, household: str = HOUSEHOLDS[0], *lines: BasketLine) -> list[str]:
    """The ranking of what the batch functions give with these lines appended."""
    new = (
        week()
        .lines.clear()
        .vstack(
            lines_of(
                [
                    line(
                        household,
                        one.product_id,
                        one.sold_at,
                        basket=one.basket_id,
                        store=one.store_id,
                        quantity=one.quantity,
                        paid=one.sales_value,
                    )
                    for one in lines
                ]
            ).with_columns(pl.lit(0.0).alias("retail_disc"))
        )
    )
    instant = as_of_after(max(one.sold_at for one in lines), facts=week().facts)
    known = known_of(week().lines.vstack(new), chain=week().lines, instant=instant)
    made = examples_of(known, instant=instant)
    return ranking_of(service, made.filter(made["household_id"] == household))[:20]


def test_the_next_answer_is_that_of_the_lake_with_these_lines(
    service: TinyService, engine: Engine
) -> None:
    before = ask(engine)
    reply = accept(engine.fresh, "e1", bought(), bought("p22"))
    assert (reply["lines"], reply["fresh_lines"]) == (2, 2)
    after = ask(engine)
    assert products(after) == expected(service, HOUSEHOLDS[0], bought(), bought("p22"))
    assert products(after) != products(before)
    assert before["data_age_days"] - after["data_age_days"] == pytest.approx(
        (SOLD - INSTANT) / timedelta(days=1), abs=0.002
    )
    assert after["fallback"] is None
    # Nobody else's answer changes.
    assert engine.fresh is not None
    assert engine.fresh.rows == 1
    snapshot = open_snapshot(service.settings.online_dir)
    assert engine.fresh.lookup(HOUSEHOLDS[1], snapshot.manifest.version) is None
    assert engine.fresh.lookup(HOUSEHOLDS[0], "another") is None


def test_the_decision_holds_the_features_that_no_snapshot_has(
    service: TinyService, engine: Engine
) -> None:
    accept(engine.fresh, "e1", bought())
    ask(engine)
    (logged,) = [orjson.loads(one) for one in service.log_lines()]
    assert logged["fresh"]
    found = engine.fresh.lookup(HOUSEHOLDS[0]) if engine.fresh else None
    assert found is not None
    served = np.array(logged["features"], dtype=np.float32)
    assert served.tobytes() == found[0].features.tobytes()
    assert logged["known_at"] == SOLD.isoformat()


def test_a_stranger_is_known_after_the_first_event(service: TinyService, engine: Engine) -> None:
    assert ask(engine, "stranger")["fallback"] == "unknown_household"
    accept(engine.fresh, "e1", bought("p05"), household=STRANGER)
    reply = ask(engine, "stranger")
    assert reply["fallback"] is None
    assert products(reply) == expected(service, STRANGER, bought("p05"))


def test_a_retry_is_answered_the_same_and_counted_once(
    service: TinyService, engine: Engine
) -> None:
    first = accept(engine.fresh, "e1", bought())
    once = products(ask(engine))
    other = FreshFeatures(service.settings)
    other.follow(open_snapshot(service.settings.online_dir))
    # The same process, another one, and one that was started since.
    for fresh in (engine.fresh, other, FreshFeatures(service.settings)):
        assert accept(fresh, "e1", bought()) == first
        with pytest.raises(EventConflictError, match="another content"):
            accept(fresh, "e1", bought(quantity=4))
    assert products(ask(engine)) == once
    again = service.engine()
    assert products(ask(again)) == once
    again.close()


def test_another_process_counts_what_this_one_took(service: TinyService, engine: Engine) -> None:
    other = service.engine()
    assert other.fresh is not None
    accept(engine.fresh, "e1", bought())
    other.fresh.catch_up(most=10)
    assert products(ask(other)) == products(ask(engine))
    # Both took something of the same household.
    accept(other.fresh, "e2", bought("p21", "n2"))
    accept(engine.fresh, "e3", bought("p20", "n3"))
    other.fresh.catch_up(most=10)
    both = expected(service, HOUSEHOLDS[0], bought(), bought("p21", "n2"), bought("p20", "n3"))
    assert products(ask(other)) == products(ask(engine)) == both
    other.close()


def test_what_the_snapshot_holds_is_logged_and_not_counted(engine: Engine) -> None:
    before = products(ask(engine))
    reply = accept(engine.fresh, "e1", bought(sold_at=INSTANT - timedelta(days=1)))
    assert (reply["lines"], reply["fresh_lines"]) == (1, 0)
    assert products(ask(engine)) == before


def test_a_newer_snapshot_drops_what_it_holds(service: TinyService, engine: Engine) -> None:
    accept(engine.fresh, "e1", bought())
    accept(engine.fresh, "e2", bought("p22", "n2", sold_at=SOLD + timedelta(days=2)))
    service.publish(known_at=SOLD + timedelta(days=1), data_snapshot="2")
    engine.refresh()
    # The first event is the snapshot's; of the second the next answer still knows.
    late = bought("p22", "n2", sold_at=SOLD + timedelta(days=2))
    assert products(ask(engine)) == expected(service, HOUSEHOLDS[0], late)
    service.publish(known_at=SOLD + timedelta(days=5), data_snapshot="3")
    engine.refresh()
    assert engine.fresh is not None
    assert engine.fresh.rows == 0


def test_a_history_written_later_does_not_part_a_snapshot_from_its_own(
    service: TinyService,
) -> None:
    service.publish()
    write_history(
        service.settings.online_history_dir,
        week().facts,
        known_at=INSTANT + timedelta(days=1),
        data_snapshot="2",
        feature_set_hash=FEATURE_SET_HASH,
    )
    engine = service.engine()
    before = products(ask(engine))
    accept(engine.fresh, "e1", bought())
    assert not engine.status().problems
    assert products(ask(engine)) != before


def test_without_its_history_a_snapshot_answers_and_events_wait(service: TinyService) -> None:
    service.publish(history=False)
    engine = service.engine()
    before = products(ask(engine))
    accept(engine.fresh, "e1", bought())
    assert products(ask(engine)) == before
    (problem,) = engine.status().problems
    assert "events are logged but not counted" in problem
    write_history(
        service.settings.online_history_dir,
        week().facts,
        known_at=INSTANT + timedelta(days=1),
        data_snapshot="1",
        feature_set_hash=FEATURE_SET_HASH,
    )
    engine.close()
    other = service.engine()
    assert "does not belong to snapshot" in other.status().problems[0]
    other.close()


def test_one_household_that_cannot_be_made_stops_nothing(
    service: TinyService, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = [HOUSEHOLDS[0]]

    def made(view: View, household: str, events: Iterable[dict[str, Any]]) -> FreshRow | None:
        if household in bad:
            raise ValueError("poison")
        return make_row(view, household, events)

    accept(engine.fresh, "e1", bought())
    accept(engine.fresh, "e2", bought(), household=HOUSEHOLDS[1])
    monkeypatch.setattr("bentos.fresh_features.make_row", made)
    reply = accept(engine.fresh, "e3", bought("p22", "n2"))
    assert reply["lines"] == 1
    # A start, and a swap in the process that runs, both with a household that fails.
    other = service.engine()
    service.publish(data_snapshot="2")
    engine.refresh()
    for one in (other, engine):
        assert one.serving is not None
        assert one.problems == {}
        assert one.fresh is not None
        assert (one.fresh.rows, one.fresh.waiting) == (1, 1)
        assert "1 household(s) are not counted yet" in (one.fresh.problem or "")
    assert engine.serving is not None
    assert engine.serving.snapshot.manifest.data_snapshot == "2"
    bad.clear()
    assert engine.fresh is not None
    engine.fresh.catch_up(most=10)
    assert engine.fresh.waiting == 1  # left alone for a second
    monkeypatch.setattr("bentos.fresh_view.AGAIN_SECONDS", 0.0)
    assert engine.fresh._view is not None
    engine.fresh._view.fail(HOUSEHOLDS[0], 0.0)
    engine.fresh.catch_up(most=10)
    assert (engine.fresh.waiting, engine.fresh.problem) == (0, None)
    assert products(ask(engine)) == expected(service, HOUSEHOLDS[0], bought(), bought("p22", "n2"))
    other.close()


def test_a_bad_line_of_the_log_stops_no_event(service: TinyService, engine: Engine) -> None:
    accept(engine.fresh, "e1", bought())
    (path,) = service.settings.household_events_dir.glob("*.open")
    with path.open("ab") as file:
        file.write(b'\0\0\n{"event_id": "x", "digest": "d"}\n')
    accept(engine.fresh, "e2", bought("p22", "n2"))
    both = expected(service, HOUSEHOLDS[0], bought(), bought("p22", "n2"))
    assert products(ask(engine)) == both
    assert "1 line(s) that are no events" in engine.status().problems[0]


def test_what_a_first_snapshot_holds_is_not_kept(service: TinyService, engine: Engine) -> None:
    accept(engine.fresh, "e1", bought(sold_at=INSTANT - timedelta(days=1)))
    accept(engine.fresh, "e2", bought(), household=HOUSEHOLDS[1])
    fresh = FreshFeatures(service.settings)
    fresh.follow(open_snapshot(service.settings.online_dir))
    assert list(fresh._events) == [HOUSEHOLDS[1]]
    fresh.tend()


def test_sales_of_the_future_are_refused(engine: Engine) -> None:
    with pytest.raises(EventTimeError, match="before 2018-01-08 05:00:00"):
        accept(engine.fresh, "e1", bought(sold_at=at("2018-01-08T05:00:00")))
    assert engine.fresh is not None
    assert engine.fresh.rows == 0


def event(**changes: object) -> dict:
    return {
        "event_id": "till 7/1",
        "household_id": "1",
        "lines": [orjson.loads(bought().model_dump_json())],
    } | changes


@pytest.fixture
def client(service: TinyService, engine: Engine) -> Iterator[TestClient]:
    app = build_app()
    use_engine(app, engine)
    _, token = add_key(
        service.settings.api_keys_file, name="tests", scopes=("events:write", "offers:read")
    )
    headers = {"Authorization": f"Bearer {token}"}
    with TestClient(app, raise_server_exceptions=False, headers=headers) as client:
        yield client


def test_events_over_http(client: TestClient, service: TinyService) -> None:
    first = client.post("/events", json=event())
    assert first.status_code == 200
    assert first.json()["fresh_lines"] == 1
    assert client.post("/events", json=event()).json() == first.json()
    answer = client.post("/rank_offers", json={"household_id": "1", "k": 20}).json()
    assert products(answer) == expected(service, HOUSEHOLDS[0], bought())
    one = {
        k: v
        for k, v in event()["lines"][0].items()
        if k not in {"basket_id", "store_id", "sold_at"}
    }
    baskets = [
        {
            "basket_id": "n9",
            "store_id": "s0",
            "sold_at": "2018-01-02T10:00:00-05:00",
            "lines": [one],
        }
    ]
    whole = {"event_id": "till 7/2", "household_id": "1", "baskets": baskets}
    assert client.post("/events", json=whole).status_code == 200
    logged = b"".join(
        p.read_bytes() for p in service.settings.household_events_dir.glob("*.jsonl*")
    )
    assert orjson.loads(logged.splitlines()[-1])["lines"][0]["sold_at"] == "2018-01-02T15:00:00"
    conflict = client.post("/events", json=event(household_id="2"))
    assert conflict.status_code == 409
    assert "new event_id" in conflict.json()["remedy"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"event_id": ""}, "event_id"),
        ({"lines": None}, "body"),
        ({"lines": []}, "lines"),
        ({"baskets": [{"basket_id": "b"}]}, "baskets"),
        ({"lines": [{**event()["lines"][0], "quantity": -1}]}, "lines.0.quantity"),
        ({"lines": [{**event()["lines"][0], "sales_value": 1e7}]}, "lines.0.sales_value"),
        ({"lines": event()["lines"] * 501}, "lines"),
        ({"lines": [event()["lines"][0], {**event()["lines"][0], "store_id": "s1"}]}, "body"),
        ({"lines": [{**event()["lines"][0], "sold_at": "2019-01-01T00:00:00"}]}, "sold_at"),
    ],
)
def test_a_wrong_event_says_which_field(client: TestClient, changes: dict, field: str) -> None:
    reply = client.post("/events", json=event(**changes))
    assert reply.status_code == 422
    assert reply.json()["errors"][0]["field"].startswith(field)
    assert client.post("/events", json=event()).status_code == 200


def test_events_need_their_scope(client: TestClient, service: TinyService) -> None:
    _, token = add_key(service.settings.api_keys_file, name="reader", scopes=("offers:read",))
    client.app.state.gate.refresh()  # type: ignore[attr-defined]
    reply = client.post("/events", json=event(), headers={"Authorization": f"Bearer {token}"})
    assert reply.status_code == 403
    assert not service.settings.household_events_dir.exists()
