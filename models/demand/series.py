"""A demand panel as matrices: one row per product in a store, one column per week.

Lags and running sums then are steps along one axis. A panel that says which rows are ``active``
leaves out weeks in which nothing was sold and nothing is forecast: there a missing row is a week
without a sale. In any other panel a missing row is a week of which nothing is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from models.calendar import weeks_between

PAIR = ("store_id", "product_id")
GROUPS = ("category", "manufacturer_id", "type")
KEYS = (*PAIR, "week_start")
REQUIRED = (*KEYS, "units", "price", "base_price", "discount", "display", "mailer")
OPTIONAL = ("revenue", *GROUPS, "panel_trips", "active")

# What a discount must exceed to be one: below it are roundings of a price.
REAL_DISCOUNT = 0.02

NONE = "0"
_UNKNOWN = "unknown"


@dataclass(frozen=True)
class Codes:
    """Labels as numbers from 0, in the order of ``names``."""

    names: tuple[str, ...]
    of_row: np.ndarray

    @property
    def size(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class Series:
    """The panel's history as matrices of pairs x weeks, and what a pair belongs to.

    A week lies together in memory: history is added week by week, and a large chain does not fit
    the processor's cache.

    Attributes:
        pairs: ``store_id, product_id``, sorted; row i of every matrix.
        weeks: Every Monday from the panel's first to its last.
        units: Sold; 0 where nothing is known.
        known: Whether ``units`` says anything.
        active: Whether a row was one to forecast, so that its promotion is known too.
        trips: Of stores x weeks; 1 where the panel has none.
        price: Per unit; NaN where unknown.
        base_price: Without discount; NaN where unknown.
        discount: Share of the base price; 0 where no row says otherwise.
        display: Index into ``display_codes``; 0 is none.
        mailer: As display.
    """

    pairs: pl.DataFrame
    weeks: tuple[date, ...]
    units: np.ndarray
    known: np.ndarray
    active: np.ndarray
    trips: np.ndarray
    price: np.ndarray
    base_price: np.ndarray
    discount: np.ndarray
    display: np.ndarray
    mailer: np.ndarray
    display_codes: tuple[str, ...]
    mailer_codes: tuple[str, ...]
    store: Codes
    product: Codes
    category: Codes
    store_category: Codes

    def column(self, week: date) -> int:
        """Index of a week; may lie past the last one."""
        return (week - self.weeks[0]).days // 7


def checked(panel: pl.DataFrame | pl.LazyFrame) -> pl.DataFrame:
    """The panel with every optional column, or a reason why it cannot be used.

    Args:
        panel: Columns of ``REQUIRED``; those of ``OPTIONAL`` may be missing or null. A lazy one of
            a large chain takes half of the memory.

    Returns:
        All of them, sorted by store, product and week; ids and codes are Enums of their sorted
        texts, which ``as_text`` undoes. Without ``active`` every row is active; ``zero_filled``
        says whether missing rows mean no sale.

    Raises:
        ValueError: A column is missing, a week is no Monday, a row comes twice, units are
            negative, a discount is outside [0, 1), or a price is not above zero.
    """
    columns = panel.collect_schema().names()
    missing = [name for name in REQUIRED if name not in columns]
    if missing:
        raise ValueError(
            f"demand panel: no column {', '.join(missing)} among {columns}; rename or add it"
        )
    filled = {"display": NONE, "mailer": NONE} | dict.fromkeys(GROUPS, _UNKNOWN)
    rows = (
        panel.lazy()
        .with_columns(pl.lit(None).alias(name) for name in OPTIONAL if name not in columns)
        .select(
            *(pl.col(name).cast(pl.String).cast(pl.Categorical) for name in PAIR),
            pl.col("week_start").cast(pl.Date),
            *(
                pl.col(name).cast(pl.Float64)
                for name in ("units", "revenue", "price", "base_price", "discount", "panel_trips")
            ),
            *(
                pl.col(name).cast(pl.String).fill_null(empty).cast(pl.Categorical)
                for name, empty in filled.items()
            ),
            pl.col("active").cast(pl.Boolean).fill_null(value=True),
            pl.lit("active" in columns).alias("zero_filled"),
        )
        .with_columns(
            pl.col("discount").fill_null(0.0), pl.col("price", "base_price").fill_nan(None)
        )
        .collect(engine="streaming")
    )
    if rows.is_empty():
        raise ValueError("demand panel: there are no rows; give at least a few weeks of sales")
    rows = rows.with_columns(
        rows[name].cast(pl.Enum(rows[name].unique().drop_nulls().cast(pl.String).sort()))
        for name in (*PAIR, *filled)
    ).sort(KEYS)
    _refuse(rows)
    return rows


def as_text(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows of ``checked`` with ids and codes as texts."""
    return rows.with_columns(
        pl.col(name).cast(pl.String)
        for name, dtype in rows.schema.items()
        if isinstance(dtype, pl.Enum)
    )


def _refuse(rows: pl.DataFrame) -> None:
    rules = {
        "a key is null": pl.any_horizontal(pl.col(*KEYS).is_null()),
        "week_start is no Monday": pl.col("week_start").dt.weekday() != 1,
        "units are below zero": pl.col("units") < 0,
        "discount is outside [0, 1)": ~pl.col("discount").is_between(0, 1, closed="left"),
        "price is not above zero": (pl.col("price") <= 0) | (pl.col("base_price") <= 0),
    }
    for what, rule in rules.items():
        bad = rows.filter(rule)
        if bad.height:
            example = bad.select(KEYS).row(0)
            raise ValueError(
                f"demand panel: {what} in {bad.height:,} row(s), e.g. {example}; mend the input"
            )
    same = pl.all_horizontal(pl.col(name) == pl.col(name).shift() for name in KEYS)
    twice = rows.select(same.sum()).item()
    if twice:
        raise ValueError(
            f"demand panel: {twice:,} row(s) repeat a store, product and week; sum them first"
        )


