"""What goes over the wire for actions and what-if questions, as OpenAPI publishes it."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from bentos.schemas import DEFAULT_OFFERS, MAX_ID

MAX_ACTIONS = 100
MAX_MONEY = 1e9
MAX_PRICE = 1e5
_MONDAY = 0

ActionFallback = Literal["unknown_store", "week_without_plan", "no_plan", "stale_plan"]
WhatIfFallback = Literal[
    "unknown_store", "unknown_product", "week_without_plan", "no_model", "stale_plan"
]
Kind = Literal["action", "exploration", "test", "control", "considered"]
Evidence = Literal["experiment", "identified", "model_only"]
Identifier = Annotated[str, StringConstraints(min_length=1, max_length=MAX_ID)]


def _is_monday(value: date) -> date:
    if value.weekday() != _MONDAY:
        raise ValueError(f"{value} is a {value:%A}; weeks are named by their Monday")
    return value


Week = Annotated[date, AfterValidator(_is_monday)]
# A code as the data has it, or whether there is one at all.
Code = (
    Annotated[str, StringConstraints(min_length=1, max_length=8)]
    | Annotated[bool, Field(strict=True)]
)


class RecommendActionsRequest(BaseModel):
    """Which store, for which week, and within which budget."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"store_id": "367", "k": 5},
                {"store_id": "367", "week_start": "2018-01-01", "budget": 100.0, "k": 10},
            ]
        },
    )

    store_id: Identifier
    week_start: Week | None = Field(
        None, description="Monday of the week; by default the one that is planned"
    )
    budget: float | None = Field(
        None,
        ge=0,
        le=MAX_MONEY,
        allow_inf_nan=False,
        description="What the store's actions may cost together. Below the plan's own cost the "
        "store is planned anew within it; at or above it the plan stands",
    )
    k: int = Field(
        DEFAULT_OFFERS, ge=1, le=MAX_ACTIONS, strict=True, description="How many rows at most"
    )


class RecommendedAction(BaseModel):
    """One action, with what it brings, how sure that is, and why."""

    rank: int = Field(ge=1)
    product_id: str
    category: str | None = None
    type: str | None = Field(None, description="Type within the category")
    action: str = Field(description="e.g. `display_discount_20`")
    says: str = Field(description="The action in words: `display and 20 % off`")
    kind: Kind = Field(
        description="`action`: carry it out; `exploration`: likewise, drawn at random in place of "
        "the planned one; `test`: proposed test, with the action; `control`: proposed test, "
        "without it; `considered`: not planned, its first reason says why"
    )
    evidence: Evidence = Field(
        description="What the lift rests on; `model_only` may be tested, never counted on"
    )
    lift_low: float = Field(description="Lower 95 % bound, units a week")
    lift: float = Field(description="Units a week: own less cannibalised less pulled forward")
    lift_high: float = Field(description="Upper 95 % bound, units a week")
    value_low: float = Field(description="Margin of `lift_low` before cost, money a week")
    value: float
    value_high: float
    cost: float = Field(ge=0, description="Display, mailer, handling and discount, money a week")
    propensity: float | None = Field(
        description="Probability with which exactly this was drawn; null if it is not planned"
    )
    test_weeks: int | None = Field(None, description="How long the test must be")
    test_stores: int | None = Field(None, description="Stores of each kind in the test")
    reasons: list[str]


class _Traced(BaseModel):
    """What every answer about actions can be traced by."""

    model_config = ConfigDict(protected_namespaces=())

    request_id: str = Field(description="Names this decision in the log")
    model_version: str | None = Field(description="Of the demand model; null without a snapshot")
    arm: Literal["live"] = "live"
    as_of: date | None = Field(description="Monday at whose start the plan was made")
    data_age_days: float | None = Field(
        description="Days since the newest row behind the answer became known (event time)"
    )
    snapshot_version: str | None
    data_snapshot: str | None = Field(description="Version of the lake behind it")


class RecommendActionsReply(_Traced):
    """A store's plan for a week."""

    store_id: str
    week_start: date | None
    decision: Literal["publish", "run_a_test"] | None = Field(
        description="Whether the week's plan is published; if not, there are only tests"
    )
    decision_reason: str | None
    budget: float | None = Field(description="As asked")
    cost: float = Field(description="Of all actions and tests chosen, money a week")
    replanned: bool = Field(description="Whether the budget called for another plan")
    fallback: ActionFallback | None
    note: str | None = Field(description="What the fallback means and what to do; in words")
    actions: list[RecommendedAction]
    considered: list[RecommendedAction]


class WhatIfRequest(BaseModel):
    """A plan for one product in one store and week."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "store_id": "367",
                    "product_id": "1029743",
                    "week_start": "2018-01-01",
                    "price": 2.49,
                    "display": True,
                    "mailer": "0",
                }
            ]
        },
    )

    store_id: Identifier
    product_id: Identifier
    week_start: Week
    price: float = Field(gt=0, le=MAX_PRICE, allow_inf_nan=False, description="Per unit")
    display: Code = Field(
        "0", description='Code as the data has it, "0" for none; `true` is an average display'
    )
    mailer: Code = Field("0", description="As `display`")


class ExpectedUnits(BaseModel):
    """Units of the week under one plan."""

    units: float = Field(ge=0, description="Mean")
    low: float = Field(ge=0, description="Lower end of the 95 % interval of what will be sold")
    high: float = Field(ge=0)
    drivers: dict[str, float] = Field(
        description="Units that base, season, price, display, mailer and rivals (`cross`) bring; "
        "they sum to `units`"
    )


class StandingPlan(BaseModel):
    """The plan that stands."""

    price: float | None
    base_price: float | None = Field(description="Without discount; null if never seen")
    discount: float
    display: str
    mailer: str
    known: bool = Field(description="Whether the week's promotions are known; if not, none assumed")


class WhatIfReply(_Traced):
    """Units expected under the asked plan and under the one that stands."""

    store_id: str
    product_id: str
    week_start: date
    discount: float | None = Field(description="Share off the base price that the asked price is")
    asked: ExpectedUnits | None
    standing: ExpectedUnits | None
    standing_plan: StandingPlan | None
    difference: float | None = Field(description="Units, asked less standing")
    changes: dict[str, float] | None = Field(description="The difference by driver")
    evidence: Literal["model_only"] = Field(
        "model_only",
        description="A forecast under another plan is a response, not a measured lift",
    )
    fallback: WhatIfFallback | None
    notes: list[str]
