"""Contract of ``demand.action_lift``: what each action would add in a coming week, and how sure."""

from __future__ import annotations

import pandera.polars as pa
import polars as pl

from checks.contracts.contract import Contract, column
from checks.contracts.demand import DEMAND_TEAM
from models.lift.actions import ACTIONS
from models.lift.evidence import LEVELS

_ID = {"min_value": 1, "max_value": 64}


class ActionLift(pa.DataFrameModel):
    """Lift of one action for one product in one store and week, against doing nothing."""

    store_id: str = column("Store", privacy="public", str_length=_ID)
    product_id: str = column("Product", privacy="public", str_length=_ID)
    week_start: pl.Date = column("Monday of the week of the action", privacy="public")
    action: str = column("What would be done", privacy="public", isin=[a.name for a in ACTIONS])
    category: str = column("Category within the department", privacy="public")
    baseline: float = column("Expected units without any promotion", unit="units", ge=0.0)
    base_price: float = column(
        "Shelf price without discount; null if never seen", unit="USD", nullable=True, ge=0.0
    )
    own: float = column("Units that the action adds to the product's own sales", unit="units")
    cannibalised: float = column(
        "Of these, taken from the store's other products of the type and category", unit="units"
    )
    pulled_forward: float = column("Of these, missing in the weeks after", unit="units")
    net: float = column("Lift: own less cannibalised less pulled forward", unit="units")
    low: float = column("Lower end of the 95 % interval of net", unit="units")
    high: float = column("Upper end of the 95 % interval of net", unit="units")
    revenue_net: float = column(
        "Net lift in money, after the discount on all units sold under it; null without a price",
        unit="USD",
        nullable=True,
    )
    revenue_low: float = column("Lower end of its 95 % interval", unit="USD", nullable=True)
    revenue_high: float = column("Upper end of its 95 % interval", unit="USD", nullable=True)
    evidence: str = column(
        "experiment, identified, or model_only: the last may propose tests, never claim value",
        isin=list(LEVELS),
    )
    known_at: pl.Datetime("us") = column(  # type: ignore[valid-type]
        "When the row could first be used: the start of its week", unit="UTC", privacy="public"
    )

    @pa.dataframe_check(error="week_start is a Monday")
    def week_is_a_monday(cls, data: pa.PolarsData) -> pl.LazyFrame:  # noqa: N805
        return data.lazyframe.select(pl.col("week_start").dt.weekday() == 1)

    @pa.dataframe_check(error="net lies in its interval")
    def net_lies_in_its_interval(cls, data: pa.PolarsData) -> pl.LazyFrame:  # noqa: N805
        net = pl.col("net")
        # Sums of floats differ in their last digits.
        dust = 1e-9 + 1e-9 * net.abs()
        return data.lazyframe.select((pl.col("low") <= net + dust) & (net <= pl.col("high") + dust))

    @pa.dataframe_check(error="net is own less cannibalised less pulled forward")
    def net_adds_up(cls, data: pa.PolarsData) -> pl.LazyFrame:  # noqa: N805
        parts = pl.col("own") - pl.col("cannibalised") - pl.col("pulled_forward")
        return data.lazyframe.select(
            (parts - pl.col("net")).abs() <= 1e-6 * (1.0 + pl.col("own").abs())
        )


ACTION_LIFT = Contract(
    "demand.action_lift",
    ActionLift,
    DEMAND_TEAM,
    key=("store_id", "product_id", "week_start", "action"),
)

LIFT = (ACTION_LIFT,)
