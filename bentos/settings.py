"""What the service reads from the environment (``LIFTGRAPH_*``), beside the project's settings."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from resources import secrets
from resources.settings import Settings

# A weekly drop may be one week late before somebody should look.
STALE_AFTER_DAYS = 14.0


class ServingSettings(Settings):
    """Settings of the project, and those only the service needs."""

    serve_host: str = Field(default="127.0.0.1", description="Address to listen on")
    model_tag: str | None = Field(
        default=None,
        description="BentoML model to serve; default: the one the bento was built with",
    )
    stale_after_days: float = Field(
        default=STALE_AFTER_DAYS,
        gt=0,
        description="Age of the features at which answers are flagged",
    )
    snapshot_poll_seconds: float = Field(
        default=0.5, gt=0, description="How often the service looks for a newly published snapshot"
    )

    @property
    def decisions_dir(self) -> Path:
        return self.home / "decisions"

    @property
    def pseudonym_key_file(self) -> Path:
        return self.home / "secrets" / "pseudonym.key"


class PseudonymKeyMissingError(RuntimeError):
    """No key: raw household ids cannot be turned into those the snapshot knows."""


def read_pseudonym_key(settings: ServingSettings) -> bytes:
    """The key that ingest used.

    Raises:
        PseudonymKeyMissingError: Ingest has made none. The service never makes one: every
            household would be a stranger under it.
    """
    made_by_ingest = settings.pseudonym_key is not None or settings.pseudonym_key_file.exists()
    if settings.source == "own" and not made_by_ingest:
        raise PseudonymKeyMissingError(
            f"no pseudonym key: {settings.pseudonym_key_file} does not exist and "
            "LIFTGRAPH_PSEUDONYM_KEY is not set; load the data first, or copy the key that ingest "
            "used"
        )
    return secrets.pseudonym_key(settings)
