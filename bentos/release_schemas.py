"""What goes over the wire about releases."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

MAX_ID = 64
MAX_REASON = 500


class ReleaseOrder(BaseModel):
    """A step of a release."""

    model_config = ConfigDict(
        extra="forbid",
        protected_namespaces=(),
        json_schema_extra={
            "examples": [
                {"model_version": "66ad94f26ca7", "percent": 5, "reason": "Shadow agrees on 98 %"},
                {"model_version": "66ad94f26ca7", "reason": "Offers look odd in store 367"},
            ]
        },
    )

    model_version: Annotated[str, StringConstraints(min_length=1, max_length=MAX_ID)] | None = (
        Field(
            None,
            description="Who moves; by default who is next in line. A rollback without it ends the "
            "canary or the shadow, never the live model",
        )
    )
    percent: float | None = Field(None, ge=0, le=100, description="Of a canary: 1, 5, 25, 50, 100")
    reason: Annotated[str, StringConstraints(min_length=1, max_length=MAX_REASON)] = Field(
        description="Why; the ledger and the audit log keep it"
    )
    force: bool = Field(
        default=False, description="Override the order of states or the judge; recorded"
    )


class ReleasedModel(BaseModel):
    """A model in a place."""

    model_config = ConfigDict(protected_namespaces=())

    model_version: str
    model_tag: str
    percent: float | None
    since: datetime = Field(description="Naive UTC")


class ReleaseEvent(BaseModel):
    """One line of the release ledger."""

    model_config = ConfigDict(protected_namespaces=())

    id: int
    at: datetime = Field(description="Naive UTC")
    model_version: str
    model_tag: str
    state: str
    percent: float | None
    actor: str
    reason: str
    evidence: dict[str, Any]
    forced: bool
    previous: str | None


class ReleasesReply(BaseModel):
    """Who is released, and how it came to that."""

    head: int = Field(description="Id of the last event")
    serving: int = Field(description="Last event that this worker serves")
    live: ReleasedModel | None
    canary: ReleasedModel | None
    shadow: ReleasedModel | None
    previous_live: ReleasedModel | None = Field(description="Who answers after a rollback of live")
    events: list[ReleaseEvent] = Field(description="Newest first, at most 200")


class ReleaseReply(BaseModel):
    """What a step did."""

    events: list[ReleaseEvent]
