"""What goes over the wire: requests, answers and problems, as OpenAPI publishes them."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

MAX_OFFERS = 100
DEFAULT_OFFERS = 10
MAX_ID = 64
MAX_CONTEXT_ENTRIES = 20
MAX_CONTEXT_TEXT = 256
# Of models/ranking/reasons.py, which a schema need not import.
MAX_REASONS = 3

Fallback = Literal["unknown_household", "stale_features", "no_model", "model_error"]
AnswerArm = Literal["live", "baseline", "canary"]
ContextKey = Annotated[str, StringConstraints(min_length=1, max_length=MAX_ID)]
ContextText = Annotated[str, StringConstraints(max_length=MAX_CONTEXT_TEXT)]


def _fits_the_log(value: Any) -> Any:
    """Integers of 64 bits: the log writes no longer ones, and a float would be another number."""
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError("an integer of more than 64 bits; send it as text")
    return value


ContextNumber = Annotated[float, Field(allow_inf_nan=False)]
ContextValue = Annotated[
    ContextText | bool | int | ContextNumber | None, BeforeValidator(_fits_the_log)
]


class RankOffersRequest(BaseModel):
    """Which household, and how many offers."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"household_id": "1", "k": 5},
                {"household_id": "2375", "k": 10, "context": {"channel": "app"}},
            ]
        },
    )

    household_id: Annotated[str, StringConstraints(min_length=1, max_length=MAX_ID)] = Field(
        description="Raw household id; the service hashes it before anything is looked up or logged"
    )
    k: int = Field(
        DEFAULT_OFFERS, ge=1, le=MAX_OFFERS, strict=True, description="How many offers at most"
    )
    context: dict[ContextKey, ContextValue] = Field(
        default_factory=dict,
        max_length=MAX_CONTEXT_ENTRIES,
        description="What the caller knows about the moment, e.g. channel; logged as it is, so "
        "never personal data",
    )


class Offer(BaseModel):
    """One ranked product."""

    rank: int = Field(ge=1)
    product_id: str
    score: float | None = Field(description="Model score; null when no model scored")
    probability: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Calibrated probability that the household buys it in the `as_of` week; null "
        "when the model has no calibrated classifier",
    )
    reasons: list[str] = Field(
        default_factory=list,
        max_length=MAX_REASONS,
        description="Why it stands here, the weightiest reason first; empty when no model scored "
        "or nothing raised its score",
    )
    source: str = Field(description="Where the candidate came from")
    category: str | None = Field(None, description="Category, when the snapshot carries it")
    type: str | None = Field(None, description="Type within the category, likewise")


class RankOffersReply(BaseModel):
    """Ranked offers, and everything needed to trace them."""

    model_config = ConfigDict(
        protected_namespaces=(),
        json_schema_extra={
            "examples": [
                {
                    "request_id": "0c9c1d6a4f6b4a5f8f3b3f1f5c7e2a10",
                    "model_version": "3",
                    "arm": "live",
                    "as_of": "2018-01-01",
                    "data_age_days": 0.4,
                    "snapshot_version": "5e0c4d7f9b21a3c8",
                    "fallback": None,
                    "offers": [
                        {
                            "rank": 1,
                            "product_id": "1082185",
                            "score": 2.31,
                            "probability": 0.42,
                            "reasons": [
                                "Bought in 12 baskets this year",
                                "Usually bought every 14 days, last 15 days ago",
                            ],
                            "source": "personal",
                            "category": "TROPICAL FRUIT",
                            "type": "BANANAS",
                        }
                    ],
                }
            ]
        },
    )

    request_id: str = Field(description="Names this decision in the log")
    model_version: str | None = Field(description="null when no model answered")
    arm: AnswerArm = Field(
        description="Which release answered: `canary` is on trial, `baseline` is the live model "
        "for the households it is compared with"
    )
    as_of: date = Field(description="Monday at whose start the features stand")
    data_age_days: float = Field(
        description="Days since the newest row behind the features became known (event time)"
    )
    snapshot_version: str
    fallback: Fallback | None = Field(
        description="Why the answer is not the ordinary one: `unknown_household` and `no_model` "
        "give popular products, `stale_features` ranks on features past the freshness limit, "
        "`model_error` is the live model's answer, or popular products, where a model failed"
    )
    offers: list[Offer]


class FieldError(BaseModel):
    """One field that is wrong, and why."""

    field: str
    reason: str


class Problem(BaseModel):
    """An error as RFC 9457 problem details."""

    type: str = Field(description="Stable name of the kind of problem")
    title: str
    status: int
    detail: str
    remedy: str = Field(description="What to do about it")
    errors: list[FieldError] = Field(default_factory=list)
