"""Events over the wire: what a household bought, as basket lines or as whole baskets."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from bentos.schemas import MAX_ID

MAX_LINES = 500
# As the contract of raw.basket_lines has them; a test holds them together.
MAX_MONEY = 1_000_000.0
MAX_QUANTITY = 1_000_000

Id = Annotated[str, StringConstraints(min_length=1, max_length=MAX_ID)]
Money = Annotated[float, Field(ge=0, le=MAX_MONEY, allow_inf_nan=False)]


def naive_utc(moment: datetime) -> datetime:
    """As tables hold times.

    Raises:
        ValueError: In UTC it is before the year 1 or after 9999.
    """
    try:
        return moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)
    except OverflowError:
        raise ValueError("in UTC it lies outside the years 1 to 9999") from None


def _has_utc(moment: datetime) -> datetime:
    naive_utc(moment)
    return moment


SoldAt = Annotated[
    datetime,
    AfterValidator(_has_utc),
    Field(description="Time of the sale; UTC where it names no zone"),
]
_EXAMPLE_LINE: dict[str, str | float] = {
    "product_id": "1082185",
    "quantity": 2,
    "sales_value": 1.98,
    "retail_disc": 0.2,
}


class Bought(BaseModel):
    """One product on a receipt."""

    model_config = ConfigDict(extra="forbid")

    product_id: Id
    quantity: int = Field(ge=0, le=MAX_QUANTITY, strict=True)
    sales_value: Money = Field(description="Paid to the retailer, USD")
    retail_disc: Money = Field(0.0, description="Loyalty-card discount, positive, USD")
    coupon_disc: Money = Field(0.0, description="Manufacturer coupon, positive, USD")
    coupon_match_disc: Money = Field(0.0, description="Retailer's match of it, positive, USD")


class BasketLine(Bought):
    """One product on a receipt, and which receipt."""

    basket_id: Id
    store_id: Id
    sold_at: SoldAt


class Basket(BaseModel):
    """One receipt."""

    model_config = ConfigDict(extra="forbid")

    basket_id: Id
    store_id: Id
    sold_at: SoldAt
    lines: list[Bought] = Field(min_length=1, max_length=MAX_LINES)


class EventRequest(BaseModel):
    """What one household bought: ``baskets`` or ``lines``, not both."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "event_id": "till-7/2018-01-02/0153",
                    "household_id": "1",
                    "baskets": [
                        {
                            "basket_id": "41999999999",
                            "store_id": "367",
                            "sold_at": "2018-01-02T15:04:05Z",
                            "lines": [{**_EXAMPLE_LINE}],
                        }
                    ],
                }
            ]
        },
    )

    event_id: Id = Field(
        description="Yours, one for each event: a retry with the same id and content is answered "
        "the same and applied once"
    )
    household_id: Id = Field(description="Raw household id; the service hashes it before anything")
    baskets: list[Basket] | None = Field(None, min_length=1, max_length=MAX_LINES)
    lines: list[BasketLine] | None = Field(None, min_length=1, max_length=MAX_LINES)

    @model_validator(mode="after")
    def _is_one_of_both(self) -> EventRequest:
        if (self.baskets is None) == (self.lines is None):
            raise ValueError("give either baskets or lines")
        flat = self.flat()
        if len(flat) > MAX_LINES:
            raise ValueError(f"{len(flat)} lines; send at most {MAX_LINES} in an event")
        receipts: dict[str, tuple[str, datetime]] = {}
        for line in flat:
            said = (line.store_id, naive_utc(line.sold_at))
            if receipts.setdefault(line.basket_id, said) != said:
                raise ValueError("a basket has one store and one time of sale, its receipt's")
        return self

    def flat(self) -> list[BasketLine]:
        """All lines, whichever way they were sent."""
        if self.lines is not None:
            return self.lines
        return [
            BasketLine.model_construct(
                basket_id=basket.basket_id,
                store_id=basket.store_id,
                sold_at=basket.sold_at,
                **bought.model_dump(),
            )
            for basket in self.baskets or ()
            for bought in basket.lines
        ]


class EventReply(BaseModel):
    """What became of an event; the same for every retry of it."""

    event_id: str
    received_at: datetime = Field(description="When it was logged, naive UTC")
    lines: int
    fresh_lines: int = Field(
        description="Lines sold after the data of the snapshot: the next answer counts them. "
        "Earlier ones are logged; answers get them with the weekly drop"
    )
