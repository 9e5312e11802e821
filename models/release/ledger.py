"""The release ledger: its events, and what a history of them adds up to.

A history is a list of events that is only ever appended to. ``transitions`` says what may follow,
``resources.release_ledger`` stores it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal, get_args

State = Literal["candidate", "shadow", "canary", "live", "retired", "rolled_back"]
STATES: tuple[State, ...] = get_args(State)


class IllegalTransitionError(ValueError):
    """The ledger's state does not admit the step; the message names that state and what it does."""


@dataclass(frozen=True)
class Event:
    """One line of the ledger.

    Attributes:
        id: 1, 2, 3, ... over all names, without gaps.
        at: Naive UTC.
        name: Of the model family, ``offer_ranker``.
        model_version: Content version of the model, 12 hexadecimal characters.
        model_tag: Its tag in BentoML's store, from which the service loads it.
        state: The state it entered.
        percent: Of a canary, the share of households; else ``None``.
        actor: Who did it.
        reason: Why, in words.
        evidence: Figures it rests on, JSON values.
        forced: Whether a rule was overridden.
        previous: The state the model had before; ``None`` if it was new.
        digest: Over this event and the digest before it, so that a changed past shows.
    """

    id: int
    at: datetime
    name: str
    model_version: str
    model_tag: str
    state: State
    percent: float | None
    actor: str
    reason: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    forced: bool = False
    previous: State | None = None
    digest: str = ""


@dataclass(frozen=True)
class Release:
    """A model in a state.

    Attributes:
        model_version: Content version.
        model_tag: BentoML tag.
        percent: Of a canary, else ``None``.
        since: When it entered the state, naive UTC; a canary that grows keeps it.
        event: Id of the event that gave it the percent or state it has now.
    """

    model_version: str
    model_tag: str
    percent: float | None
    since: datetime
    event: int = 0


@dataclass(frozen=True)
class Releases:
    """What a history adds up to, for one name.

    Attributes:
        live: Who answers; ``None`` before the first release.
        canary: Who answers a share, if anybody.
        shadow: Who scores without answering, if anybody.
        previous_live: Who is live again if the live one is rolled back.
        head: Id of the name's last event, 0 without any.
        states: Model version to its state now.
    """

    live: Release | None = None
    canary: Release | None = None
    shadow: Release | None = None
    previous_live: Release | None = None
    head: int = 0
    states: Mapping[str, State] = field(default_factory=dict)

    def state_of(self, model_version: str) -> State | None:
        """Its state now; ``None`` if the ledger has not met it."""
        return self.states.get(model_version)

    def in_words(self) -> str:
        """For messages: who is in which place."""
        said = []
        for place in ("live", "canary", "shadow"):
            release: Release | None = getattr(self, place)
            share = f" at {release.percent:g} %" if release and release.percent else ""
            said.append(f"{place} {release.model_version if release else 'nobody'}{share}")
        return ", ".join(said)


def fold(events: Iterable[Event]) -> Releases:
    """The state after a history of one name, oldest event first."""
    found = Releases()
    # Everybody who was live and has not been rolled back, the last one on top.
    lives: list[Release] = []
    states: dict[str, State] = {}
    for event in events:
        version = event.model_version
        entered = _entered(event, before=found)
        states[version] = event.state
        places = {
            place: None if _holds(held := getattr(found, place), version) else held
            for place in ("live", "canary", "shadow")
        }
        if event.state in places:
            places[event.state] = entered
        if event.state == "live":
            lives = [r for r in lives if r.model_version != version] + [entered]
        elif event.state == "rolled_back":
            lives = [r for r in lives if r.model_version != version]
        live = places["live"]
        before = [r for r in lives if live is None or r.model_version != live.model_version]
        found = Releases(
            **places,
            previous_live=before[-1] if before else None,
            head=event.id,
            states=dict(states),
        )
    return found


def _entered(event: Event, *, before: Releases) -> Release:
    """A canary that grows has been one since it began."""
    made = Release(
        model_version=event.model_version,
        model_tag=event.model_tag,
        percent=event.percent,
        since=event.at,
        event=event.id,
    )
    if event.state == "canary" and _holds(before.canary, event.model_version):
        assert before.canary is not None  # noqa: S101
        return replace(made, since=before.canary.since)
    return made


def _holds(release: Release | None, version: str) -> bool:
    return release is not None and release.model_version == version
