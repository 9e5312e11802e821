"""A simulated chain's weekly drops, 1x to 100x the size of the bundled year.

The market of ``models.simulator`` as a retailer would send it: receipts of panel households, the
promotion plan, products, stores and households, a campaign with coupons. Stores are played a block
at a time and every block is a file of its own in each week's folder, so that memory depends on the
block and not on the scale.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from models.calendar import ONE_WEEK
from models.simulator.market import Market, StoreWeeks
from models.simulator.settings import MarketSettings, household_panel
from resources import landing

# The bundled year: stores that report promotions, panel households, lines and promotion rows a
# week.
STORES = 111
HOUSEHOLDS = 2_469
LINES_PER_WEEK = 27_700
PROMOTIONS_PER_WEEK = 395_000
FIRST_WEEK = date(2016, 12, 26)
WEEKS = 53
# Enough products that the plan's rows come from a believable share of them.
PRODUCTS = 12_000
# The longest year that a drop can hold ids for; far past 100x.
MAX_SCALE = 1_000

STORES_AT_ONCE = 37
# A household comes in about this often a week.
_TRIPS_PER_HOUSEHOLD = 1.2
# Sales lie between 14:00 and 24:00 UTC of Monday to Saturday: the same business week anywhere in
# America.
_FIRST_SECOND, _OPEN_SECONDS = 14 * 3600, 10 * 3600
# What is sold without promotion, of all that is sold: measured on this market.
_WITHOUT_PROMOTION = 0.73
_DEMOGRAPHICS_SHARE = 0.32
_REDEEMED_PER_WEEK = 40


def write_drops(
    landing_dir: Path,
    *,
    scale: float = 1.0,
    weeks: int = WEEKS,
    seed: int = 20170101,
    products: int = PRODUCTS,
    on_stores: Callable[[int, int], None] = lambda _done, _all: None,
) -> dict[str, int]:
    """Write a simulated chain's drops.

    Args:
        landing_dir: The landing folder; files of an earlier simulation in it are replaced.
        scale: Size in bundled years: lines, promotion rows, stores and households grow with it.
        weeks: How many, from ``FIRST_WEEK``.
        seed: Of the market; the same seed, scale, weeks and products give the same bytes.
        products: How many the chain sells.
        on_stores: Told how many stores are written, and of how many.

    Returns:
        Table to the rows written.

    Raises:
        ValueError: A size is out of range.
    """
    if not 0.0 < scale <= MAX_SCALE or weeks < 1:
        raise ValueError(
            f"simulated drops: scale {scale}, weeks {weeks}; give a scale above 0 and at most "
            f"{MAX_SCALE}, and at least one week"
        )
    market = Market(_settings(scale=scale, weeks=weeks, products=products), seed=seed)
    households = max(round(HOUSEHOLDS * scale), market.settings.stores)
    rows: dict[str, int] = {}

    def write(table: str, week: date, frame: pl.DataFrame, part: int) -> None:
        if frame.height:
            _write(landing_dir, table, week, frame, part)
            rows[table] = rows.get(table, 0) + frame.height

    _remove_earlier(landing_dir)
    for table, week, frame in _stated(market, households, seed=seed):
        write(table, week, frame, 0)
    stores = range(market.settings.stores)
    for part, first in enumerate(range(0, len(stores), STORES_AT_ONCE)):
        block = stores[first : first + STORES_AT_ONCE]
        for played in market.play(block):
            week = market.weeks[played.week]
            rng = np.random.default_rng([seed, 101, part, played.week])
            write("promotions", week, _promotions(market, played), part)
            write("basket_lines", week, _lines(market, played, households, rng), part)
        on_stores(block[-1] + 1, len(stores))
    return rows


def _settings(*, scale: float, weeks: int, products: int) -> MarketSettings:
    """A market that sells and promotes as much as the bundled year, times ``scale``."""
    stores = max(1, round(STORES * scale))
    types = max(1, min(5, products // 24))
    categories = max(1, min(24, products // max(types, 1)))
    # A promoted product has one row per store that carries it out.
    rate = PROMOTIONS_PER_WEEK / STORES / PRODUCTS
    return replace(
        household_panel(stores=stores, products=products, weeks=weeks),
        categories=categories,
        types_per_category=types,
        first_week=FIRST_WEEK,
        assortment=1.0,
        base_units=LINES_PER_WEEK / STORES / PRODUCTS * _WITHOUT_PROMOTION,
        trips_per_store=HOUSEHOLDS * _TRIPS_PER_HOUSEHOLD / STORES,
        promotion_rate=min(rate * 1.5, 0.5),
    )


def _write(landing_dir: Path, table: str, week: date, frame: pl.DataFrame, part: int) -> None:
    path = landing.folder(landing_dir, table, week) / f"simulated-{part:04d}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.part")
    frame.write_parquet(unfinished, compression="zstd", compression_level=1)
    unfinished.replace(path)


def _remove_earlier(landing_dir: Path) -> None:
    for table in landing.TABLES:
        # Hidden ones are what a killed simulation was writing.
        for pattern in ("*/simulated-*.parquet", "*/.simulated-*.part"):
            for file in (landing_dir / table).glob(pattern):
                file.unlink()


def _household_ids(numbers: np.ndarray) -> pl.Series:
    return pl.Series("household_id", numbers).cast(pl.String).str.zfill(8).str.replace("^", "h")


def _promotions(market: Market, week: StoreWeeks) -> pl.DataFrame:
    """Every product on display or in the mailer; a mere discount is no promotion row."""
    store, product = np.nonzero((week.display > 0.0) | (week.mailer > 0.0))
    stores = pl.Series("store_id", market.store_ids)
    products = pl.Series("product_id", market.product_ids)
    return pl.DataFrame(
        {
            "product_id": products[product],
            "store_id": stores[week.stores[store]],
            "display": np.where(week.display[store, product] > 0.0, "5", "0"),
            "mailer": np.where(week.mailer[store, product] > 0.0, "A", "0"),
        }
    )


def _lines(
    market: Market, week: StoreWeeks, households: int, rng: np.random.Generator
) -> pl.DataFrame:
    """Units as lines of receipts: each sold unit goes into a trip of its store."""
    store, product = np.nonzero(week.units)
    units = week.units[store, product]
    row = np.repeat(np.arange(store.size), units)
    # As many receipts as the panel made trips, at least one where something was sold.
    trips = np.maximum(week.trips[store[row]].astype(np.int64), 1)
    receipt = (rng.random(row.size) * trips).astype(np.int64)
    sold = (
        pl.DataFrame({"row": row, "receipt": receipt})
        .group_by("row", "receipt")
        .agg(pl.len().cast(pl.Int64).alias("quantity"))
        .sort("row", "receipt")
    )
    row, receipt = sold["row"].to_numpy(), sold["receipt"].to_numpy()
    number, item = week.stores[store[row]], product[row]
    quantity = sold["quantity"].to_numpy()
    regular = np.round(market.base_price[item] * quantity, 2)
    discount = np.round(regular * week.discount[store[row], item], 2)
    shopper = _shopper(number, receipt, week.week, households, market.settings.stores)
    monday = datetime.combine(market.weeks[week.week], datetime.min.time())
    seconds = (receipt * 7_919 + number * 104_729 + week.week * 31) % (6 * _OPEN_SECONDS)
    day, second = np.divmod(seconds, _OPEN_SECONDS)
    stores = pl.Series("store_id", market.store_ids)
    products = pl.Series("product_id", market.product_ids)
    return pl.DataFrame(
        {
            "household_id": _household_ids(shopper),
            "store_id": stores[number],
            "product_id": products[item],
            "quantity": quantity,
            "sales_value": np.round(regular - discount, 2),
            "retail_disc": discount,
            "coupon_disc": np.zeros(row.size),
            "coupon_match_disc": np.zeros(row.size),
        }
    ).with_columns(
        basket_id=pl.format("{}-{}-{}", pl.lit(week.week), pl.Series(number), pl.Series(receipt)),
        sold_at=pl.Series(
            np.datetime64(monday, "us")
            + (day * 86_400 + second + _FIRST_SECOND).astype("timedelta64[s]")
        ),
    )


def _shopper(
    store: np.ndarray, receipt: np.ndarray, week: int, households: int, stores: int
) -> np.ndarray:
    """A household of the store, by receipt: each store has its own, who take turns."""
    of_store = np.maximum((households - 1 - store) // stores + 1, 1)
    turn = (receipt + 17 * week) % of_store
    return store + turn * stores


def _stated(
    market: Market, households: int, *, seed: int
) -> Iterator[tuple[str, date, pl.DataFrame]]:
    """What is stated once: products, stores, households, and a campaign with its coupons."""
    first = market.weeks[0]
    rng = np.random.default_rng([seed, 102])
    products = market.products()
    yield (
        "products",
        first,
        products.select(
            "product_id",
            "manufacturer_id",
            pl.lit("GROCERY").alias("department"),
            pl.lit("National").alias("brand"),
            "category",
            "type",
            pl.lit("12 OZ").alias("size"),
        ),
    )
    yield (
        "stores",
        first,
        pl.DataFrame({"store_id": market.store_ids}).with_columns(
            channel=pl.lit("retail"), region=pl.lit(None, dtype=pl.String)
        ),
    )
    answered = np.flatnonzero(rng.random(households) < _DEMOGRAPHICS_SHARE)
    yield (
        "households",
        first,
        pl.DataFrame({"household_id": _household_ids(answered)}).with_columns(
            age=pl.lit("35-44"),
            income=pl.lit("50-74K"),
            home_ownership=pl.lit(None, dtype=pl.String),
            marital_status=pl.lit(None, dtype=pl.String),
            size=pl.lit("2"),
            composition=pl.lit("2 Adults No Kids"),
            kids=pl.lit("0"),
        ),
    )
    chosen = np.sort(rng.choice(households, size=max(1, households // 10), replace=False))
    targets = pl.DataFrame({"household_id": _household_ids(chosen)}).with_columns(
        campaign_id=pl.lit("1")
    )
    yield (
        "campaigns",
        first,
        pl.DataFrame(
            {
                "campaign_id": ["1"],
                "campaign_type": ["Type A"],
                "channel": ["mail"],
                "start_date": [first + ONE_WEEK],
                "end_date": [first + max(2, market.settings.weeks) * ONE_WEEK],
            }
        ),
    )
    yield "campaign_targets", first, targets
    items = products["product_id"].head(max(1, products.height // 100))
    yield (
        "coupons",
        first,
        pl.DataFrame({"product_id": items}).with_columns(
            coupon_id=pl.lit("c1"), campaign_id=pl.lit("1")
        ),
    )
    for week in market.weeks[1:]:
        some = rng.choice(chosen, size=min(_REDEEMED_PER_WEEK, chosen.size), replace=False)
        yield (
            "coupon_redemptions",
            week,
            pl.DataFrame({"household_id": _household_ids(np.sort(some))}).with_columns(
                coupon_id=pl.lit("c1"),
                campaign_id=pl.lit("1"),
                redeemed_on=pl.lit(week + timedelta(days=2)),
            ),
        )
