"""Any logged decision again: from its snapshot, its model, and what its line holds of fresh rows.

Scores are compared bit by bit, so that "the same" means the same. What is missing or differs is
said in words; nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import orjson

from bentos.ranker_model import ModelError, RankerModel
from models.serving.log_rows import feature_rows
from models.serving.order import top_k
from models.serving.snapshot import Candidates, Snapshot
from resources.online_snapshot import SnapshotError, open_snapshot

RANKINGS = ("decision", "shadow")
# How many differing rows a message shows.
SHOWN = 5

Outcome = Literal["same", "differs", "missing", "nothing"]


@dataclass(frozen=True)
class Replayed:
    """What a replay found.

    Attributes:
        outcome: ``same`` to the bit; ``differs``; ``missing``: something needed is gone;
            ``nothing``: no model scored, so there is nothing to compare.
        said: Each difference, or what is missing, or why there is nothing.
        scores: How many were compared.
    """

    request_id: str
    kind: str
    outcome: Outcome
    said: tuple[str, ...] = ()
    scores: int = 0


class MissingError(LookupError):
    """Something a replay needs is not there; the message names it."""


class Replay:
    """Replays decisions; opens each snapshot and model once.

    Args:
        online_dir: Folder of the snapshots.
        load_model: A packaged model by its tag; None when the store has none of it.
    """

    def __init__(
        self, online_dir: Path, *, load_model: Callable[[str], RankerModel | None]
    ) -> None:
        self._online_dir = online_dir
        self._load_model = load_model
        self._snapshots: dict[str, Snapshot] = {}
        self._models: dict[str, RankerModel] = {}

    def all(self, rows: Iterable[Mapping[str, Any]]) -> Iterator[Replayed]:
        """Replay rows of ``serving.decisions``; a shadow's candidates stand in its decision."""
        rows = list(rows)
        decisions = {row["request_id"]: row for row in rows if row["kind"] == "decision"}
        for row in rows:
            yield self.one(row, decision=decisions.get(row["request_id"]))

    def one(self, row: Mapping[str, Any], *, decision: Mapping[str, Any] | None = None) -> Replayed:
        """Replay one row.

        Args:
            row: Of ``serving.decisions``.
            decision: For a shadow, the row of the decision it is the pair of.
        """

        def found(outcome: Outcome, *said: str, scores: int = 0) -> Replayed:
            return Replayed(row["request_id"], row["kind"], outcome, said, scores)

        if row["kind"] not in RANKINGS:
            return found("nothing", f"{row['kind']} ranks no offers")
        if row["scores"] is None:
            why = row["error"] or row["fallback"] or "no model answered"
            return found("nothing", f"no model scored: {why}")
        source = decision if row["kind"] == "shadow" else row
        if source is None:
            return found("missing", "the decision that this shadow is the pair of is not logged")
        try:
            model = self._model(row["model_tag"])
            snapshot = self._snapshot(source["snapshot_version"])
            candidates = _candidates(source, snapshot)
        except MissingError as error:
            return found("missing", str(error))
        differences = list(_differences(row, source, model, snapshot, candidates))
        count = len(row["scores"])
        return found("differs" if differences else "same", *differences, scores=count)

    def _model(self, tag: str) -> RankerModel:
        if tag not in self._models:
            try:
                model = self._load_model(tag)
            except ModelError as error:
                raise MissingError(str(error)) from error
            if model is None:
                raise MissingError(f"model {tag} is not in the store: package it again")
            self._models[tag] = model
        return self._models[tag]

    def _snapshot(self, version: str) -> Snapshot:
        if version not in self._snapshots:
            try:
                self._snapshots[version] = open_snapshot(self._online_dir, version)
            except SnapshotError as error:
                raise MissingError(str(error)) from error
        return self._snapshots[version]


def _candidates(row: Mapping[str, Any], snapshot: Snapshot) -> Candidates:
    if row["fresh"]:
        if row["features"] is None:
            raise MissingError(
                "the features of this answer, which no snapshot holds, were not kept"
            )
        codes = {name: i for i, name in enumerate(snapshot.names.products)}
        features = feature_rows(row["features"], columns=len(snapshot.names.features))
        return Candidates(
            product_codes=np.array([codes[p] for p in row["candidates"]], dtype=np.int32),
            source_codes=np.zeros(len(features), dtype=np.int16),
            features=features,
        )
    if _rows_of(row) == "popular":
        return snapshot.popular
    candidates = snapshot.lookup(row["household_id"])
    if candidates is None:
        raise MissingError(
            f"snapshot {snapshot.manifest.version} has no candidates of the household"
        )
    return candidates


def _rows_of(row: Mapping[str, Any]) -> str:
    """Whose rows were ranked: everybody's (``popular``) or the household's own."""
    rest = orjson.loads(row["rest"]) if row.get("rest") else {}
    # Lines of before this was logged say it only where no model failed.
    before = "popular" if row["fallback"] == "unknown_household" else "own"
    return str(rest.get("rows", before))


def _differences(
    row: Mapping[str, Any],
    source: Mapping[str, Any],
    model: RankerModel,
    snapshot: Snapshot,
    candidates: Candidates,
) -> Iterator[str]:
    if source["feature_set_hash"] != model.feature_set_hash:
        yield (
            f"features: the snapshot holds {source['feature_set_hash']}, model {model.tag} was "
            f"trained on {model.feature_set_hash}"
        )
    products = snapshot.product_ids(candidates)
    if products != source["candidates"]:
        gone = sorted(set(source["candidates"]) - set(products))[:SHOWN]
        new = sorted(set(products) - set(source["candidates"]))[:SHOWN]
        yield (
            f"candidates: {len(source['candidates'])} logged, {len(products)} replayed"
            + (f"; only logged: {', '.join(gone)}" if gone else "")
            + (f"; only replayed: {', '.join(new)}" if new else "")
        )
        return
    scores = np.asarray(model.score(candidates.features), dtype=np.float32)
    logged = np.asarray(row["scores"], dtype=np.float32)
    if scores.tobytes() != logged.tobytes():
        yield _score_difference(products, logged, scores)
    order = top_k(scores, len(row["ranking"]))
    ranking = [products[i] for i in order.tolist()]
    if ranking != list(row["ranking"]):
        place = next(
            i
            for i, pair in enumerate(zip(ranking, row["ranking"], strict=True))
            if pair[0] != pair[1]
        )
        yield (
            f"ranking: place {place + 1} is {ranking[place]}, {row['ranking'][place]} was logged"
        )
    probabilities = model.probability(candidates.features[order])
    told = row["probabilities"]
    if row["kind"] == "decision" and probabilities is not None and list(told) != probabilities:
        yield "probabilities: not those that were logged"


def _score_difference(products: list[str], logged: np.ndarray, scores: np.ndarray) -> str:
    if len(logged) != len(scores):
        return f"scores: {len(logged)} logged, {len(scores)} replayed"
    other = np.flatnonzero(logged.view(np.int32) != scores.view(np.int32))
    shown = ", ".join(
        f"{products[i]} {logged[i]!s} logged, {scores[i]!s} replayed" for i in other[:SHOWN]
    )
    rest = len(other) - SHOWN
    return f"scores: {len(other)} of {len(scores)} differ: {shown}" + (
        f" and {rest} more" if rest > 0 else ""
    )
