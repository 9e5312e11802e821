"""Short ways to write a ledger's history down."""

from __future__ import annotations

from datetime import datetime, timedelta

from models.release.ledger import Event, Releases, State, fold
from models.release.transitions import Step, check_transition, rollback_steps, steps

START = datetime(2026, 1, 5)  # noqa: DTZ001 - times are naive UTC
WHY = {"actor": "ann", "reason": "because"}
GOOD = {"verdict": "PROMOTE"}


class History:
    """A ledger in a list."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    @property
    def now(self) -> Releases:
        return fold(self.events)

    def to(self, version: str, to: State, **more: object) -> Event:
        words = {"percent": None, "forced": False, "evidence": {}} | more
        needed = check_transition(self.now, model_version=version, to=to, **WHY, **words)
        return self._add(
            steps(
                self.now,
                model_version=version,
                model_tag=f"ranker:{version}",
                to=to,
                percent=words["percent"],
                forced=needed,
            )
        )

    def rollback(self, version: str | None = None) -> Event:
        return self._add(rollback_steps(self.now, model_version=version))

    def _add(self, taken: list[Step]) -> Event:
        for step in taken:
            number = len(self.events) + 1
            self.events.append(
                Event(
                    id=number,
                    at=START + timedelta(minutes=number),
                    name="offer_ranker",
                    model_version=step.model_version,
                    model_tag=step.model_tag,
                    state=step.state,
                    percent=step.percent,
                    previous=step.previous,
                    forced=step.forced,
                    **WHY,
                )
            )
        return self.events[-1]


def with_canary(percent: float = 5.0) -> History:
    """a is live, b a canary."""
    history = with_shadow()
    history.to("b", "canary", percent=5.0)
    for share in (25.0, 50.0, 100.0):
        if share <= percent:
            history.to("b", "canary", percent=share)
    return history


def with_shadow() -> History:
    history = with_live()
    history.to("b", "candidate")
    history.to("b", "shadow")
    return history


def with_live() -> History:
    history = History()
    history.to("a", "candidate")
    history.to("a", "live")
    return history
