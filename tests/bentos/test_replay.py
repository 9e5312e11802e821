"""Any decision again: the same to the bit, or what differs and what is missing, in words."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bentos.engine import Engine
from bentos.ranked import rank
from bentos.replay import Replay, Replayed
from bentos.schemas import RankOffersRequest
from checks.contracts.decisions import DECISIONS
from models.pseudonyms import pseudonymise
from models.ranking.offers import ranked_offers
from models.ranking.reasons import SEPARATOR, explained
from models.serving.log_rows import decision_rows
from tests.bentos.test_fresh_features import accept, bought
from tests.bentos.tiny_service import TinyService, make_service
from tests.models.ranking.tiny_week import KEY, RAW_IDS, week

SCHEMA = {c.name: c.dtype for c in DECISIONS.columns}


@pytest.fixture
def service(tmp_path: Path) -> TinyService:
    return make_service(tmp_path / "home")


@pytest.fixture
def engine(service: TinyService) -> Iterator[Engine]:
    service.publish()
    engine = service.engine()
    yield engine
    engine.close()


def decided(service: TinyService) -> list[dict[str, Any]]:
    rows, rejected = decision_rows(service.log_lines(), schema=SCHEMA, time_zone="UTC")
    assert rejected == []
    return rows.to_dicts()


def replayed(service: TinyService, *rows: dict[str, Any]) -> list[Replayed]:
    replay = Replay(
        service.settings.online_dir,
        load_model={"liftgraph_ranker:tiny": service.model()}.get,
    )
    return list(replay.all(rows))


def ask(engine: Engine, household: str, k: int = 6) -> dict[str, Any]:
    return engine.rank_offers(RankOffersRequest(household_id=household, k=k))


def test_every_kind_of_answer_is_the_same_again(service: TinyService, engine: Engine) -> None:
    accept(engine.fresh, "e1", bought())
    for household in ("1", "2", "stranger"):
        ask(engine, household)
    # A later event and a later snapshot change nothing of what was.
    accept(engine.fresh, "e2", bought("p02", "n2"))
    service.publish(examples=week().examples.tail(50), data_snapshot="2")
    rows = decided(service)
    assert [r["fresh"] for r in rows] == [True, False, False]
    found = replayed(service, *rows)
    assert [r.outcome for r in found] == ["same"] * 3
    assert [r.scores for r in found] == [len(r["candidates"]) for r in rows]


def test_an_answer_after_a_failed_model_is_the_same_again(
    service: TinyService, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def first_failed(*args: Any) -> Any:
        return rank(*args)[0], "ValueError: the canary failed"

    monkeypatch.setattr("bentos.engine.rank", first_failed)
    for household in ("stranger", "1"):
        ask(engine, household)
    rows = decided(service)
    assert [r["fallback"] for r in rows] == ["model_error"] * 2
    assert [r.outcome for r in replayed(service, *rows)] == ["same", "same"]
    # A line of before it was logged whose rows were ranked.
    (found,) = replayed(service, rows[0] | {"rest": None, "fallback": "unknown_household"})
    assert found.outcome == "same"


def test_what_differs_is_named(service: TinyService, engine: Engine) -> None:
    ask(engine, "1")
    (row,) = decided(service)
    scores = list(row["scores"])
    scores[2] = float(np.nextafter(np.float32(scores[2]), np.float32(9)))
    (found,) = replayed(service, row | {"scores": scores})
    assert found.outcome == "differs"
    assert f"scores: 1 of {len(scores)} differ: {row['candidates'][2]} " in found.said[0]

    swapped = [row["ranking"][1], row["ranking"][0], *row["ranking"][2:]]
    (found,) = replayed(service, row | {"ranking": swapped})
    assert found.said == (
        f"ranking: place 1 is {row['ranking'][0]}, {row['ranking'][1]} was logged",
    )
    (found,) = replayed(service, row | {"candidates": ["p99", *row["candidates"][1:]]})
    assert "only logged: p99; only replayed: " in found.said[0]
    (found,) = replayed(service, row | {"probabilities": [0.5] * 6})
    assert found.said == ("probabilities: not those that were logged",)


def test_what_is_missing_is_named(service: TinyService, engine: Engine) -> None:
    accept(engine.fresh, "e1", bought())
    ask(engine, "1")
    (row,) = decided(service)
    (found,) = replayed(service, row | {"features": None})
    assert (found.outcome, found.said[0][:41]) == (
        "missing",
        "the features of this answer, which no sna",
    )
    (found,) = replayed(service, row | {"model_tag": "liftgraph_ranker:gone"})
    assert found.said == ("model liftgraph_ranker:gone is not in the store: package it again",)
    (found,) = replayed(service, row | {"scores": None, "error": "ModelError"})
    assert (found.outcome, found.said) == ("nothing", ("no model scored: ModelError",))
    (found,) = replayed(service, row | {"kind": "shadow"})
    assert "the decision that this shadow is the pair of" in found.said[0]
    shutil.rmtree(service.settings.online_dir / row["snapshot_version"])
    (found,) = replayed(service, row)
    assert found.outcome == "missing"
    assert f"snapshot {row['snapshot_version']} is not in" in found.said[0]


def test_a_shadow_is_replayed_on_its_decisions_rows(service: TinyService, engine: Engine) -> None:
    accept(engine.fresh, "e1", bought())
    ask(engine, "1")
    (row,) = decided(service)
    shadow = row | {"kind": "shadow", "candidates": None, "features": None, "fresh": False}
    assert [r.outcome for r in replayed(service, row, shadow)] == ["same", "same"]


def test_the_batch_path_and_the_service_answer_the_same(
    service: TinyService, engine: Engine
) -> None:
    """Order, scores, probabilities and reasons of every household, for one snapshot."""
    model, rows = service.model(), week().examples
    names = list(model.feature_names)
    scored = rows.select("household_id", "product_id", "as_of", "known_at", "source").with_columns(
        score=model.score(rows.select(names).to_numpy())
    )
    assert model.probabilities is not None
    batch = explained(
        ranked_offers(scored, k=10, model_version="tiny"),
        rows,
        booster=model.booster,
        probability=lambda found: found.select(
            p=model.probabilities.of(found.select(names).to_numpy())  # type: ignore[union-attr]
        )["p"],
    )
    assert batch["household_id"].n_unique() == len(RAW_IDS)
    for raw in RAW_IDS:
        offers = ask(engine, raw, k=10)["offers"]
        household = pseudonymise(raw, KEY.encode())
        mine = batch.filter(batch["household_id"] == household).sort("rank")
        assert [o["product_id"] for o in offers] == mine["product_id"].to_list()
        assert [o["score"] for o in offers] == mine["score"].to_list()
        assert [o["probability"] for o in offers] == mine["probability"].to_list()
        assert [o["source"] for o in offers] == mine["source"].to_list()
        assert [SEPARATOR.join(o["reasons"]) or None for o in offers] == mine["reasons"].to_list()
