"""What ``/status`` answers."""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from bentos.schemas import Fallback


class ModelStatus(BaseModel):
    """The model that answers."""

    model_config = ConfigDict(protected_namespaces=())

    version: str
    tag: str
    labels: dict[str, str]


class SnapshotStatus(BaseModel):
    """The snapshot that answers."""

    version: str
    as_of: date
    known_at: datetime = Field(description="Naive UTC")
    data_age_days: float
    data_snapshot: str
    feature_set_hash: str
    features: int
    households: int
    candidates: int
    stale: bool


class ArmStatus(BaseModel):
    """One release, and what it did in all workers since the service started."""

    model_config = ConfigDict(protected_namespaces=())

    arm: Literal["live", "baseline", "canary", "shadow", "previous"]
    model_version: str | None
    model_tag: str | None
    percent: float | None = Field(description="Of the households; null for who does not answer")
    decisions: int
    errors: int
    p50_ms: float | None = Field(description="Upper bound of the histogram's bucket; null: none")
    p99_ms: float | None


class ShadowStatus(BaseModel):
    """The shadow next to what was answered, in this worker."""

    model_config = ConfigDict(protected_namespaces=())

    model_version: str
    pairs: int
    errors: int
    dropped: int = Field(description="Requests it had no time for")
    overlap: float | None = Field(description="Mean share of the answer's offers it has too")
    same_first: float | None = Field(description="Share of pairs with the same first offer")
    score_shift: float | None = Field(description="Mean of its best score minus the answer's")
    score_shift_sd: float | None


class GuardStatus(BaseModel):
    """What the guard did last, in this worker."""

    trips: int = Field(description="Models taken out, in all workers")
    last_reason: str | None
    last_model: str | None
    last_at: datetime | None = Field(description="Naive UTC")


class CostStatus(BaseModel):
    """What 1,000 decisions cost, over all workers since they started."""

    cpu_seconds_per_1000: float | None = Field(description="null before the first decision")
    log_bytes_per_1000: float | None


class Status(BaseModel):
    """What is running, and what is wrong."""

    ready: bool
    problems: list[str] = Field(description="Empty when all is well")
    bento: str | None
    arm: Literal["live"]
    release: int = Field(description="Last event of the release ledger that is served; 0: none")
    model: ModelStatus | None
    arms: list[ArmStatus] = Field(description="Every release that is loaded, live first")
    shadow: ShadowStatus | None
    guard: GuardStatus
    cost: CostStatus
    snapshot: SnapshotStatus | None
    auth: Literal["on", "off"]
    decisions: int = Field(description="Answers since this process started")
    fallbacks: dict[Fallback, int]
    started_at: datetime = Field(description="Naive UTC")
