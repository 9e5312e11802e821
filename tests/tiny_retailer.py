"""A retailer small enough to read: its weekly drops, made by arithmetic, the same every time.

Every household shops twice a week, on Tuesday and Saturday, and buys a few products each time; a
few products are promoted each week; a campaign with a coupon starts in the second week. Times are
UTC, ids are text, and no row breaks a contract.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Literal

import polars as pl

FIRST_WEEK = date(2016, 12, 26)
ONE_WEEK = timedelta(days=7)
# The drop file of each folder.
FILE_STEM = "drop"

# Raw household ids are long and strange, so that a search for them in bytes cannot hit by chance.
RAW_ID_PREFIX = "RAW-HOUSEHOLD-"
CATEGORIES = ("SOFT DRINKS", "WATER", "COFFEE")
LINES_PER_BASKET = 4
# Tuesday noon and Saturday afternoon in New York.
_TRIPS = (timedelta(days=1, hours=17), timedelta(days=5, hours=21))

Frames = dict[str, pl.DataFrame]


def weeks_from_first(weeks: int) -> list[date]:
    """The first ``weeks`` Mondays of the default calendar."""
    return [FIRST_WEEK + i * ONE_WEEK for i in range(weeks)]


def raw_id(household: int) -> str:
    """Household id as the retailer writes it."""
    return f"{RAW_ID_PREFIX}{household:04d}"


def drops_of_week(
    week: date,
    *,
    households: int = 12,
    products: int = 15,
    stores: int = 3,
) -> Frames:
    """The nine tables of one week, as the retailer sends them.

    Dimensions come whole in the first week; a product appears each later week, and the campaign
    with its targets and coupons in the first.

    Returns:
        Table (``basket_lines`` and so on) to its rows; tables without rows are left out.
    """
    number = (week - FIRST_WEEK).days // 7
    frames = {
        "basket_lines": _basket_lines(week, number, households, products, stores),
        "promotions": _promotions(week, number, products, stores),
        "products": _products(range(products) if number == 0 else [products + number - 1]),
    }
    if number == 0:
        frames |= _first_week(households, products, stores)
    if number == 1:
        frames["coupon_redemptions"] = pl.DataFrame(
            {
                "household_id": [raw_id(0), raw_id(1)],
                "coupon_id": ["c1", "c1"],
                "campaign_id": ["1", "1"],
                "redeemed_on": [week + timedelta(days=2)] * 2,
            }
        )
    return frames


def write_drops(
    landing: Path,
    *,
    weeks: int | Sequence[date] = 6,
    households: int = 12,
    products: int = 15,
    stores: int = 3,
    tables: Sequence[str] | None = None,
    suffix: Literal["parquet", "csv"] = "parquet",
) -> dict[str, int]:
    """Write ``<landing>/<table>/<Monday>/drop.<suffix>`` for each table and week.

    Args:
        landing: The landing folder.
        weeks: The weeks, or how many from the calendar's first.
        households: How many shop.
        products: How many are sold.
        stores: How many sell.
        tables: Only these; all nine by default.
        suffix: File format.

    Returns:
        Table to the rows written.
    """
    mondays = weeks_from_first(weeks) if isinstance(weeks, int) else weeks
    rows: dict[str, int] = {}
    for week in mondays:
        frames = drops_of_week(week, households=households, products=products, stores=stores)
        for table, frame in frames.items():
            if tables is None or table in tables:
                write_drop(landing, table=table, week=week, frame=frame, suffix=suffix)
                rows[table] = rows.get(table, 0) + frame.height
    return rows


def write_drop(
    landing: Path,
    *,
    table: str,
    week: date,
    frame: pl.DataFrame,
    name: str = FILE_STEM,
    suffix: Literal["parquet", "csv"] = "parquet",
) -> Path:
    """Write one drop file, replacing it whole."""
    path = landing / table / week.isoformat() / f"{name}.{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.part")
    if suffix == "csv":
        frame.write_csv(unfinished, datetime_format="%Y-%m-%d %H:%M:%S")
    else:
        frame.write_parquet(unfinished)
    unfinished.replace(path)
    return path


def csv_columns(frame: pl.DataFrame) -> Mapping[str, list[str | None]]:
    """A drop's columns as CSV text, to be spoiled and written again."""
    return {
        name: frame[name].dt.strftime("%Y-%m-%d %H:%M:%S").to_list()
        if frame.schema[name] == pl.Datetime
        else frame[name].cast(pl.String).to_list()
        for name in frame.columns
    }


