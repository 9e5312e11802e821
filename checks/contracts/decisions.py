"""Contracts of ``serving.*``: what the service decided, and what households bought since a drop.

Both are appended from the service's logs as they come, so their weeks are those of the clock, not
of the graph's calendar.
"""

from __future__ import annotations

import pandera.polars as pa
import polars as pl

from checks.contracts.contract import Contract, column
from checks.contracts.raw import MAX_MONEY, MAX_QUANTITY

SERVING_TEAM = "team:serving"

_ID = {"min_value": 1, "max_value": 64}
_PSEUDONYM = {"min_value": 12, "max_value": 12}


class _Logged(pa.DataFrameModel):
    week_start: pl.Date = column("Monday of the business week of the decision", privacy="public")
    known_at: pl.Datetime("us") = column(  # type: ignore[valid-type]
        "When the row could first be used: when it was logged", unit="UTC", privacy="public"
    )

    @pa.dataframe_check(error="week_start is a Monday")
    def week_start_is_a_monday(cls, data: pa.PolarsData) -> pl.LazyFrame:  # noqa: N805
        return data.lazyframe.select(pl.col("week_start").dt.weekday() == 1)


class Decisions(_Logged):
    """A request that reached a decision, or failed on the way; for a shadow a row of its own."""

    request_id: str = column("Names the decision; its shadow has the same", str_length=_ID)
    kind: str = column("decision, shadow, or the endpoint's name", str_length=_ID)
    decided_at: pl.Datetime("us") = column("When", unit="UTC")  # type: ignore[valid-type]
    household_id: str = column(
        "Pseudonym of the household; null where the request is about a store",
        privacy="pseudonymous",
        nullable=True,
        str_length=_PSEUDONYM,
    )
    arm: str = column("live, baseline, canary or shadow", nullable=True, str_length=_ID)
    release: pl.Int64 = column("Id of the last ledger event seen; 0 before any", nullable=True)
    propensity: float = column(
        "Chance of the arm", nullable=True, in_range={"min_value": 0, "max_value": 1}
    )
    model_version: str = column("Model that scored; null without one", nullable=True)
    model_tag: str = column("Its BentoML tag", nullable=True)
    bento: str = column("Code that answered; null from source", nullable=True)
    snapshot_version: str = column("Online snapshot that answered", nullable=True)
    data_snapshot: str = column("Lake version the snapshot was made from", nullable=True)
    feature_set_hash: str = column("Definition of the features", nullable=True)
    as_of: pl.Date = column("Monday at whose start the snapshot stands", nullable=True)
    k: pl.Int32 = column("Offers asked for", nullable=True, ge=1)
    fallback: str = column("Why the answer is not the ordinary one", nullable=True)
    error: str = column("What failed; null where nothing did", nullable=True)
    status: pl.Int32 = column(
        "HTTP status", nullable=True, in_range={"min_value": 100, "max_value": 599}
    )
    latency_ms: float = column("Time to the decision", unit="ms", nullable=True, ge=0)
    top_score: float = column("Score of the first offer", nullable=True)
    # Pandera's models have a method of that name.
    offers_nothing: pl.Boolean = column("Whether nothing was offered", nullable=True, alias="empty")
    data_age_days: float = column("Age of the newest data behind the answer", nullable=True)
    candidates: pl.List(pl.String) = column(  # type: ignore[valid-type]
        "Product ids that were scored, in the order of the rows", nullable=True
    )
    scores: pl.List(pl.Float32) = column(  # type: ignore[valid-type]
        "Their scores, to the bit", nullable=True
    )
    ranking: pl.List(pl.String) = column(  # type: ignore[valid-type]
        "Product ids offered, best first", nullable=True
    )
    probabilities: pl.List(pl.Float64) = column(  # type: ignore[valid-type]
        "Their probabilities", nullable=True
    )
    fresh: pl.Boolean = column("Whether the features counted events after the snapshot")
    features_known_at: pl.Datetime("us") = column(  # type: ignore[valid-type]
        "Of fresh features: when the household's newest line was sold", unit="UTC", nullable=True
    )
    features: pl.Binary = column(
        "Of fresh features: the matrix, float32 little-endian, a row per candidate", nullable=True
    )
    rest: str = column("Everything else of the line, as JSON", nullable=True)


class HouseholdEvents(_Logged):
    """A basket line that came as an event, before its weekly drop."""

    event_id: str = column("The sender's id of the event", str_length=_ID)
    line: pl.Int32 = column("Place in the event, from 1", ge=1)
    household_id: str = column(
        "Pseudonym of the household", privacy="pseudonymous", str_length=_PSEUDONYM
    )
    received_at: pl.Datetime("us") = column(  # type: ignore[valid-type]
        "When the service logged it", unit="UTC"
    )
    store_id: str = column("Store of the sale", privacy="public", str_length=_ID)
    basket_id: str = column("Receipt", privacy="pseudonymous", str_length=_ID)
    product_id: str = column("Product sold", privacy="public", str_length=_ID)
    quantity: pl.Int64 = column(
        "Units sold", unit="units", in_range={"min_value": 0, "max_value": MAX_QUANTITY}
    )
    sales_value: float = column(
        "Paid to the retailer", unit="USD", in_range={"min_value": 0, "max_value": MAX_MONEY}
    )
    retail_disc: float = column(
        "Loyalty-card discount", unit="USD", in_range={"min_value": 0, "max_value": MAX_MONEY}
    )
    coupon_disc: float = column(
        "Manufacturer coupon", unit="USD", in_range={"min_value": 0, "max_value": MAX_MONEY}
    )
    coupon_match_disc: float = column(
        "Retailer's match of it", unit="USD", in_range={"min_value": 0, "max_value": MAX_MONEY}
    )
    sold_at: pl.Datetime("us") = column("Time of the sale", unit="UTC")  # type: ignore[valid-type]


DECISIONS = Contract(
    "serving.decisions", Decisions, SERVING_TEAM, key=("request_id", "kind", "model_tag")
)
EVENTS = Contract("serving.events", HouseholdEvents, SERVING_TEAM, key=("event_id", "line"))

SERVING = (DECISIONS, EVENTS)
