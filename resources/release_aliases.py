"""MLflow's aliases follow the ledger: ``champion`` is live, ``challenger`` on its way."""

from __future__ import annotations

from models.release.ledger import Releases
from resources.model_registry import CHAMPION, VERSION_TAG, client
from resources.settings import Settings

CHALLENGER = "challenger"


def follow_ledger(settings: Settings, releases: Releases, *, name: str) -> dict[str, str | None]:
    """Point the aliases at whom the ledger names. Idempotent.

    Args:
        settings: Where the registry is.
        releases: The ledger's state.
        name: Of the registered model.

    Returns:
        Alias to model version; ``None`` where nobody has it. A version that is not registered
        here (another machine's) leaves its alias as it is.
    """
    from mlflow.exceptions import MlflowException

    registry = client(settings)
    registered = {
        v.tags.get(VERSION_TAG): v.version for v in registry.search_model_versions(f"name='{name}'")
    }
    on_trial = releases.canary or releases.shadow
    wanted = {
        CHAMPION: releases.live.model_version if releases.live else None,
        CHALLENGER: on_trial.model_version if on_trial else None,
    }
    for alias, version in wanted.items():
        if version in registered:
            registry.set_registered_model_alias(name, alias, registered[version])
        elif version is None and alias == CHALLENGER and registered:
            try:
                registry.delete_registered_model_alias(name, alias)
            except MlflowException:  # There is none to take away.
                continue
    return wanted
