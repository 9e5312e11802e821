"""Rows of households whose events came after the snapshot: made at the event, then looked up.

Every process follows the event log, so that an event that one worker took is counted by all. A new
snapshot starts anew from what was sold after its data: what it holds already is dropped.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import orjson

from bentos.clock import utc_now
from bentos.event_schemas import BasketLine, EventReply, naive_utc
from bentos.fresh_view import View, any_fresh, belong, make_row
from bentos.settings import ServingSettings
from models.calendar import end_of_week
from models.ranking.fresh import as_of_after, fresh_examples
from models.ranking.household_plans import HouseholdPlans
from models.serving.snapshot import Candidates, Snapshot
from resources.event_log import EventLog, EventLogError
from resources.online_history import open_history
from resources.online_snapshot import SnapshotError

logger = logging.getLogger("liftgraph.serving")

# Clocks of tills differ; a sale further in the future is a mistake.
FUTURE_MINUTES = 5
# Households that are made anew before a new snapshot answers; the rest follow beside the requests.
MADE_AT_ONCE = 100
TEND_SECONDS = 600.0
_EVER = datetime.fromisoformat("0001-01-01")


class EventTimeError(ValueError):
    """A sale lies where it cannot; the message says where it may."""


class FreshFeatures:
    """The overlay of one process.

    ``follow`` a snapshot, ``accept`` events, ``lookup`` rows. ``accept`` takes some milliseconds
    and belongs in a thread of its own; ``lookup`` is a dictionary's.
    """

    def __init__(self, settings: ServingSettings) -> None:
        self._settings = settings
        self._log = EventLog(settings.household_events_dir, sync=settings.event_sync)
        self._events: dict[str, list[dict[str, Any]]] = {}
        self._view: View | None = None
        # One household is made at a time; lookups never wait for it.
        self._making = threading.RLock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._next_tend = 0.0
        self._problem: str | None = None

    @property
    def problem(self) -> str | None:
        """What keeps events from being counted, all of it; None when nothing does."""
        failed = self._view.failed if self._view else {}
        households = (
            f"events of {len(failed)} household(s) are not counted yet: their rows cannot be made "
            "(the service's log has each error); they are tried again, and answered as before"
            if failed
            else None
        )
        return "; ".join(p for p in (self._problem, self._log.problem, households) if p) or None

    @property
    def rows(self) -> int:
        """Households that are answered from events."""
        return len(self._view.rows) if self._view else 0

    @property
    def waiting(self) -> int:
        """Households whose events are not counted yet."""
        return len(self._view.waiting) if self._view else 0

    def lookup(
        self, household: str, snapshot_version: str | None = None
    ) -> tuple[Candidates, datetime] | None:
        """A household's row, by its pseudonym; None where the snapshot's is the newest.

        Args:
            household: Pseudonym.
            snapshot_version: The snapshot that answers: rows made for another one are not given.
        """
        view = self._view
        if view is None or snapshot_version not in {None, view.version}:
            return None
        row = view.rows.get(household)
        return None if row is None else (row.candidates, row.known_at)

    def follow(self, snapshot: Snapshot) -> None:
        """Make the rows for a snapshot that is about to answer; cheap when it is the same."""
        manifest = snapshot.manifest
        with self._making:
            if self._view is not None and self._view.version == manifest.version:
                return
            view = self._open(snapshot)
            if view is not None:
                try:
                    self._take(self._log.news())
                except EventLogError as error:
                    # The snapshot answers; the thread takes them up when they can be read.
                    self._problem = f"events are not counted: {error}"
                before = self._view.known_at if self._view else view.known_at
                self._forget(before=min(before, view.known_at))
                view.waiting = dict.fromkeys(
                    h for h, events in self._events.items() if any_fresh(events, view.known_at)
                )
                self._make_waiting(view, most=MADE_AT_ONCE)
            self._view = view

    def accept(
        self, *, event_id: str, household: str, lines: list[BasketLine], now: datetime
    ) -> EventReply:
        """Log an event and make the household's row anew, once.

        Args:
            event_id: The caller's.
            household: Pseudonym.
            lines: What was bought.
            now: Naive UTC.

        Raises:
            EventTimeError: A line was sold in the future.
            EventConflictError: The ``event_id`` came before with another content.
            EventLogError: It could not be logged.
        """
        self._check_times(lines, now)
        rows = [
            line.model_dump() | {"sold_at": naive_utc(line.sold_at).isoformat()} for line in lines
        ]
        view = self._view
        held_until = view.known_at.isoformat() if view else ""
        content = orjson.dumps([household, rows], option=orjson.OPT_SORT_KEYS)
        appended = self._log.append(
            {
                "event_id": event_id,
                "digest": hashlib.sha256(content).hexdigest(),
                "household_id": household,
                "received_at": now.isoformat(),
                "fresh_lines": sum(row["sold_at"] >= held_until for row in rows) if view else 0,
                "line_count": len(rows),
                "lines": rows,
            }
        )
        with self._making:
            self._take(self._log.news())
            if not appended.repeated:
                self._take([appended.record])
            if self._view is not None and household in self._view.waiting:
                self._make(self._view, household)
        logged = appended.record
        return EventReply(
            event_id=event_id,
            received_at=datetime.fromisoformat(logged["received_at"]),
            lines=logged["line_count"],
            fresh_lines=logged["fresh_lines"],
        )

    def start(self) -> None:
        """Follow the log in a thread, until ``close``."""
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=2.0)

    def catch_up(self, *, most: int = 1) -> None:
        """Count what other processes took, and make up to ``most`` households that wait."""
        with self._making:
            self._take(self._log.news())
            if self._view is not None:
                self._make_waiting(self._view, most=most)

    def tend(self) -> None:
        """Close files of the log that are old enough, and remove older ones that are ingested."""
        self._log.tend(keep_days=self._settings.log_keep_days)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.catch_up()
                self._prepare(utc_now())
                if time.monotonic() >= self._next_tend:
                    self._next_tend = time.monotonic() + TEND_SECONDS
                    self.tend()
                self._problem = None if self._view is not None else self._problem
            except Exception as error:  # the thread must go on
                logger.exception("events could not be followed")
                self._problem = f"events could not be followed ({error}); it is tried again"
            due = self._view is not None and self._view.due(time.monotonic())
            self._stop.wait(
                0.0 if due and self._problem is None else self._settings.event_poll_seconds
            )

    def _prepare(self, now: datetime) -> None:
        """Plan for the hour that has begun: planning takes longer than a household does."""
        coming = self._settings.coming_week
        with self._making:
            # Nobody buys now where the calendar has ended.
            if self._view is not None and (
                coming is None or now < end_of_week(coming, time_zone=self._settings.time_zone)
            ):
                self._view.plans.prepare(as_of_after(now, facts=self._view.facts))

    def _open(self, snapshot: Snapshot) -> View | None:
        manifest = snapshot.manifest
        try:
            history = open_history(self._settings.online_history_dir, manifest.history or None)
        except SnapshotError as error:
            self._problem = f"events are logged but not counted: {error}"
            return None
        if not belong(history.manifest, manifest):
            self._problem = (
                f"events are logged but not counted: history {history.manifest.version} does not "
                f"belong to snapshot {manifest.version}; materialise serving.online_history and "
                "serving.online_snapshot"
            )
            return None
        self._problem = None
        facts = history.facts.warm()
        view = View(
            version=manifest.version,
            known_at=manifest.known_at,
            facts=facts,
            plans=HouseholdPlans(facts),
            product_codes={name: i for i, name in enumerate(snapshot.names.products)},
            source_codes={name: i for i, name in enumerate(snapshot.names.sources)},
        )
        # The first household costs what is imported and planned on first use.
        for household in facts.lines.households.head(1):
            lines = facts.lines_of(household)
            fresh_examples(
                facts, household_id=household, lines=lines, at=facts.instant, plans=view.plans
            )
        return view

    def _take(self, records: Iterable[dict[str, Any]]) -> None:
        for record in records:
            try:
                household = record["household_id"]
                fresh = any_fresh([record], self._view.known_at if self._view else _EVER)
            except (KeyError, TypeError, ValueError):
                # Nobody was answered for it: the service writes no such event.
                logger.exception("an event of the log has not the content of one")
                continue
            self._events.setdefault(household, []).append(record)
            if self._view is not None and fresh:
                self._view.waiting[household] = None

    def _forget(self, *, before: datetime) -> None:
        """Let events go that neither this snapshot nor the one before counts."""
        kept = {h: [r for r in rs if any_fresh([r], before)] for h, rs in self._events.items()}
        self._events = {h: records for h, records in kept.items() if records}

    def _make_waiting(self, view: View, *, most: int) -> None:
        for household in view.due(time.monotonic())[:most]:
            self._make(view, household)

    def _make(self, view: View, household: str) -> None:
        """Make a row, or leave the one before and try again later: others must not wait for it."""
        try:
            row = make_row(view, household, self._events.get(household, ()))
        except Exception:
            view.fail(household, time.monotonic())
            logger.exception("the row of household %s could not be made", household)
            return
        view.waiting.pop(household, None)
        view.failed.pop(household, None)
        if row is None:
            view.rows.pop(household, None)
        else:
            view.rows[household] = row

    def _check_times(self, lines: list[BasketLine], now: datetime) -> None:
        latest = now + timedelta(minutes=FUTURE_MINUTES)
        coming = self._settings.coming_week
        if coming is not None:
            # A finished calendar stands still in its coming week.
            latest = min(latest, end_of_week(coming, time_zone=self._settings.time_zone))
        if max(naive_utc(line.sold_at) for line in lines) >= latest:
            raise EventTimeError(f"sold in the future: sales are before {latest} UTC")
