"""Twenty weeks of a tiny chain, and its coming week as the graph makes it: candidates, facts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache

import numpy as np
import polars as pl

from models.calendar import start_of_week
from models.features.household import household_features
from models.features.household_product import household_product_features
from models.features.household_store import household_store_features
from models.features.household_type import household_type_features
from models.features.product import product_features
from models.features.store_product import store_product_features
from models.pseudonyms import pseudonymise
from models.ranking.dataset import examples
from models.ranking.inputs import FEATURES
from models.ranking.line_store import LINE_SCHEMA
from models.ranking.proposals import Known, propose
from models.ranking.week_facts import WeekFacts, week_facts

ZONE = "America/New_York"
# The coming week of the default calendar.
AS_OF = date(2018, 1, 1)
INSTANT = start_of_week(AS_OF, time_zone=ZONE)
KEY = "a key for tests, and long enough"
RAW_IDS = tuple(str(n) for n in range(1, 9))
HOUSEHOLDS = tuple(pseudonymise(raw, KEY.encode()) for raw in RAW_IDS)
STRANGER = pseudonymise("stranger", KEY.encode())
_WEEKS, _PRODUCTS, _STORES = 20, 24, 3


@dataclass(frozen=True)
class Week:
    """The tables, and what is made of them."""

    lines: pl.DataFrame
    known: Known
    examples: pl.DataFrame
    facts: WeekFacts


def line(
    household: str,
    product: str,
    sold_at: datetime,
    *,
    basket: str,
    store: str = "s0",
    quantity: int = 1,
    paid: float = 2.5,
) -> tuple:
    return (household, store, basket, product, quantity, paid, 0.25, 0.0, 0.0, sold_at)


def lines_of(rows: list[tuple]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=LINE_SCHEMA, orient="row")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


@lru_cache(maxsize=1)
def week() -> Week:
    """Made once for all tests."""
    rng = np.random.default_rng(7)
    rows = []
    for n, household in enumerate(HOUSEHOLDS):
        for number in range(_WEEKS):
            for trip in range(2):
                sold = INSTANT - timedelta(
                    weeks=number, days=1 + 3 * trip, hours=int(rng.integers(9))
                )
                rows += [
                    line(
                        household,
                        f"p{(product + n) % _PRODUCTS:02d}",
                        sold,
                        basket=f"b{n}-{number}-{trip}",
                        store=f"s{(n + trip * (number % 3 == 0)) % _STORES}",
                        quantity=int(rng.integers(1, 4)),
                        paid=float(rng.integers(100, 900)) / 100,
                    )
                    for product in rng.choice(_PRODUCTS, size=4, replace=False)
                ]
    lines = lines_of(rows)
    known = known_of(lines, chain=lines, instant=INSTANT)
    return Week(
        lines=lines,
        known=known,
        examples=examples_of(known, instant=INSTANT),
        facts=week_facts(known, as_of=AS_OF, instant=INSTANT, time_zone=ZONE).warm(),
    )


def known_of(lines: pl.DataFrame, *, chain: pl.DataFrame, instant: datetime) -> Known:
    """What the batch path knows: households at ``instant``, the chain at the start of the week."""
    own, all_lines, products = lines.lazy(), chain.lazy(), _products()
    stamp = pl.lit(AS_OF).alias("as_of")
    return Known(
        household=household_features(own, [instant], products=products).with_columns(stamp),
        household_product=household_product_features(own, [instant]).with_columns(stamp),
        household_store=household_store_features(own, [instant]).with_columns(stamp),
        household_type=household_type_features(own, [instant], products=products).with_columns(
            stamp
        ),
        product=product_features(all_lines, [AS_OF]),
        store_product=store_product_features(all_lines, [AS_OF], promotions=promotions()),
        lines=own.with_columns(pl.lit(AS_OF - timedelta(days=7)).alias("week_start")),
        products=products,
        plan=promotions().filter(pl.col("week_start") == AS_OF),
        campaigns=pl.LazyFrame(
            {
                "campaign_id": ["c"],
                "start_date": [AS_OF - timedelta(days=3)],
                "end_date": [AS_OF + timedelta(days=3)],
                "known_at": [INSTANT - timedelta(days=7)],
            }
        ),
        targets=pl.LazyFrame(
            {
                "campaign_id": ["c", "c"],
                "household_id": [HOUSEHOLDS[0], HOUSEHOLDS[2]],
                "known_at": [INSTANT - timedelta(days=7)] * 2,
            }
        ),
        coupons=pl.LazyFrame(
            {
                "campaign_id": ["c", "c"],
                "product_id": ["p03", "p05"],
                "known_at": [INSTANT - timedelta(days=7)] * 2,
            }
        ),
    )


def examples_of(known: Known, *, instant: datetime) -> pl.DataFrame:
    """The batch path: all candidates with their features."""
    return examples(
        propose(known, as_ofs={AS_OF: instant}),
        household=known.household,
        product=known.product,
        household_product=known.household_product,
        features=FEATURES,
    )


def promotions() -> pl.LazyFrame:
    return pl.LazyFrame(
        {
            "product_id": ["p01", "p02", "p01"],
            "store_id": ["s0", "s1", "s0"],
            "week_start": [AS_OF, AS_OF, AS_OF - timedelta(days=7)],
            "on_display": [True, False, True],
            "in_mailer": [False, True, True],
        }
    )


def _products() -> pl.LazyFrame:
    ids = [f"p{n:02d}" for n in range(_PRODUCTS)]
    return pl.LazyFrame(
        {
            "product_id": ids,
            "brand": ["Private" if n % 3 else "National" for n in range(_PRODUCTS)],
            "category": [f"C{n % 4}" for n in range(_PRODUCTS)],
            # Nobody says what the last one is.
            "type": [f"T{n % 6}" for n in range(_PRODUCTS - 1)] + [None],
            "known_at": [INSTANT - timedelta(weeks=_WEEKS + 1)] * _PRODUCTS,
        }
    )
