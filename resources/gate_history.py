"""How models met the gates in the past: from what each report kept, and from the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from models.release.gate_backtest import Judged
from models.release.ledger import Event, fold
from resources.release_reviews import kept_gates
from resources.settings import Settings


def past_judgements(settings: Settings, events: Sequence[Event]) -> list[Judged]:
    """Every meeting of a model with the gates, oldest first.

    Args:
        settings: Where reports keep them, failed ones included.
        events: Of the ledger, which keeps those of the models that entered it.
    """
    states = fold(events).states
    found = {
        (kept["model_version"], str(kept["gates"])): Judged(
            model_version=kept["model_version"],
            at=datetime.fromisoformat(kept["at"]),
            gates=kept["gates"],
            override=kept["override"],
            became=states.get(kept["model_version"]),
        )
        for kept in kept_gates(settings.home / "gate_history")
    }
    reported = {version for version, _ in found}
    for event in events:
        gates = event.evidence.get("gates")
        if event.state == "candidate" and gates and event.model_version not in reported:
            found[event.model_version, str(gates)] = Judged(
                model_version=event.model_version,
                at=event.at,
                gates=gates,
                override=event.evidence.get("override"),
                became=states.get(event.model_version),
            )
    return sorted(found.values(), key=lambda judged: judged.at)
