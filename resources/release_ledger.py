"""The release ledger's storage: an append-only table that many processes may write.

SQLite (WAL) by default, PostgreSQL for a team. A step is checked and appended in one transaction
that holds the writers' lock, so of several that race exactly one wins and the others are told what
is now. The database refuses to change or delete an event, and each event's digest covers the one
before it, so that a past changed behind its back shows.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import sqlalchemy as sa

from models.release.ledger import Event, IllegalTransitionError, Releases, State, fold
from models.release.transitions import Step, check_transition, rollback_steps, steps
from resources import release_table
from resources.release_table import BUSY_SECONDS, EVENTS, alone

Plan = Callable[[Releases], list[Step]]


class LedgerDamagedError(RuntimeError):
    """The ledger's past does not add up; the message names the first event that does not."""


class ReleaseLedger:
    """The ledger at an address. Cheap to make; nothing is opened before it is used.

    Args:
        url: SQLAlchemy address: ``sqlite:////home/releases.db`` or ``postgresql://user@host/db``.
        busy_seconds: How long a step waits for another writer.
        make: Make the ledger if there is none; one that was used and is gone is never made anew.
    """

    def __init__(self, url: str, *, busy_seconds: float = BUSY_SECONDS, make: bool = True) -> None:
        self.url = url
        self._busy_seconds = busy_seconds
        self._make = make
        self._opening = threading.Lock()
        self._opened: sa.Engine | None = None
        self._identity: tuple[int, int] | None = None

    def append(self, **step: Any) -> Event:
        """As ``take``; the event of the model that moved."""
        return self.take(**step)[-1]

    def take(
        self,
        *,
        name: str,
        model_version: str,
        model_tag: str,
        to: State,
        percent: float | None = None,
        actor: str,
        reason: str,
        evidence: Mapping[str, Any] = MappingProxyType({}),
        forced: bool = False,
        seen: int | None = None,
        replaces: bool = False,
    ) -> list[Event]:
        """Take one step; who goes live retires who was live, in the same transaction.

        Args:
            name: Of the model family, ``offer_ranker``.
            model_version: Content version of the model that moves.
            model_tag: Its BentoML tag.
            to: State to enter.
            percent: Of a canary, one of ``models.release.ledger.RAMP``.
            actor: Who asks.
            reason: Why.
            evidence: Figures, JSON values; ``verdict: PROMOTE`` for a canary to go live.
            forced: Override the order of states; recorded if it was needed.
            seen: The last event that the caller knew, ``Releases.head``; refused if one came after.
            replaces: Into the shadow, and whoever is there retires in the same transaction.

        Returns:
            The events; the last one is of the model that moved.

        Raises:
            IllegalTransitionError: The state does not admit the step; says what it is.
        """

        def planned(releases: Releases) -> list[Step]:
            needed = check_transition(
                releases,
                model_version=model_version,
                to=to,
                percent=percent,
                reason=reason,
                actor=actor,
                evidence=evidence,
                forced=forced,
                replaces=replaces,
            )
            return steps(
                releases,
                model_version=model_version,
                model_tag=model_tag,
                to=to,
                percent=percent,
                forced=needed,
            )

        return self._take(
            planned, name=name, actor=actor, reason=reason, evidence=evidence, seen=seen
        )

    def rollback(
        self,
        *,
        name: str,
        actor: str,
        reason: str,
        evidence: Mapping[str, Any] = MappingProxyType({}),
        model_version: str | None = None,
        seen: int | None = None,
    ) -> list[Event]:
        """End a shadow or canary, or make the model before the live one live again.

        Args:
            name: Of the model family.
            actor: Who asks.
            reason: Why.
            evidence: Figures, JSON values.
            model_version: Who goes; by default the canary or shadow. The live one is named.
            seen: As for ``append``.

        Returns:
            One event, or two when the live model went.

        Raises:
            IllegalTransitionError: There is nothing to roll back, or nothing to roll back to.
        """
        if not actor.strip() or not reason.strip():
            raise IllegalTransitionError("a rollback has an actor and a reason; say who and why")
        return self._take(
            lambda releases: rollback_steps(releases, model_version=model_version),
            name=name,
            actor=actor,
            reason=reason,
            evidence=evidence,
            seen=seen,
        )

    def events(self, name: str | None = None, since: int = 0) -> list[Event]:
        """Events after ``since``, oldest first; of one name, or all."""
        with self._engine.connect() as connection:
            return _events(connection, name=name, since=since)

    def releases(self, name: str) -> Releases:
        """The state now."""
        return fold(self.events(name))

    def head(self) -> int:
        """Id of the last event of all names, 0 in an empty ledger. Made to be polled."""
        with self._engine.connect() as connection:
            return int(connection.execute(_HEAD).scalar_one())

    def stamp(self) -> tuple[int, str]:
        """Id and digest of the last event: one that is restored or replaced shows by them."""
        with self._engine.connect() as connection:
            row = connection.execute(_LAST).first()
        return (int(row.id), str(row.digest)) if row is not None else (0, "")

    def verify(self) -> int:
        """Read the whole past and check that nothing in it was changed or taken out.

        Returns:
            How many events there are.

        Raises:
            LedgerDamagedError: An event is missing or altered.
        """
        digest, found = "", self.events()
        for place, event in enumerate(found, start=1):
            digest = _digest(_row(event), before=digest)
            if event.id != place or event.digest != digest:
                raise LedgerDamagedError(
                    f"event {event.id} of the release ledger at {self._shown} is not what was "
                    "written, or one before it is gone; restore the database from its backup"
                )
        return len(found)

    def close(self) -> None:
        """Close its connections; the next use opens new ones."""
        with self._opening:
            opened, self._opened = self._opened, None
        if opened is not None:
            opened.dispose()

    def _take(
        self,
        planned: Plan,
        *,
        name: str,
        actor: str,
        reason: str,
        evidence: Mapping[str, Any],
        seen: int | None,
    ) -> list[Event]:
        """Check and append in one transaction, alone."""
        said = json.dumps(dict(evidence), sort_keys=True, allow_nan=False)
        with alone(self._engine) as connection:
            releases = fold(_events(connection, name=name))
            if seen is not None and seen != releases.head:
                raise IllegalTransitionError(
                    f"the ledger went on from event {seen} to {releases.head}; look again and "
                    f"decide anew. Now: {releases.in_words()}"
                )
            head = int(connection.execute(_HEAD).scalar_one())
            digest = connection.execute(
                sa.select(EVENTS.c.digest).where(EVENTS.c.id == head)
            ).scalar_one_or_none()
            made = []
            for place, step in enumerate(planned(releases), start=head + 1):
                row = {
                    "id": place,
                    "at": _now(),
                    "name": name,
                    "model_version": step.model_version,
                    "model_tag": step.model_tag,
                    "state": step.state,
                    "percent": None if step.percent is None else float(step.percent),
                    "actor": actor,
                    "reason": f"{step.note}: {reason}" if step.note else reason,
                    "evidence": said,
                    "forced": step.forced,
                    "previous": step.previous,
                }
                digest = _digest(row, before=digest or "")
                connection.execute(sa.insert(EVENTS), row | {"digest": digest})
                made.append(_event(row | {"digest": digest}))
        return made

    @property
    def _engine(self) -> sa.Engine:
        with self._opening:
            if self._opened is not None and release_table.identity(self.url) != self._identity:
                # A connection would go on with the file that was replaced.
                self._opened.dispose()
                self._opened = None
            if self._opened is None:
                self._opened = release_table.engine(
                    self.url, busy_seconds=self._busy_seconds, make=self._make
                )
                self._identity = release_table.identity(self.url)
                self._make = False
            return self._opened

    @property
    def _shown(self) -> str:
        return sa.make_url(self.url).render_as_string(hide_password=True)


