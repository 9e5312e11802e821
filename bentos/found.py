"""Where a household's candidates come from: fresh events, the snapshot, or what is popular."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from bentos.arms import Serving
from bentos.schemas import Fallback
from models.serving.snapshot import Candidates

if TYPE_CHECKING:
    from bentos.fresh_features import FreshFeatures

# The owner of popular rows: they are told of like a household's.
EVERYBODY = ""


def find(
    serving: Serving, fresh: FreshFeatures | None, household: str, *, stale: bool
) -> tuple[Candidates, datetime, str | None, Fallback | None]:
    """Look a household up.

    Args:
        serving: Whose snapshot.
        fresh: Rows of households whose events came after it.
        household: Pseudonym.
        stale: Whether the snapshot's features are past the limit.

    Returns:
        Rows; when the newest thing behind them became known; whose rows of the snapshot they are
        (None: not the snapshot's); and why they are not the ordinary ones.
    """
    snapshot = serving.snapshot
    known_at = snapshot.manifest.known_at
    if serving.live is None and serving.canary is None:
        return snapshot.popular, known_at, None, "no_model"
    flagged: Fallback | None = "stale_features" if stale else None
    found = fresh.lookup(household, snapshot.manifest.version) if fresh is not None else None
    if found is not None:
        return found[0], max(found[1], known_at), None, flagged
    candidates = snapshot.lookup(household)
    if candidates is None:
        return snapshot.popular, known_at, EVERYBODY, "unknown_household"
    return candidates, known_at, household, flagged
