"""Beside the requests: follows the ledger and the snapshots, tells of trips, tends log and keys.

One thread. Whatever goes wrong in it is noted as a problem and tried again; it never ends by
itself.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from bentos.arms import Models, Refusal, Serving, build
from bentos.ledger_news import LedgerNews
from bentos.ranker_model import ModelError, RankerModel
from bentos.told import Warmer
from bentos.trips import Teller
from models.release.ledger import Releases
from models.serving.snapshot import Snapshot
from resources.incidents import open_incident
from resources.online_snapshot import PointerStamp, SnapshotError, open_snapshot, pointer_stamp
from resources.release_ledger import ReleaseLedger

if TYPE_CHECKING:
    from bentos.engine import Engine

logger = logging.getLogger("liftgraph.serving")

_TEND_SECONDS = 1.0
_RETRY_SECONDS = 1.0
_MOST_RETRY_SECONDS = 60.0
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
        self._news = LedgerNews(engine.settings, engine.problems)
        self._teller = Teller(engine, self._news.own)
        # There is news that is not served yet.
        self._pending = False
        # What was refused may be mended: it is tried again, ever more rarely.
        self._retry_at = math.inf
        self._retry_seconds = _RETRY_SECONDS
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

    @property
    def ledger(self) -> ReleaseLedger:
        """For steps over HTTP."""
        return self._news.ledger

    @property
    def releases(self) -> Releases:
        """The ledger's, as far as it could be read."""
        return self._news.releases

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
        self._teller.tell()
        self._news.close()

    def wake(self) -> None:
        """Look now rather than at the next poll."""
        self._wake.set()

    def look(self) -> None:
        """Take up what is new in the ledger and the snapshots; cheap when nothing is."""
        with self._looking:
            self._teller.tell()
            self._pending |= self._read_ledger()
            self._pending |= self._read_snapshot()
            self._pending |= time.monotonic() >= self._retry_at
            if self._pending and self._news.settled:
                self._own_model()
                # Until it is served it is news, whatever comes between.
                self._pending = not self._publish()

    def _follow(self) -> None:
        settings = self._engine.settings
        pause = min(settings.ledger_poll_seconds, settings.snapshot_poll_seconds)
        while not self._stopped:
            self._wake.wait(pause)
            self._wake.clear()
            try:
                self.look()
            except Exception as error:  # noqa: BLE001 - this thread is the only one that looks
                self._failed("follower", "looking for new snapshots and releases", error)
            else:
                self._engine.problems.pop("follower", None)
            if time.monotonic() < self._next_tending:
                continue
            self._next_tending = time.monotonic() + _TEND_SECONDS
            try:
                self._tend()
            except Exception as error:  # noqa: BLE001 - nor does anybody else tend
                self._failed("tending", "looking after keys and logs", error)
            else:
                self._engine.problems.pop("tending", None)

    def _failed(self, cause: str, what: str, error: Exception) -> None:
        message = (
            f"{what} failed ({type(error).__name__}); it is tried again, the service log has the "
            "trace"
        )
        if self._engine.problems.get(cause) != message:
            logger.exception("%s failed", what)
        self._engine.problems[cause] = message

    def _read_ledger(self) -> bool:
        if not self._news.read():
            return False
        releases = self._news.releases
        self._engine.watch.forgive(
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
        try:
            self._opened = open_snapshot(engine.settings.online_dir)
        except SnapshotError as error:
            self._seen = stamp
            self._refuse(str(error))
            return False
        self._seen = stamp
        return True

    def _publish(self) -> bool:
        """Serve the opened snapshot; if it fits no model, what is new on the one served now.

        Returns:
            Whether all that is new is served or refused for good.
        """
        self._retry_at = math.inf
        before = self._engine.serving
        whole = self._opened is None or self._publish_with(self._opened, before)
        if whole is None and before is not None and before.snapshot is not self._opened:
            whole = self._publish_with(before.snapshot, before)
        return whole is not False

    def _publish_with(self, snapshot: Snapshot, before: Serving | None) -> bool | None:
        """Whether it is served with all that belongs to it; None if the snapshot is refused."""
        engine = self._engine
        try:
            serving, refusals = build(
                snapshot,
                self.releases,
                own=self._own,
                models=self._models,
                head=self._news.head,
                before=before,
                told_rows=engine.settings.told_rows,
            )
        except ModelError as error:
            self._refuse(str(error))
            return None
        whole = self._follow_events(snapshot)
        engine.replace(serving)
        if serving.live is not None:
            # The ledger names a good one in place of the bento's.
            engine.problems.pop("model", None)
        if snapshot is self._opened:
            engine.problems.pop("snapshot", None)
        for arm in _ARMS:
            engine.problems.pop(arm, None)
        for refusal in refusals:
            self._note(refusal)
        self._retry(refused=bool(refusals))
        manifest = snapshot.manifest
        logger.info(
            "serving snapshot %s as of %s, release %s",
            manifest.version,
            manifest.as_of,
            serving.release,
        )
        return whole

    def _follow_events(self, snapshot: Snapshot) -> bool:
        """Events that a snapshot does not hold, counted before it answers; a rollback goes on."""
        if self._engine.fresh is None:
            return True
        try:
            self._engine.fresh.follow(snapshot)
        except Exception as error:  # noqa: BLE001 - a rollback does not wait for events
            self._failed("fresh", "taking up events after the snapshot", error)
            return False
        self._engine.problems.pop("fresh", None)
        return True

    def _retry(self, *, refused: bool) -> None:
        if not refused:
            self._retry_seconds = _RETRY_SECONDS
            return
        self._retry_at = time.monotonic() + self._retry_seconds
        self._retry_seconds = min(2 * self._retry_seconds, _MOST_RETRY_SECONDS)

    def _own_model(self) -> None:
        """Read the bento's model, once the ledger names nobody else."""
        if self._own_loaded or self.releases.live is not None:
            return
        try:
            self._own = self._load_own()
        except ModelError as error:
            self._engine.problems["model"] = str(error)
            logger.error("%s", error)  # noqa: TRY400 - the message is the whole story
        self._own_loaded = True

    def _refuse(self, message: str) -> None:
        if self._engine.problems.get("snapshot") != message:
            logger.error("snapshot refused: %s", message)
        self._engine.problems["snapshot"] = message

    def _note(self, refusal: Refusal) -> None:
        self._engine.problems[refusal.arm] = f"the {refusal.arm} is not served: {refusal.message}"
        key = (refusal.arm, refusal.tag)
        if key in self._incidents:
            return
        logger.error("%s refused: %s", refusal.arm, refusal.message)
        if refusal.arm != "previous":
            try:
                open_incident(
                    self._engine.settings.incidents_dir,
                    kind="model-refused",
                    title=f"The {refusal.arm} {refusal.tag} is not served",
                    evidence={
                        "arm": refusal.arm,
                        "model_tag": refusal.tag,
                        "reason": refusal.message,
                        "release": self._news.head,
                    },
                )
            except OSError as error:
                # It is served or not all the same; told when the refused model is tried again.
                self._failed("incidents", "opening an incident", error)
                return
        self._incidents.add(key)
        self._engine.problems.pop("incidents", None)

    def _tend(self) -> None:
        engine = self._engine
        engine.log.tend()
        for tend in self.tended:
            tend()
        engine.report_gauges()