def _basket_lines(
    week: date, number: int, households: int, products: int, stores: int
) -> pl.DataFrame:
    rows = []
    for household in range(households):
        for trip, after in enumerate(_TRIPS):
            sold_at = datetime.combine(week, datetime.min.time()) + after
            basket = f"{number:02d}{household:04d}{trip}"
            for line in range(LINES_PER_BASKET):
                # Households have favourites, and try something else each week.
                product = (household + line * (1 + number % 2) + trip) % products
                quantity = 1 + (household + line) % 3
                price = 1.0 + product * 0.5
                discount = 0.25 * quantity if _is_promoted(product, number) else 0.0
                rows.append(
                    {
                        "household_id": raw_id(household),
                        "store_id": str(1 + household % stores),
                        "basket_id": basket,
                        "product_id": str(1000 + product),
                        "quantity": quantity,
                        "sales_value": round(price * quantity - discount, 2),
                        "retail_disc": discount,
                        "coupon_disc": 0.0,
                        "coupon_match_disc": 0.0,
                        "sold_at": sold_at + timedelta(seconds=household),
                    }
                )
    frame = pl.DataFrame(rows, schema_overrides={"sold_at": pl.Datetime("us")})
    return frame.unique(subset=["basket_id", "product_id"], keep="first", maintain_order=True)


def _is_promoted(product: int, number: int) -> bool:
    return (product + number) % 5 == 0


def _promotions(week: date, number: int, products: int, stores: int) -> pl.DataFrame:
    rows = [
        {
            "product_id": str(1000 + product),
            "store_id": str(1 + store),
            "display": "0" if store == 0 else str(1 + product % 9),
            "mailer": "A" if product % 2 else "0",
            "week_start": week,
        }
        for product in range(products)
        for store in range(stores)
        if _is_promoted(product, number)
    ]
    return pl.DataFrame(rows)


def _products(numbers: Sequence[int]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "product_id": [str(1000 + n) for n in numbers],
            "manufacturer_id": [str(1 + n % 4) for n in numbers],
            "department": ["GROCERY" for _ in numbers],
            "brand": ["National" if n % 3 else "Private" for n in numbers],
            "category": [CATEGORIES[n % len(CATEGORIES)] for n in numbers],
            "type": [f"TYPE {n % 6}" for n in numbers],
            "size": ["12 OZ" for _ in numbers],
        }
    )


def _first_week(households: int, products: int, stores: int) -> Frames:
    answered = range(0, households, 3)
    return {
        "stores": pl.DataFrame(
            {
                "store_id": [str(1 + s) for s in range(stores)],
                "channel": ["retail"] * stores,
                "region": ["NORTH" if s % 2 else None for s in range(stores)],
            },
            schema_overrides={"region": pl.String},
        ),
        "households": pl.DataFrame(
            {
                "household_id": [raw_id(h) for h in answered],
                "age": ["35-44"] * len(answered),
                "income": ["50-74K"] * len(answered),
                "home_ownership": [None] * len(answered),
                "marital_status": ["Married"] * len(answered),
                "size": ["2"] * len(answered),
                "composition": ["2 Adults No Kids"] * len(answered),
                "kids": ["0"] * len(answered),
            },
            schema_overrides={"home_ownership": pl.String},
        ),
        "campaigns": pl.DataFrame(
            {
                "campaign_id": ["1"],
                "campaign_type": ["Type A"],
                "channel": ["mail"],
                "start_date": [FIRST_WEEK + ONE_WEEK],
                "end_date": [FIRST_WEEK + 4 * ONE_WEEK],
            }
        ),
        "campaign_targets": pl.DataFrame(
            {"campaign_id": ["1"] * 4, "household_id": [raw_id(h) for h in range(4)]}
        ),
        "coupons": pl.DataFrame(
            {
                "coupon_id": ["c1"] * min(3, products),
                "product_id": [str(1000 + p) for p in range(min(3, products))],
                "campaign_id": ["1"] * min(3, products),
            }
        ),
    }