def series(rows: pl.DataFrame, *, last: date) -> Series:
    """The matrices of a checked panel, for weeks up to ``last``.

    Args:
        rows: From ``checked``, or its ``as_text``; rows of later weeks only name their pair.
        last: Last week whose sales may be used.
    """
    by_pair = rows.group_by(PAIR, maintain_order=True).agg(pl.col(GROUPS).last())
    pairs = as_text(by_pair)
    first: date = rows["week_start"].min()  # type: ignore[assignment]
    end = max(last, first)
    weeks = weeks_between(first, end)
    at, past = _places(rows, end=end, first=first)
    shape = (pairs.height, len(weeks))
    store = codes(pairs["store_id"])
    display_codes = _with_none(rows["display"])
    mailer_codes = _with_none(rows["mailer"])
    has_units = past["units"].is_not_null().to_numpy()
    known = np.zeros(shape, dtype=bool, order="F")
    known[at[0][has_units], at[1][has_units]] = True
    active = np.zeros(shape, dtype=bool, order="F")
    active[at] = past["active"].to_numpy() & has_units
    if rows["zero_filled"][0]:
        known[:] = True
    return Series(
        pairs=pairs,
        weeks=tuple(weeks),
        units=_matrix(past["units"].fill_null(0.0), at, shape, empty=0.0),
        known=known,
        active=active,
        trips=_trips(past, at=at, stores=store, weeks=len(weeks)),
        price=_matrix(past["price"], at, shape, empty=np.nan),
        base_price=_matrix(past["base_price"], at, shape, empty=np.nan),
        discount=_matrix(past["discount"], at, shape, empty=0.0),
        display=_coded(past["display"], display_codes, at, shape),
        mailer=_coded(past["mailer"], mailer_codes, at, shape),
        display_codes=display_codes,
        mailer_codes=mailer_codes,
        store=store,
        product=codes(pairs["product_id"]),
        category=codes(pairs["category"]),
        store_category=codes(
            pairs.select(pl.concat_str("store_id", "category", separator="\n"))["store_id"]
        ),
    )


def codes(values: pl.Series) -> Codes:
    """Values as indices into their sorted distinct ones."""
    names = values.unique().sort()
    of_row = values.cast(pl.Enum(names)).to_physical().to_numpy().astype(np.int64)
    return Codes(names=tuple(names.to_list()), of_row=of_row)


def pair_index(rows: pl.DataFrame, pairs: pl.DataFrame) -> np.ndarray:
    """Row of each store and product in ``pairs``, in the order of ``rows``."""
    indexed = pairs.select(PAIR).with_row_index("at")
    found = rows.select(PAIR).join(indexed, on=PAIR, how="left", maintain_order="left")["at"]
    if found.null_count():
        raise ValueError(
            f"{found.null_count():,} row(s) are of products that the panel does not hold in their "
            "store; add a panel row for each"
        )
    return found.to_numpy().astype(np.int64)


def place(values: pl.Series, names: Sequence[str]) -> np.ndarray:
    """Index of each value in ``names``; one that is not there is the last, unknown one."""
    known = {name: i for i, name in enumerate(names)}
    if isinstance(values.dtype, pl.Enum):
        return place(values.dtype.categories, names)[values.to_physical().to_numpy()]
    return values.replace_strict(known, default=len(names), return_dtype=pl.Int16).to_numpy()


def _places(
    rows: pl.DataFrame, *, end: date, first: date
) -> tuple[tuple[np.ndarray, np.ndarray], pl.DataFrame]:
    """Pair and week of the rows up to ``end``, and these rows."""
    other = pl.any_horizontal(pl.col(name) != pl.col(name).shift() for name in PAIR)
    pair = rows.select(other.fill_null(value=False).cum_sum().cast(pl.Int64)).to_series()
    seen = rows["week_start"] <= end
    past = rows.filter(seen)
    week = (past["week_start"] - first).dt.total_days() // 7
    return (pair.filter(seen).to_numpy(), week.to_numpy().astype(np.int64)), past


def _matrix(
    values: pl.Series, at: tuple[np.ndarray, np.ndarray], shape: tuple[int, int], *, empty: float
) -> np.ndarray:
    made = np.full(shape, empty, dtype=np.float32, order="F")
    made[at] = values.cast(pl.Float32).fill_null(np.nan).to_numpy()
    return made


def _coded(
    values: pl.Series,
    names: tuple[str, ...],
    at: tuple[np.ndarray, np.ndarray],
    shape: tuple[int, int],
) -> np.ndarray:
    made = np.zeros(shape, dtype=np.int16, order="F")
    made[at] = place(values, names)
    return made


def _with_none(values: pl.Series) -> tuple[str, ...]:
    others = values.unique().cast(pl.String).sort().to_list()
    return (NONE, *(code for code in others if code != NONE))


def _trips(
    rows: pl.DataFrame, *, at: tuple[np.ndarray, np.ndarray], stores: Codes, weeks: int
) -> np.ndarray:
    """Trips of stores x weeks; a panel without any has one trip everywhere."""
    if rows["panel_trips"].null_count() == rows.height:
        return np.ones((stores.size, weeks), dtype=np.float32)
    trips = np.zeros((stores.size, weeks), dtype=np.float32)
    known = rows["panel_trips"].is_not_null().to_numpy()
    place_of = (stores.of_row[at[0][known]], at[1][known])
    np.maximum.at(trips, place_of, rows["panel_trips"].drop_nulls().cast(pl.Float32).to_numpy())
    return trips
