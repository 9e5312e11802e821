"""When a canary could be compared: beside one live model, with a baseline as large as itself."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from models.release.ledger import Event

# Beyond it the baseline slice is smaller than the canary.
_MOST_COMPARABLE = 50.0


def comparable_windows(events: Iterable[Event]) -> list[tuple[datetime, datetime | None]]:
    """When the canary there is now had a baseline as large as itself, beside the same live model.

    Args:
        events: Of one name, oldest first.

    Returns:
        Start and end of each stretch; the last may be open. None without a canary.
    """
    windows: list[tuple[datetime, datetime | None]] = []
    canary: str | None = None

    def end(at: datetime) -> None:
        if windows and windows[-1][1] is None:
            windows[-1] = (windows[-1][0], at)

    for event in events:
        if event.state == "canary":
            end(event.at)
            if event.model_version != canary:
                canary, windows = event.model_version, []
            if event.percent is not None and event.percent <= _MOST_COMPARABLE:
                windows.append((event.at, None))
        elif event.model_version == canary:
            canary, windows = None, []
        elif event.state == "live" and canary is not None:
            # Another baseline: what was seen beside the old one does not count.
            windows = [(event.at, None)] if windows and windows[-1][1] is None else []
    return windows
