"""Which models answer: one immutable ``Serving`` made of a snapshot and the ledger's releases.

Replaced whole, so that no answer mixes two versions. Making one reads files and is done beside the
requests; taking a model out is a new object with one field changed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from bentos.ranker_model import ModelError, RankerModel
from bentos.told import Told
from models.release.guard import Guard
from models.release.ledger import Release, Releases
from models.release.routing import Arm, arm_of
from models.serving.snapshot import Snapshot, SnapshotManifest

# The name under which the ledger keeps the rankers' history.
LEDGER_NAME = "offer_ranker"
logger = logging.getLogger("liftgraph.serving")
_ALL = 100.0


@dataclass(frozen=True)
class Answerer:
    """A model, and what is told of its offers of one snapshot."""

    model: RankerModel
    told: Told


@dataclass(frozen=True)
class Serving:
    """What answers are made of.

    Attributes:
        snapshot: Candidates and features.
        live: Who answers; None: popular products are offered.
        canary: Who answers ``percent`` of the households, if anybody.
        shadow: Who scores without answering, if anybody.
        previous: Who is live again when the live model fails.
        percent: Of the canary, 0 without one.
        release: Id of the ledger's last event behind this.
        guard: Watches the canary against the live model.
        live_guard: Watches the live model.
    """

    snapshot: Snapshot
    live: Answerer | None
    canary: Answerer | None
    shadow: Answerer | None
    previous: Answerer | None
    percent: float
    release: int
    guard: Guard
    live_guard: Guard

    def arm_of(self, household: str) -> Arm:
        if self.canary is None:
            return "live"
        return arm_of(household, salt=self.canary.model.version, percent=self.percent)

    def propensity(self, arm: Arm) -> float:
        """Share of the households that meet the arm."""
        if self.canary is None:
            return 1.0
        baseline = min(self.percent, _ALL - self.percent)
        shares = {"canary": self.percent, "baseline": baseline}
        return shares.get(arm, _ALL - self.percent - baseline) / _ALL

    def answerers(self, arm: Arm) -> list[Answerer]:
        """Who is asked, in this order, until one does not fail."""
        wanted = [self.canary, self.live] if arm == "canary" else [self.live]
        return [answerer for answerer in wanted if answerer is not None]

    def without_canary(self) -> Serving:
        return replace(self, canary=None, percent=0.0)

    def with_previous_live(self) -> Serving:
        """The model before the live one answers; the canary stays what it is."""
        return replace(self, live=self.previous, previous=None, live_guard=Guard())


@dataclass(frozen=True)
class Refusal:
    """A model that the ledger names and that is not served."""

    arm: str
    tag: str
    message: str


class Models:
    """Loaded models by tag: those in use stay, the others go.

    Args:
        load: From the store, by tag; None when the store has no such model.
    """

    def __init__(self, load: Callable[[str], RankerModel | None]) -> None:
        self._load = load
        self._loaded: dict[str, RankerModel] = {}

    def add(self, model: RankerModel) -> None:
        self._loaded[model.tag] = model

    def get(self, release: Release, manifest: SnapshotManifest) -> RankerModel:
        """The model of a release, fit for a snapshot.

        Raises:
            ModelError: It is not in the store, damaged, not what the ledger says, or does not fit.
        """
        tag = release.model_tag
        model = self._loaded.get(tag) or self._read(tag)
        if model is None:
            raise ModelError(
                f"model {tag} is in the ledger but not in the model store: package it again, or "
                "copy it here"
            )
        if model.version != release.model_version:
            raise ModelError(
                f"model {tag} is version {model.version}, the ledger says {release.model_version}; "
                "roll it back and release the right one"
            )
        model.check_fits(manifest)
        self._loaded[tag] = model
        return model

    def _read(self, tag: str) -> RankerModel | None:
        try:
            return self._load(tag)
        except ModelError:
            raise
        except Exception as error:  # of disk, store or parser: one model, not the others
            logger.exception("loading %s failed", tag)
            raise ModelError(
                f"model {tag} could not be loaded ({type(error).__name__}, the service log has the "
                "rest); it is tried again. Check the model store"
            ) from error

    def keep_only(self, tags: set[str]) -> None:
        self._loaded = {tag: model for tag, model in self._loaded.items() if tag in tags}


def build(
    snapshot: Snapshot,
    releases: Releases,
    *,
    own: RankerModel | None,
    models: Models,
    head: int,
    before: Serving | None,
    told_rows: int,
) -> tuple[Serving, list[Refusal]]:
    """Make what is to be served.

    Args:
        snapshot: To look up in.
        releases: Of the ledger.
        own: The bento's own model, live while the ledger names none.
        models: Where the others come from.
        head: Id of the ledger's last event.
        before: What is served now; guards and what was told go on where models stay.
        told_rows: Offers to keep for each model.

    Returns:
        What is to be served, and which models are refused; a refused live model leaves the one
        that is live now.
    """
    refusals: list[Refusal] = []
    kept = _answerers(before, snapshot)

    def answerer(model: RankerModel | None) -> Answerer | None:
        if model is None:
            return None
        found = kept.get(model.tag)
        return found or Answerer(model, Told(model, limit=told_rows))

    def released(arm: str, release: Release | None) -> Answerer | None:
        if release is None:
            return None
        try:
            return answerer(models.get(release, snapshot.manifest))
        except ModelError as error:
            refusals.append(Refusal(arm=arm, tag=release.model_tag, message=str(error)))
        return None

    if releases.live is None:
        if own is not None:
            own.check_fits(snapshot.manifest)
        live = answerer(own)
    else:
        live = released("live", releases.live)
        if live is None and before is not None and before.live is not None:
            before.live.model.check_fits(snapshot.manifest)
            live = answerer(before.live.model)
    canary = released("canary", releases.canary)
    same = before is not None and _tag(before.live) == _tag(live)
    guard = before.guard if before is not None and same else Guard()
    watched = before.live_guard if before is not None else Guard()
    if before is not None and same and _tag(before.canary) != _tag(canary):
        guard.reset()
    serving = Serving(
        snapshot=snapshot,
        live=live,
        canary=canary,
        shadow=released("shadow", releases.shadow),
        previous=released("previous", releases.previous_live),
        percent=(releases.canary.percent or 0.0) if releases.canary and canary else 0.0,
        release=head,
        guard=guard,
        live_guard=watched if same else watched.heir(),
    )
    models.keep_only({_tag(a) for a in _all(serving)})
    return serving, refusals


def _answerers(before: Serving | None, snapshot: Snapshot) -> Mapping[str, Answerer]:
    if before is None or before.snapshot.manifest.version != snapshot.manifest.version:
        return {}
    return {_tag(a): a for a in _all(before)}


def _all(serving: Serving) -> list[Answerer]:
    found = (serving.live, serving.canary, serving.shadow, serving.previous)
    return [answerer for answerer in found if answerer is not None]


def _tag(answerer: Answerer | None) -> str:
    return answerer.model.tag if answerer is not None else ""
