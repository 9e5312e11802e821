"""Contract of ``actions.plan``: what each store is to do in a week, and what it is to test."""

from __future__ import annotations

import pandera.polars as pa
import polars as pl

from checks.contracts.contract import Contract, column
from models.actions.candidates import EVIDENCE
from models.actions.publication import PUBLISH, TEST
from models.actions.weekly import ACTION, CONTROL, EXPLORED, KINDS, TREATED

ACTIONS_TEAM = "team:actions"

_ID = {"min_value": 1, "max_value": 64}
# Of a sum of a dozen shares.
_ROUNDING = 1e-6
_TEXT = {"min_value": 1, "max_value": 600}


class ActionPlan(pa.DataFrameModel):
    """An action that a store carries out in a week, or its part in a proposed test."""

    store_id: str = column("Store", privacy="public", str_length=_ID)
    product_id: str = column("Product", privacy="public", str_length=_ID)
    week_start: pl.Date = column("Monday of the week", privacy="public")
    known_at: pl.Datetime("us") = column(  # type: ignore[valid-type]
        "When the plan was made: the start of its week", unit="UTC", privacy="public"
    )
    kind: str = column(
        "action: as planned; exploration: drawn at random in its place; test: proposed, with the "
        "action; control: proposed, without it",
        isin=list(KINDS),
    )
    action: str = column("What is done; for control, what is not", str_length=_ID)
    category: str = column("Of the product", privacy="public", str_length=_ID)
    decision: str = column(
        "Whether the week's plan is published; if not, there are only tests", isin=[PUBLISH, TEST]
    )
    slot_product_id: str = column("Product planned in this place", str_length=_ID)
    slot_action: str = column("Action planned in this place", str_length=_ID)
    propensity: float = column(
        "Probability with which exactly this was drawn; of a test, to be treated",
        in_range={"min_value": 0.0, "max_value": 1.0},
    )
    evidence: str = column("What the lift rests on", isin=list(EVIDENCE))
    lift_low: float = column("Lower 95 % bound of the lift", unit="units per week")
    lift: float = column("Own less cannibalised less pulled forward", unit="units per week")
    lift_high: float = column("Upper 95 % bound of the lift", unit="units per week")
    value_low: float = column("Margin of the lower bound, before cost", unit="USD per week")
    value: float = column("Margin of the lift, before cost", unit="USD per week")
    value_high: float = column("Margin of the upper bound, before cost", unit="USD per week")
    cost: float = column("Of display, mailer, handling and discount", unit="USD per week", ge=0.0)
    test_weeks: pl.Int32 = column("How long the test must be; null if none", nullable=True, ge=1)
    test_stores: pl.Int32 = column("Stores per arm; null if no test", nullable=True, ge=1)
    reasons: str = column("Why, for the store manager", str_length=_TEXT)

    @pa.dataframe_check(error="nothing is carried out of a plan that is not published")
    def unpublished_plans_only_test(cls, data: pa.PolarsData) -> pl.LazyFrame:  # noqa: N805
        carried_out = pl.col("kind").is_in([ACTION, EXPLORED])
        return data.lazyframe.select(~carried_out | (pl.col("decision") == PUBLISH))

    @pa.dataframe_check(error="what was drawn could be drawn")
    def propensity_is_positive(cls, data: pa.PolarsData) -> pl.LazyFrame:  # noqa: N805
        return data.lazyframe.select(pl.col("propensity") > 0)

    @pa.dataframe_check(error="a test has its size, nothing else has")
    def tests_have_a_size(cls, data: pa.PolarsData) -> pl.LazyFrame:  # noqa: N805
        is_test = pl.col("kind").is_in([TREATED, CONTROL])
        sized = pl.col("test_weeks").is_not_null() & pl.col("test_stores").is_not_null()
        return data.lazyframe.select(is_test == sized)

    @pa.dataframe_check(error="bounds hold the lift between them")
    def bounds_are_in_order(cls, data: pa.PolarsData) -> pl.LazyFrame:  # noqa: N805
        lift = pl.col("lift").is_between("lift_low", "lift_high")
        return data.lazyframe.select(lift & pl.col("value").is_between("value_low", "value_high"))


class Propensity(pa.DataFrameModel):
    """What could have happened in a planned place, and with which probability."""

    store_id: str = column("Store", privacy="public", str_length=_ID)
    slot_product_id: str = column("Product planned in this place", str_length=_ID)
    slot_action: str = column("Action planned in this place", str_length=_ID)
    week_start: pl.Date = column("Monday of the week", privacy="public")
    known_at: pl.Datetime("us") = column(  # type: ignore[valid-type]
        "When it was drawn: the start of its week", unit="UTC", privacy="public"
    )
    product_id: str = column("Product of the possibility", privacy="public", str_length=_ID)
    action: str = column("Its action; 'none' is to do nothing", str_length=_ID)
    propensity: float = column(
        "Its probability; those of a place sum to 1", in_range={"min_value": 0.0, "max_value": 1.0}
    )
    drawn: bool = column("Whether it was drawn")

    @pa.dataframe_check(error="one thing is drawn in each place, and probabilities sum to 1")
    def places_are_whole(cls, data: pa.PolarsData) -> pl.LazyFrame:  # noqa: N805
        place = ["week_start", "store_id", "slot_product_id"]
        one = pl.col("drawn").sum().over(place) == 1
        return data.lazyframe.select(
            one & ((pl.col("propensity").sum().over(place) - 1).abs() < _ROUNDING)
        )


ACTION_PLAN = Contract(
    "actions.plan",
    ActionPlan,
    ACTIONS_TEAM,
    key=("week_start", "store_id", "product_id"),
)
PROPENSITIES = Contract(
    "actions.propensities",
    Propensity,
    ACTIONS_TEAM,
    key=("week_start", "store_id", "slot_product_id", "product_id", "action"),
)

ACTIONS = (ACTION_PLAN, PROPENSITIES)
