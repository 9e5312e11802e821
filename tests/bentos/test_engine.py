"""Decisions: ordinary and fallback answers, snapshots taken up or refused, and the log."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import numpy as np
import orjson
import pytest

from bentos import follower
from bentos.decision_log import DecisionLogError
from bentos.engine import Engine, NotReadyError
from bentos.ranker_model import ModelError
from bentos.schemas import RankOffersReply, RankOffersRequest
from models.pseudonyms import pseudonymise
from models.ranking.reasons import OTHER
from resources.online_snapshot import open_snapshot
from tests.bentos.conftest import AS_OF, KEY, KNOWN_AT, LABELS, World, best_first
from tests.bentos.test_decision_log import full_disk


def ask(engine: Engine, household_id: str = "1", k: int = 5) -> dict:
    reply = engine.rank_offers(RankOffersRequest(household_id=household_id, k=k))
    RankOffersReply.model_validate_json(orjson.dumps(reply))
    return reply


def products(reply: dict) -> list[str]:
    return [offer["product_id"] for offer in reply["offers"]]


def test_a_known_household_gets_its_own_candidates_best_first(world: World) -> None:
    manifest = world.publish()
    reply = ask(world.engine(), "2", k=5)
    assert products(reply) == best_first(2)[:5]
    assert [o["rank"] for o in reply["offers"]] == [1, 2, 3, 4, 5]
    assert {o["source"] for o in reply["offers"]} == {"personal"}
    assert reply["fallback"] is None
    assert reply["arm"] == "live"
    assert reply["model_version"] == LABELS["model_version"]
    assert reply["as_of"] == AS_OF
    assert reply["snapshot_version"] == manifest.version
    assert reply["data_age_days"] > 365


def test_offers_carry_what_people_read(world: World) -> None:
    world.publish()
    offers = ask(world.engine(), "1", k=100)["offers"]
    assert len(offers) == len(best_first(1))
    shown = {o["product_id"]: o["category"] for o in offers}
    assert shown["1000"] == "TEA"
    assert shown["1001"] is None


def test_offers_say_why_and_without_a_classifier_no_probability(world: World) -> None:
    world.publish()
    offers = ask(world.engine(), "1", k=12)["offers"]
    assert {o["probability"] for o in offers} == {None}
    assert offers[0]["reasons"] == [OTHER.otherwise]
    # What lowers a score is no reason for it.
    assert offers[-1]["reasons"] == []


def test_probabilities_are_the_calibrated_classifiers(world: World) -> None:
    world.publish()
    model = world.model_with_probabilities()
    reply = ask(world.engine(lambda: model), "1", k=12)
    told = [o["probability"] for o in reply["offers"]]
    assert all(p > 0.5 for p in told[:6])
    assert all(p < 0.5 for p in told[6:])
    (logged,) = [json.loads(line) for line in world.log_lines()]
    assert logged["probabilities"] == told
    spend = np.array([[11.0, 0.0]], dtype=np.float32)
    assert model.probability(spend) == [told[0]]
    log_odds = model.probabilities.classifier.inplace_predict(spend, predict_type="margin")
    assert told[0] == pytest.approx(1 / (1 + np.exp(-float(log_odds[0]))))


def test_without_a_model_nothing_is_told(world: World) -> None:
    world.publish()
    popular = ask(world.engine(lambda: None))["offers"]
    assert [(o["probability"], o["reasons"]) for o in popular] == [(None, [])] * 3


def test_an_unknown_household_gets_flagged_popular_products(world: World) -> None:
    world.publish()
    reply = ask(world.engine(), "nobody")
    assert reply["fallback"] == "unknown_household"
    assert products(reply) == ["popular-b", "popular-c", "popular-a"]


def test_without_a_model_popularity_decides(world: World) -> None:
    world.publish()
    engine = world.engine(lambda: None)
    reply = ask(engine, "1", k=2)
    assert reply["fallback"] == "no_model"
    assert reply["model_version"] is None
    assert products(reply) == ["popular-a", "popular-b"]
    assert {o["score"] for o in reply["offers"]} == {None}
    status = engine.status()
    assert status.ready
    assert "no model is packaged" in status.problems[0]


def test_features_past_the_freshness_limit_are_flagged(world: World) -> None:
    world.publish(known_at=KNOWN_AT - timedelta(days=14.5))
    engine = world.engine()
    reply = ask(engine)
    assert reply["fallback"] == "stale_features"
    assert products(reply) == best_first(1)[:5]
    assert engine.status().snapshot.stale


def test_a_live_calendar_ages_by_the_clock(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.publish()
    assert ask(world.engine())["fallback"] is None
    monkeypatch.setenv("LIFTGRAPH_LAST_WEEK", "")
    assert ask(world.engine())["fallback"] == "stale_features"


def test_the_decision_is_on_disk_before_the_answer_and_replays(world: World) -> None:
    manifest = world.publish()
    engine = world.engine()
    request = RankOffersRequest(household_id="3", k=4, context={"channel": "app"})
    reply = engine.rank_offers(request)
    (line,) = world.log_lines()
    logged = json.loads(line)
    assert logged["request_id"] == reply["request_id"]
    assert logged["household_id"] == pseudonymise("3", KEY.encode())
    assert logged["context"] == {"channel": "app"}
    assert logged["snapshot_version"] == manifest.version
    assert logged["model_version"] == LABELS["model_version"]
    assert logged["ranking"] == products(reply)
    assert logged["latency_ms"] > 0
    # The raw id is in no value of the line.
    assert "3" not in [v for v in logged.values() if isinstance(v, str)]

    snapshot = open_snapshot(world.online, logged["snapshot_version"])
    candidates = snapshot.lookup(logged["household_id"])
    assert snapshot.product_ids(candidates) == logged["candidates"]
    replayed = world.model().score(candidates.features)
    assert np.array(logged["scores"], dtype=np.float32).tobytes() == replayed.tobytes()


def test_a_decision_that_cannot_be_logged_is_not_answered(world: World) -> None:
    world.publish()
    (world.home / "decisions").write_text("a file where the folder should be")
    engine = world.engine()
    with pytest.raises(DecisionLogError, match="cannot be written"):
        ask(engine)
    assert engine.status().decisions == 0


def test_a_full_disk_stops_answers_and_readiness_until_there_is_space(world: World) -> None:
    world.publish()
    engine = world.engine()
    ask(engine)
    with full_disk(100):
        for _ in range(3):
            with pytest.raises(DecisionLogError, match="free disk space"):
                ask(engine)
        engine.log.tend()
        assert engine.blocking_problem is not None
        assert not engine.status().ready
    # Nobody asks a service that is not ready: it finds out by itself.
    engine.log.tend()
    assert engine.status().ready
    ask(engine)
    assert len([json.loads(line) for line in world.log_lines()]) == 2


def test_without_a_snapshot_the_remedy_is_named_until_one_comes(world: World) -> None:
    engine = world.engine()
    assert not engine.status().ready
    with pytest.raises(NotReadyError, match="run `make demo`"):
        ask(engine)
    world.publish()
    engine.refresh()
    assert engine.status().ready
    assert engine.status().problems == []
    assert products(ask(engine)) == best_first(1)[:5]


def test_without_a_key_nothing_is_answered_and_none_is_made(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.publish()
    world.settings.pseudonym_key_file.unlink()
    monkeypatch.setenv("LIFTGRAPH_SOURCE", "own")
    with pytest.raises(NotReadyError, match=r"no pseudonym key: .*pseudonym.key does not exist"):
        ask(world.engine())
    assert not world.settings.pseudonym_key_file.exists()
    world.settings.pseudonym_key_file.write_text("short")
    with pytest.raises(NotReadyError, match="pseudonym key has 5 bytes"):
        ask(world.engine())


def test_the_key_may_come_from_the_environment(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.publish()
    world.settings.pseudonym_key_file.unlink()
    monkeypatch.setenv("LIFTGRAPH_PSEUDONYM_KEY", KEY)
    assert ask(world.engine())["fallback"] is None


@pytest.mark.parametrize(
    ("features", "feature_set_hash", "message"),
    [
        (["weeks_since", "spend"], "f00d", r"order differs from column 0 on \(model spend"),
        (["spend"], "f00d", "only the model has weeks_since"),
        (["spend", "visits"], "f00d", "only the snapshot has visits"),
        (["spend", "weeks_since"], "beef", "the names agree but the definitions do not"),
    ],
)
def test_other_features_than_the_models_are_not_served(
    world: World, features: list[str], feature_set_hash: str, message: str
) -> None:
    world.publish(features=features, feature_set_hash=feature_set_hash)
    engine = world.engine()
    assert not engine.status().ready
    with pytest.raises(NotReadyError, match=message):
        ask(engine)


def test_a_bad_snapshot_is_refused_and_the_old_one_stays(world: World) -> None:
    good = world.publish()
    engine = world.engine()
    world.publish(shift=1, feature_set_hash="beef")
    engine.refresh()
    assert ask(engine)["snapshot_version"] == good.version
    status = engine.status()
    assert status.ready
    assert "definitions do not" in status.problems[0]

    damaged = world.publish(shift=2)
    (world.online / damaged.version / "features.npy").write_bytes(b"")
    world.publish(shift=3)
    engine.refresh()
    assert engine.status().problems == []
    assert products(ask(engine, "1")) == best_first(1, shift=3)[:5]


def test_an_unchanged_pointer_opens_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.publish()
    engine = world.engine()
    opened: list[Path] = []
    monkeypatch.setattr(follower, "open_snapshot", opened.append)
    engine.refresh()
    assert opened == []


def test_a_model_that_cannot_be_loaded_blocks(world: World) -> None:
    world.publish()

    def damaged() -> None:
        raise ModelError("model x is damaged; package it again")

    engine = world.engine(damaged)
    assert engine.blocking_problem == "model x is damaged; package it again"
    with pytest.raises(NotReadyError, match="damaged"):
        ask(engine)
