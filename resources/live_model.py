"""The files of the live model, for whoever scores outside of the service."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from resources.model_registry import StoredModel, champion_model, stored_model
from resources.release_ledger import ReleaseLedger
from resources.settings import Settings


def live_version(settings: Settings, name: str) -> str | None:
    """Version of the live model; ``None`` before the first release."""
    address = sa.make_url(settings.ledger_url)
    if address.get_backend_name() == "sqlite" and not Path(address.database or "").exists():
        # Whoever only asks makes no ledger.
        return None
    live = ReleaseLedger(settings.ledger_url).releases(name).live
    return live.model_version if live else None


def live_model(settings: Settings, name: str) -> StoredModel:
    """The live model; before the first release the champion, which is about to become it.

    Raises:
        FileNotFoundError: Its files are not in this home.
    """
    version = live_version(settings, name)
    return stored_model(settings, name, version) if version else champion_model(settings, name)