_LAST = sa.select(EVENTS.c.id, EVENTS.c.digest).order_by(EVENTS.c.id.desc()).limit(1)
_HEAD = sa.select(sa.func.coalesce(sa.func.max(EVENTS.c.id), 0))


def _events(connection: sa.Connection, *, name: str | None, since: int = 0) -> list[Event]:
    query = sa.select(EVENTS).where(EVENTS.c.id > since).order_by(EVENTS.c.id)
    if name is not None:
        query = query.where(EVENTS.c.name == name)
    return [_event(dict(row)) for row in connection.execute(query).mappings()]


def _event(row: Mapping[str, Any]) -> Event:
    return Event(
        **dict(row)
        | {
            "at": datetime.fromisoformat(row["at"]),
            "evidence": json.loads(row["evidence"]),
            "forced": bool(row["forced"]),
        }
    )


def _row(event: Event) -> dict[str, Any]:
    """As it was written, without the digest."""
    row = {c.name: getattr(event, c.name) for c in EVENTS.columns if c.name != "digest"}
    return row | {
        "at": event.at.isoformat(timespec="microseconds"),
        "evidence": json.dumps(event.evidence, sort_keys=True),
    }


def _digest(row: Mapping[str, Any], *, before: str) -> str:
    text = json.dumps(dict(row), sort_keys=True)
    return hashlib.sha256(f"{before}\n{text}".encode()).hexdigest()


def _now() -> str:
    return datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
