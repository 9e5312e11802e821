"""What the release ledger says, looked at often.

A ledger that is gone, locked or older than what was served changes nothing in what is served.
"""

from __future__ import annotations

import logging

from bentos.arms import LEDGER_NAME
from bentos.known_releases import Known, keep_known, read_known
from bentos.settings import ServingSettings
from models.release.ledger import Releases
from resources.release_ledger import ReleaseLedger

logger = logging.getLogger("liftgraph.serving")

# Less than a request may take, so that a caller learns what became of a step.
_SHARE_OF_REQUEST = 0.5
_MOST_BUSY_SECONDS = 5.0
# Looking, telling and tending share a thread.
_FOLLOWER_BUSY_SECONDS = 0.5

Problems = dict[str, str]


class LedgerNews:
    """The releases of the ledger, and of the file where they are kept.

    Args:
        settings: Where ledger and file are.
        problems: Of the engine; ``ledger`` and ``known`` are written here.
    """

    def __init__(self, settings: ServingSettings, problems: Problems) -> None:
        self._settings, self._problems = settings, problems
        self.path = settings.home / "releases_known.json"
        self._known = self._read_known()
        make = self._known is None and "known" not in problems
        busy = min(_MOST_BUSY_SECONDS, settings.request_seconds * _SHARE_OF_REQUEST)
        # For steps that somebody waits for.
        self.ledger = ReleaseLedger(settings.ledger_url, busy_seconds=busy, make=make)
        # For the thread beside the requests.
        self.own = ReleaseLedger(
            settings.ledger_url, busy_seconds=min(busy, _FOLLOWER_BUSY_SECONDS), make=make
        )
        self.releases = Releases()
        self.head = 0
        # Nothing may be served before it is known who is released.
        self.settled = False
        self._stamp: tuple[int, str] | None = None
        self._unkept = False

    def read(self) -> bool:
        """Look; whether the releases are others than before."""
        if self._settings.model_tag is not None:
            # Whoever names a model wants that one, whatever was released.
            news, self.settled = not self.settled, True
            return news
        try:
            stamp = self.own.stamp()
            if stamp == self._stamp and "ledger" not in self._problems:
                self._keep()
                return False
            found = Known(self.own.releases(LEDGER_NAME), stamp[0])
        except Exception as error:  # noqa: BLE001 - whatever a database or its driver raises
            self._say(
                f"the release ledger cannot be read ({type(error).__name__}, the service log has "
                "the rest); the releases known last are served. Check LIFTGRAPH_RELEASE_URL and "
                "the database",
                trace=True,
            )
            return self._fall_back()
        known = self._read_known() if self._known is not None else None
        if known is not None and found.head < known.head:
            self._say(
                f"the release ledger ends at event {found.head}, and event {known.head} was "
                "served: it was replaced by an older or an empty one. The releases known last are "
                f"served; restore the newer ledger, or remove {self.path.name} in the home to "
                "follow this one"
            )
            return self._fall_back()
        self._problems.pop("ledger", None)
        news = not self.settled or (stamp != self._stamp)
        self._stamp, self.settled = stamp, True
        self._take(found)
        self._unkept = found.head > 0
        self._keep()
        return news

    def close(self) -> None:
        self.ledger.close()
        self.own.close()

    def _take(self, known: Known) -> None:
        self.releases, self.head = known.releases, known.head

    def _fall_back(self) -> bool:
        """At the start, what was kept; later what is served stays."""
        if self.settled or self._known is None:
            return False
        self.settled = True
        self._take(self._known)
        return True

    def _keep(self) -> None:
        if not self._unkept:
            return
        kept = Known(self.releases, self.head)
        try:
            keep_known(self.path, kept)
        except OSError as error:
            self._problems["known"] = (
                f"{self.path.name} cannot be written in the home ({type(error).__name__}): without "
                "it the service cannot start while the ledger is away. Free disk space or restore "
                "the permissions"
            )
            return
        self._known, self._unkept = kept, False
        self._problems.pop("known", None)

    def _read_known(self) -> Known | None:
        try:
            known = read_known(self.path)
        except (OSError, ValueError) as error:
            logger.error("%s cannot be read: %s", self.path, error)  # noqa: TRY400
            self._problems["known"] = (
                f"{self.path.name} in the home cannot be read ({type(error).__name__}); remove it "
                "if the release ledger is whole"
            )
            return None
        return known

    def _say(self, message: str, *, trace: bool = False) -> None:
        if self._problems.get("ledger") != message:
            logger.error("%s", message, exc_info=trace)
        self._problems["ledger"] = message
