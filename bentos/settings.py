"""What the service reads from the environment (``LIFTGRAPH_*``), beside the project's settings."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from resources import secrets
from resources.settings import Settings

# A weekly drop may be one week late before somebody should look.
STALE_AFTER_DAYS = 14.0
# A worker answers fewer on two cores: the limit stops a caller that runs wild on a larger machine.
RATE_PER_SECOND = 2_000.0
# A request of 64 characters, 100 offers and a full context has under 10 kB; 500 events under 200.
MAX_BODY_BYTES = 262_144


class ServingSettings(Settings):
    """Settings of the project, and those only the service needs."""

    serve_host: str = Field(default="127.0.0.1", description="Address to listen on")
    serve_workers: int = Field(default=1, ge=1, description="Worker processes")
    serve_auth: Literal["on", "off"] = Field(
        default="on", description="off: everybody may do everything; for a laptop only"
    )
    model_tag: str | None = Field(
        default=None,
        description="BentoML model to serve whatever the ledger says; default: the ledger's, and "
        "while it is empty the one the bento was built with",
    )
    stale_after_days: float = Field(
        default=STALE_AFTER_DAYS,
        gt=0,
        description="Age of the features at which answers are flagged",
    )
    snapshot_poll_seconds: float = Field(
        default=0.5, gt=0, description="How often the service looks for a newly published snapshot"
    )
    ledger_poll_seconds: float = Field(
        default=0.2, gt=0, description="How often the service asks the release ledger for news"
    )
    rate_per_second: float = Field(
        default=RATE_PER_SECOND,
        gt=0,
        description="Requests per second of one key and worker process; a key may have its own",
    )
    max_body_bytes: int = Field(default=MAX_BODY_BYTES, gt=0, description="Larger bodies get a 413")
    request_seconds: float = Field(
        default=10.0, gt=0, description="A request that takes longer gets a 504"
    )
    drain_seconds: float = Field(
        default=0.5, ge=0, description="After SIGTERM callers are told for this long, then it stops"
    )
    log_file_mb: float = Field(
        default=64.0, gt=0, description="Size at which a file of the decision log is closed"
    )
    log_file_seconds: float = Field(default=3_600.0, gt=0, description="Age at which it is closed")
    log_keep_days: float = Field(
        default=90.0,
        gt=0,
        description="Closed files of the decision log stay this long; longer while not ingested",
    )
    event_sync: bool = Field(
        default=True, description="Each event is synced to disk before it is acknowledged"
    )
    event_poll_seconds: float = Field(
        default=0.2, gt=0, description="How often a worker looks for events that another one took"
    )
    frame_ancestors: str = Field(
        default="'self'",
        pattern=r"^[A-Za-z0-9'*:/. _-]+$",
        description="Who may embed insight cards, as Content-Security-Policy has it, e.g. "
        "https://tools.example.com",
    )
    told_rows: int = Field(
        default=200_000,
        ge=0,
        description="Offers whose probability and reasons are kept in memory, for each model",
    )

    @property
    def audit_dir(self) -> Path:
        return self.home / "audit"

    @property
    def api_keys_file(self) -> Path:
        return self.home / "secrets" / "api_keys.json"

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
