"""Beside the requests: follows the ledger and the snapshots, tells of trips, tends log and keys.

One thread. Whatever goes wrong in it is noted as a problem and tried again; it never ends by
itself.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from sqlalchemy.exc import SQLAlchemyError

from bentos.arms import LEDGER_NAME, Models, Refusal, Serving, build
from bentos.ranker_model import ModelError, RankerModel
from bentos.told import Warmer
from bentos.trips import tell_trips
from models.release.ledger import Releases
from models.serving.snapshot import Snapshot
from resources.incidents import open_incident
from resources.online_snapshot import PointerStamp, SnapshotError, open_snapshot, pointer_stamp
from resources.release_ledger import ReleaseLedger

if TYPE_CHECKING:
    from bentos.engine import Engine

logger = logging.getLogger("liftgraph.serving")

_TEND_SECONDS = 1.0
_ARMS = ("live", "canary", "shadow", "previous")


class Follower:
    """Keeps an engine's ``serving`` what snapshot and ledger say.

    Args:
        engine: Whose.
        load_own: The bento's own model.
        load_tag: Any model of the store.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        load_own: Callable[[], RankerModel | None],
        load_tag: Callable[[str], RankerModel | None],
    ) -> None:
        self._engine = engine
        self._load_own = load_own
        self._own: RankerModel | None = None
        self._own_loaded = False
        self._models = Models(load_tag)
        self.ledger = ReleaseLedger(engine.settings.ledger_url)
        self.releases = Releases()
        self._head = -1
        self._seen: PointerStamp | None = None
        self._opened: Snapshot | None = None
        self._incidents: set[tuple[str, str]] = set()
        self._wake = threading.Event()
        self._stopped = False
        self._threads: list[threading.Thread] = []
        # One look at a time: the thread's, or that of whoever calls ``refresh``.
        self._looking = threading.Lock()
        self._next_tending = 0.0
        # Called about every second, off the request path: keys, audit, whatever must be looked at.
        self.tended: list[Callable[[], None]] = []

    def start(self) -> None:
        self._stopped = False
        warm = Warmer(
            lambda: self._engine.serving,
            stopped=lambda: self._stopped,
            decisions=lambda: self._engine.decisions,
        )
        for name, work in (("follower", self._follow), ("warmer", warm.work)):
            thread = threading.Thread(target=work, name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        self._stopped = True
        self._wake.set()
        for thread in self._threads:
            thread.join(timeout=2.0)
        self._threads = []
        tell_trips(self._engine, self.ledger)
        self.ledger.close()

    def wake(self) -> None:
        """Look now rather than at the next poll."""
        self._wake.set()

    def look(self) -> None:
        """Take up what is new in the ledger and the snapshots; cheap when nothing is."""
        with self._looking:
            tell_trips(self._engine, self.ledger)
            news = self._read_ledger()
            self._own_model()
            news |= self._read_snapshot()
            if news:
                self._publish()

    def _follow(self) -> None:
        settings = self._engine.settings
        pause = min(settings.ledger_poll_seconds, settings.snapshot_poll_seconds)
        while not self._stopped:
            self._wake.wait(pause)
            self._wake.clear()
            try:
                self.look()
                if time.monotonic() >= self._next_tending:
                    self._next_tending = time.monotonic() + _TEND_SECONDS
                    self._tend()
            except Exception as error:  # this thread is the only one that looks
                logger.exception("looking for news failed")
                self._engine.problems["follower"] = (
                    f"looking for new snapshots and releases failed ({error}); it is tried again, "
                    "the service log has the trace"
                )
            else:
                self._engine.problems.pop("follower", None)

    def _read_ledger(self) -> bool:
        engine = self._engine
        if engine.settings.model_tag is not None:
            # Whoever names a model wants that one, whatever was released.
            news, self._head = self._head != 0, 0
            return news
        try:
            head = self.ledger.head()
            if head == self._head:
                return False
            releases = self.ledger.releases(LEDGER_NAME)
        except (SQLAlchemyError, OSError) as error:
            message = (
                f"the release ledger cannot be read ({error}); what is served stays. Check "
                "LIFTGRAPH_RELEASE_URL and the database"
            )
            if engine.problems.get("ledger") != message:
                logger.exception("the release ledger cannot be read")
            engine.problems["ledger"] = message
            news, self._head = self._head < 0, max(self._head, 0)
            return news
        engine.problems.pop("ledger", None)
        self._head, self.releases = head, releases
        engine.watch.forgive(
            {
                release.model_version: release.event
                for release in (releases.live, releases.canary, releases.shadow)
                if release is not None
            }
        )
        return True

    def _read_snapshot(self) -> bool:
        engine = self._engine
        stamp = pointer_stamp(engine.settings.online_dir)
        if stamp is not None and stamp == self._seen:
            return False
        self._seen = stamp
        try:
            self._opened = open_snapshot(engine.settings.online_dir)
        except SnapshotError as error:
            self._refuse(str(error))
            return False
        return True

    def _publish(self) -> None:
        """Serve the opened snapshot; if it fits no model, what is new on the one served now."""
        before = self._engine.serving
        if self._opened is not None and self._publish_with(self._opened, before):
            return
        if before is not None and before.snapshot is not self._opened:
            self._publish_with(before.snapshot, before)

    def _publish_with(self, snapshot: Snapshot, before: Serving | None) -> bool:
        engine = self._engine
        try:
            serving, refusals = build(
                snapshot,
                self.releases,
                own=self._own,
                models=self._models,
                head=max(self._head, 0),
                before=before,
                told_rows=engine.settings.told_rows,
            )
        except ModelError as error:
            self._refuse(str(error))
            return False
        if snapshot is self._opened:
            engine.problems.pop("snapshot", None)
        for arm in _ARMS:
            engine.problems.pop(arm, None)
        for refusal in refusals:
            self._note(refusal)
        if engine.fresh is not None:
            # Before the snapshot answers: events that it does not hold are counted from the start.
            engine.fresh.follow(snapshot)
        engine.replace(serving)
        manifest = snapshot.manifest
        logger.info(
            "serving snapshot %s as of %s, release %s", manifest.version, manifest.as_of, self._head
        )
        return True

    def _own_model(self) -> None:
        """Read the bento's model, once the ledger names nobody else."""
        if self._own_loaded or self.releases.live is not None:
            return
        self._own_loaded = True
        try:
            self._own = self._load_own()
        except ModelError as error:
            self._engine.problems["model"] = str(error)
            logger.error("%s", error)  # noqa: TRY400 - the message is the whole story

    def _refuse(self, message: str) -> None:
        if self._engine.problems.get("snapshot") != message:
            logger.error("snapshot refused: %s", message)
        self._engine.problems["snapshot"] = message

    def _note(self, refusal: Refusal) -> None:
        self._engine.problems[refusal.arm] = f"the {refusal.arm} is not served: {refusal.message}"
        key = (refusal.arm, refusal.tag)
        if key in self._incidents:
            return
        self._incidents.add(key)
        logger.error("%s refused: %s", refusal.arm, refusal.message)
        if refusal.arm != "previous":
            open_incident(
                self._engine.settings.incidents_dir,
                kind="model-refused",
                title=f"The {refusal.arm} {refusal.tag} is not served",
                evidence={
                    "arm": refusal.arm,
                    "model_tag": refusal.tag,
                    "reason": refusal.message,
                    "release": self._head,
                },
            )

    def _tend(self) -> None:
        engine = self._engine
        engine.log.tend()
        for tend in self.tended:
            tend()
        engine.report_gauges()
