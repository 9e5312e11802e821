"""Releases in the request path: arms, shadow, guard, and what is refused."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bentos.engine import Engine
from bentos.guard import COLD_MS, Trip
from bentos.ranked import Ranked
from bentos.ranker_model import RankerModel, read_booster
from bentos.schemas import RankOffersRequest
from models.pseudonyms import pseudonymise
from models.release.routing import arm_of
from resources.incidents import list_incidents
from tests.bentos.conftest import KEY, World, best_first, breaks, product_ids, scores_of

LIVE, CANARY = "aaaaaaaaaaaa", "bbbbbbbbbbbb"


@pytest.fixture(scope="module")
def broken_ubj(model_ubj: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return breaks(model_ubj, tmp_path_factory.mktemp("broken") / "model.ubj")


@pytest.fixture
def models(world: World) -> dict[str, RankerModel]:
    found = [world.released(LIVE), world.released(CANARY)]
    return {model.tag: model for model in found}


@pytest.fixture
def broken(world: World, broken_ubj: Path) -> RankerModel:
    return world.released(CANARY, booster=read_booster(broken_ubj, name="broken"))


def ask(engine: Engine, household_id: str = "1", k: int = 5) -> dict:
    return engine.rank_offers(RankOffersRequest(household_id=household_id, k=k))


def belong_together(answer: dict, model: RankerModel, household: int, shift: int = 0) -> None:
    """The scores of a reply or a log line are those that this model gives this household."""
    own = dict(zip(product_ids(household), scores_of(model, household, shift), strict=True))
    assert answer["model_version"] == model.version
    if "offers" in answer:
        said = {o["product_id"]: o["score"] for o in answer["offers"]}
    else:
        said = dict(zip(answer["candidates"], answer["scores"], strict=True))
    assert said == pytest.approx({product: own[product] for product in said}, rel=1e-5)


def logged(world: World) -> list[dict]:
    return [json.loads(line) for line in world.log_lines()]


def eventually(true: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.01)


def test_an_empty_ledger_leaves_the_bentos_own_model_live(world: World) -> None:
    world.publish()
    engine = world.engine()
    assert ask(engine)["arm"] == "live"
    assert engine.status().release == 0
    assert engine.status().model.tag == "liftgraph_ranker:test"


def test_the_ledgers_live_model_answers_not_the_bentos(
    world: World, models: dict[str, RankerModel]
) -> None:
    world.publish()
    world.step(LIVE, "live")
    engine = world.engine(models=models)
    assert ask(engine)["model_version"] == LIVE
    (line,) = logged(world)
    assert (line["release"], line["model_tag"]) == (2, f"liftgraph_ranker:{LIVE}")


def test_the_canary_answers_its_share_by_the_stable_hash(
    world: World, models: dict[str, RankerModel]
) -> None:
    world.publish()
    world.step(LIVE, "live")
    world.step(CANARY, "canary", 25.0)
    engine = world.engine(models=models)
    arms: Counter[str] = Counter()
    for i in range(300):
        reply = ask(engine, str(i), k=1)
        pseudonym = pseudonymise(str(i), KEY.encode())
        assert reply["arm"] == arm_of(pseudonym, salt=CANARY, percent=25.0)
        assert reply["model_version"] == (CANARY if reply["arm"] == "canary" else LIVE)
        arms[reply["arm"]] += 1
    assert set(arms) == {"live", "baseline", "canary"}
    assert {d["arm"]: d["propensity"] for d in logged(world)} == {
        "live": 0.5,
        "baseline": 0.25,
        "canary": 0.25,
    }
    world.step(CANARY, "canary", 50.0)
    engine.refresh()
    shown = {a.arm: a.percent for a in engine.status().arms}
    assert (shown["live"], shown["baseline"], shown["canary"]) == (0.0, 50.0, 50.0)


def test_a_failing_canary_is_answered_by_the_live_model_and_flagged(
    world: World, models: dict[str, RankerModel], broken: RankerModel
) -> None:
    world.publish()
    world.step(LIVE, "live")
    world.step(CANARY, "canary", 100.0)
    engine = world.engine(models={**models, broken.tag: broken})
    reply = ask(engine, "2")
    assert (reply["arm"], reply["fallback"]) == ("canary", "model_error")
    assert reply["model_version"] == LIVE
    assert [o["product_id"] for o in reply["offers"]] == best_first(2)[:5]
    (line,) = logged(world)
    assert line["error"].startswith("ValueError: ")
    assert "NaN" in line["error"]
    assert (line["status"], line["arm"]) == (200, "canary")


def test_a_live_model_that_fails_leaves_popular_products(world: World, broken: RankerModel) -> None:
    world.publish()
    world.step(CANARY, "live")
    reply = ask(world.engine(models={broken.tag: broken}))
    assert (reply["fallback"], reply["model_version"]) == ("model_error", None)
    assert [o["product_id"] for o in reply["offers"]] == ["popular-a", "popular-b", "popular-c"]
    assert logged(world)[0]["candidates"] == ["popular-a", "popular-b", "popular-c"]


def test_the_guard_takes_a_bad_canary_out_and_tells_ledger_and_people(
    world: World, models: dict[str, RankerModel], broken: RankerModel
) -> None:
    world.publish()
    world.step(LIVE, "live")
    world.step(CANARY, "canary", 100.0)
    engine = world.engine(models={**models, broken.tag: broken})
    replies = [ask(engine, str(i % 4 + 1)) for i in range(60)]
    bad = [r["arm"] == "canary" for r in replies]
    # All bad answers come first: after the breach not one more.
    assert 0 < sum(bad) < 30
    assert bad == sorted(bad, reverse=True)
    assert replies[-1]["arm"] == "live"
    engine.refresh()
    releases = world.ledger.releases("offer_ranker")
    assert releases.canary is None
    assert releases.live is not None
    assert releases.live.model_version == LIVE
    last = world.ledger.events("offer_ranker")[-1]
    assert (last.state, last.actor, last.evidence["signal"]) == ("rolled_back", "guard", "errors")
    (incident,) = list_incidents(world.settings.incidents_dir)
    assert (incident["kind"], incident["evidence"]["outcome"]) == ("guard-breach", "rolled back")
    status = engine.status()
    assert status.guard.last_model == CANARY
    assert status.release == last.id
    # A new process starts from the ledger and does not meet the canary.
    assert ask(world.engine(models={**models, broken.tag: broken}))["arm"] == "live"


def test_a_bad_live_release_gives_way_to_the_one_before(
    world: World, models: dict[str, RankerModel], broken: RankerModel
) -> None:
    world.publish()
    world.step(LIVE, "live")
    world.step(CANARY, "live")
    engine = world.engine(models={**models, broken.tag: broken})
    replies = [ask(engine) for _ in range(60)]
    assert replies[0]["fallback"] == "model_error"
    assert replies[-1]["model_version"] == LIVE
    engine.refresh()
    releases = world.ledger.releases("offer_ranker")
    assert releases.live is not None
    assert releases.live.model_version == LIVE
    assert ask(engine)["model_version"] == LIVE


def test_while_the_ledger_cannot_be_told_the_model_stays_out(
    world: World, models: dict[str, RankerModel], broken: RankerModel
) -> None:
    world.publish()
    world.step(LIVE, "live")
    world.step(CANARY, "canary", 100.0)
    engine = world.engine(models={**models, broken.tag: broken})
    world.settings.incidents_dir.write_text("in the way")
    while ask(engine)["arm"] == "canary":
        pass
    engine.refresh()
    engine.refresh()
    assert ask(engine)["arm"] == "live"
    assert "could not be written" in engine.status().problems[0]
    world.settings.incidents_dir.unlink()
    engine.refresh()
    assert engine.status().problems == []
    assert len(list_incidents(world.settings.incidents_dir)) == 1


def test_a_model_released_again_gets_another_chance(
    world: World, models: dict[str, RankerModel], broken: RankerModel
) -> None:
    world.publish()
    world.step(LIVE, "live")
    world.step(CANARY, "canary", 100.0)
    store = {**models, broken.tag: broken}
    engine = world.engine(models=store)
    while ask(engine)["arm"] == "canary":
        pass
    engine.refresh()
    world.step(CANARY, "candidate")
    world.step(CANARY, "canary", 100.0)
    engine.refresh()
    assert ask(engine)["arm"] == "canary"


@pytest.mark.parametrize("fault", ["missing", "other version", "other features"])
def test_a_canary_that_is_not_right_never_serves_and_opens_one_incident(
    world: World, models: dict[str, RankerModel], fault: str
) -> None:
    world.publish()
    world.step(LIVE, "live")
    world.step(CANARY, "canary", 100.0)
    tag = f"liftgraph_ranker:{CANARY}"
    canary = models.pop(tag)
    if fault == "other version":
        models[tag] = replace(canary, version="cccccccccccc")
    elif fault == "other features":
        models[tag] = replace(canary, feature_set_hash="beef")
    engine = world.engine(models=models)
    assert {ask(engine, str(i))["arm"] for i in range(20)} == {"live"}
    assert "the canary is not served" in engine.status().problems[0]
    world.publish(shift=1)
    engine.refresh()
    (incident,) = list_incidents(world.settings.incidents_dir)
    assert incident["kind"] == "model-refused"
    assert engine.status().ready


def test_a_rollback_is_taken_up_though_the_newest_snapshot_fits_no_model(
    world: World, models: dict[str, RankerModel]
) -> None:
    good = world.publish()
    world.step(LIVE, "live")
    world.step(CANARY, "canary", 100.0)
    engine = world.engine(models=models)
    world.publish(shift=1, feature_set_hash="beef")
    engine.refresh()
    assert ask(engine)["arm"] == "canary"
    world.ledger.rollback(name="offer_ranker", actor="tests", reason="a test")
    engine.refresh()
    reply = ask(engine)
    assert (reply["arm"], reply["snapshot_version"]) == ("live", good.version)


def test_a_rollback_by_another_process_is_seen_in_a_moment(
    world: World, models: dict[str, RankerModel]
) -> None:
    world.publish()
    world.step(LIVE, "live")
    world.step(CANARY, "canary", 100.0)
    engine = world.engine(models=models, ledger_poll_seconds=0.2, snapshot_poll_seconds=0.5)
    engine.start()
    try:
        assert ask(engine)["arm"] == "canary"
        world.ledger.rollback(name="offer_ranker", actor="tests", reason="a test")
        eventually(lambda: ask(engine)["arm"] == "live", seconds=1.0)
    finally:
        engine.close()


def test_the_shadow_is_paired_with_the_answer_and_never_answers(
    world: World, models: dict[str, RankerModel]
) -> None:
    world.publish()
    world.step(LIVE, "live")
    world.step(CANARY, "shadow")
    engine = world.engine(models=models)
    replies = [ask(engine, str(i % 4 + 1)) for i in range(8)]
    assert {r["model_version"] for r in replies} == {LIVE}
    eventually(lambda: len(logged(world)) == 16)
    lines = logged(world)
    pairs = {d["request_id"]: d for d in lines if d["kind"] == "shadow"}
    answers = {d["request_id"]: d for d in lines if d["kind"] == "decision"}
    assert set(pairs) == set(answers) == {r["request_id"] for r in replies}
    for request_id, shadow in pairs.items():
        assert (shadow["model_version"], shadow["paired_model_version"]) == (CANARY, LIVE)
        assert shadow["ranking"] == answers[request_id]["ranking"]
        answer = answers[request_id]
        household = int(answer["ranking"][0][0])
        belong_together(answer, models[f"liftgraph_ranker:{LIVE}"], household)
        canary = models[f"liftgraph_ranker:{CANARY}"]
        belong_together({"candidates": answer["candidates"], **shadow}, canary, household)
    seen = engine.status().shadow
    assert seen is not None
    assert (seen.pairs, seen.overlap, seen.same_first) == (8, 1.0, 1.0)
    assert seen.score_shift != 0.0


def test_a_failing_or_slow_shadow_costs_no_answer(
    world: World, models: dict[str, RankerModel], broken: RankerModel
) -> None:
    world.publish()
    world.step(LIVE, "live")
    world.step(CANARY, "shadow")
    engine = world.engine(models={**models, broken.tag: broken})
    assert ask(engine)["fallback"] is None
    eventually(lambda: len(logged(world)) == 2)
    assert logged(world)[1]["error"].startswith("ValueError")

    gate = threading.Event()
    score = engine.shadow._score
    engine.shadow._score = lambda job: (gate.wait(), score(job))  # type: ignore[method-assign]
    for _ in range(300):
        assert ask(engine)["fallback"] is None
    assert engine.shadow.dropped >= 300 - 256 - 1
    gate.set()
    engine.close()


def test_no_answer_mixes_models_or_snapshots_while_both_change(world: World) -> None:
    """Versions, arm and offers of each answer belong together, whatever is swapped meanwhile."""
    versions = {f"{i:012x}": world.released(f"{i:012x}") for i in range(1, 5)}
    shift_of = {world.publish(shift=s).version: s for s in range(3)}
    world.step("000000000001", "live")
    engine = world.engine(models={m.tag: m for m in versions.values()})
    engine.start()
    release_of: dict[int, str] = {2: "000000000001"}
    done = threading.Event()

    def swap() -> None:
        for i in range(2, 5):
            release_of[world.step(f"{i:012x}", "live").id] = f"{i:012x}"
            world.publish(shift=i % 3)
            time.sleep(0.1)
        done.set()

    swapper = threading.Thread(target=swap)
    swapper.start()
    seen = set()
    try:
        while not done.is_set():
            reply = ask(engine, "1", k=4)
            shift = shift_of[reply["snapshot_version"]]
            assert [o["product_id"] for o in reply["offers"]] == best_first(1, shift)[:4]
            belong_together(reply, versions[reply["model_version"]], 1, shift)
            seen.add((reply["snapshot_version"], reply["model_version"]))
    finally:
        swapper.join()
        engine.close()
    assert len(seen) > 2
    for line in logged(world):
        shift = shift_of[line["snapshot_version"]]
        belong_together(line, versions[line["model_version"]], 1, shift)
        assert release_of.get(line["release"], line["model_version"]) == line["model_version"]


def test_told_from_memory_and_told_anew_are_the_same(world: World) -> None:
    world.publish()
    model = world.model_with_probabilities()
    engine = world.engine(lambda: model)
    first, second = ask(engine, "1", k=12), ask(engine, "1", k=12)
    assert first["offers"] == second["offers"]
    assert engine.serving is not None
    told = engine.serving.live.told
    assert told.rows == 12
    rows = engine.serving.snapshot.lookup(pseudonymise("3", KEY.encode()))
    assert told.warm(engine.serving.snapshot, stopped=lambda: False)
    kept = told.of(
        pseudonymise("3", KEY.encode()),
        rows.product_codes[np.argsort(-model.score(rows.features), kind="stable")[:5]].tolist(),
        rows.features[:0],
    )
    assert kept.seconds == 0.0
    assert [list(reasons) for _, reasons in kept.said] == [
        o["reasons"] for o in world.engine(lambda: model).rank_offers(
            RankOffersRequest(household_id="3", k=5)
        )["offers"]
    ]  # fmt: skip


class SlowReasons(RankerModel):
    """Ranks as fast as any, and takes long to say why."""

    def reasons(self, features: np.ndarray) -> list[list[str]]:
        time.sleep(0.12)
        return super().reasons(features)


def test_slow_reasons_are_logged_and_the_guard_takes_their_model_out(
    world: World, models: dict[str, RankerModel]
) -> None:
    world.publish()
    world.step(LIVE, "live")
    world.step(CANARY, "canary", 100.0)
    tag = f"liftgraph_ranker:{CANARY}"
    models[tag] = SlowReasons(**vars(models[tag]))
    engine = world.engine(models=models, told_rows=0)
    for place in range(12):
        ask(engine, str(place % 4 + 1))
    assert engine.watch.last is not None
    assert engine.watch.last.breach.signal == "latency"
    assert logged(world)[0]["latency_ms"] >= 120.0


def test_only_a_cold_memory_is_excused_and_only_so_much(
    world: World, models: dict[str, RankerModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bentos.guard.COLD_ANSWERS", 2)
    world.publish()
    world.step(LIVE, "live")
    engine = world.engine(models=models)
    said = [(None, ())]
    answerer = engine.serving.live
    quick, slow = (Ranked(answerer, None, np.arange(1), said, s) for s in (0.004, 1.0))
    excused = [engine.watch.excused_ms(engine.serving, ranked) for ranked in (quick, slow, quick)]
    assert excused == [4.0, COLD_MS, 0.0]
    # Another snapshot: all is worked out anew.
    world.publish(shift=1)
    engine.refresh()
    assert engine.watch.excused_ms(engine.serving, quick) == 4.0
    unanswered = Ranked(None, None, np.arange(1), said)
    assert engine.watch.excused_ms(engine.serving, unanswered) == 0.0


def test_a_live_release_whose_scores_shift_gives_way(
    world: World, models: dict[str, RankerModel]
) -> None:
    world.publish()
    world.step(CANARY, "live")
    engine = world.engine(models=models)

    def saw(latency_ms: float, top_score: float) -> Trip | None:
        return engine.watch.saw(
            engine.serving,
            "live",
            failed=None,
            latency_ms=latency_ms,
            empty=False,
            top_score=top_score,
        )

    world.step(LIVE, "live")
    engine.refresh()
    scores = np.random.default_rng(1).normal(2.0, 1.0, 300).tolist()
    assert [trip for score in scores if (trip := saw(1.0, score))] == []
    found = [trip for score in scores[:20] if (trip := saw(1.0, 50.0 + score))]
    assert [trip.breach.signal for trip in found] == ["top_score"]


def test_a_live_release_is_held_against_the_latencies_of_the_one_before(
    world: World, models: dict[str, RankerModel]
) -> None:
    world.publish()
    world.step(LIVE, "live")
    engine = world.engine(models=models)
    for _ in range(300):
        engine.serving.live_guard.observe(
            "canary", error=False, latency_ms=1.0, empty=False, top_score=None
        )
    world.step(CANARY, "live")
    engine.refresh()
    assert engine.serving.live.model.version == CANARY
    for _ in range(20):
        engine.watch.saw(
            engine.serving, "live", failed=None, latency_ms=90.0, empty=False, top_score=1.0
        )
    assert engine.watch.last is not None
    assert engine.watch.last.breach.signal == "latency"
