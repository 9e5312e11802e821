"""Basket lines of all households as plain arrays, from which one household's are cut in no time.

Arrays of numbers can be memory-mapped; texts are codes into sorted tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

# Of a basket line, what the feature functions read.
LINE_COLUMNS = (
    "household_id",
    "store_id",
    "basket_id",
    "product_id",
    "quantity",
    "sales_value",
    "retail_disc",
    "coupon_disc",
    "coupon_match_disc",
    "sold_at",
)
LINE_SCHEMA = pl.Schema(
    {  # type: ignore[arg-type]
        "household_id": pl.String,
        "store_id": pl.String,
        "basket_id": pl.String,
        "product_id": pl.String,
        "quantity": pl.Int64,
        "sales_value": pl.Float64,
        "retail_disc": pl.Float64,
        "coupon_disc": pl.Float64,
        "coupon_match_disc": pl.Float64,
        "sold_at": pl.Datetime("us"),
    }
)
_CODED = ("store_id", "basket_id", "product_id")
_NUMBERS = ("quantity", "sales_value", "retail_disc", "coupon_disc", "coupon_match_disc")
_ORDER = ("household_id", "sold_at", "basket_id", "product_id")

LINE_TABLES = ("line_households", *(f"line_{name}" for name in _CODED))
LINE_ARRAYS = ("line_offsets", *(f"line_{name}_codes" for name in _CODED), *_NUMBERS, "sold_at")


@dataclass(frozen=True)
class LineStore:
    """N lines of H households, by household and time.

    Attributes:
        tables: ``line_households`` (H sorted pseudonyms), and each coded column's sorted texts.
        arrays: ``line_offsets`` (H + 1,) int64: lines of household i are
            ``line_offsets[i]:line_offsets[i + 1]``; ``line_<column>_codes`` (N,) int32;
            ``quantity`` (N,) int64; money (N,) float64, dollars; ``sold_at`` (N,) int64,
            microseconds since 1970.
    """

    tables: Mapping[str, pl.DataFrame]
    arrays: Mapping[str, np.ndarray]

    def of(self, household_id: str) -> pl.DataFrame:
        """Lines of a household, oldest first, as ``LINE_SCHEMA``; none of a stranger."""
        place = self._places.get(household_id)
        if place is None:
            return LINE_SCHEMA.to_frame()
        arrays = self.arrays
        rows = slice(int(arrays["line_offsets"][place]), int(arrays["line_offsets"][place + 1]))
        columns: dict[str, pl.Series] = {
            name: self.tables[f"line_{name}"][name].gather(arrays[f"line_{name}_codes"][rows])
            for name in _CODED
        }
        columns |= {name: pl.Series(name, arrays[name][rows]) for name in _NUMBERS}
        columns["sold_at"] = pl.Series("sold_at", arrays["sold_at"][rows]).cast(pl.Datetime("us"))
        return pl.DataFrame(columns).select(
            pl.lit(household_id).alias("household_id"), *LINE_COLUMNS[1:]
        )

    @property
    def count(self) -> int:
        return len(self.arrays["sold_at"])

    @property
    def households(self) -> pl.Series:
        return self.tables["line_households"]["household_id"]

    @cached_property
    def _places(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.households.to_list())}


def line_store(lines: pl.DataFrame) -> LineStore:
    """Lay lines out by household.

    Args:
        lines: ``LINE_COLUMNS``, in any order.
    """
    rows = lines.select(LINE_COLUMNS).cast(LINE_SCHEMA).sort(*_ORDER)
    counts = rows.group_by("household_id", maintain_order=True).len()
    texts = {name: rows[name].unique().sort() for name in _CODED}
    arrays = {"line_offsets": np.r_[0, counts["len"].cum_sum().to_numpy()].astype(np.int64)}
    for name, known in texts.items():
        codes = rows[name].cast(pl.Enum(known)).to_physical().to_numpy()
        arrays[f"line_{name}_codes"] = codes.astype(np.int32)
    arrays |= {name: rows[name].to_numpy() for name in _NUMBERS}
    arrays["sold_at"] = rows["sold_at"].to_physical().to_numpy()
    tables = {"line_households": counts.select("household_id")}
    tables |= {f"line_{name}": known.to_frame() for name, known in texts.items()}
    return LineStore(tables=tables, arrays={name: arrays[name] for name in LINE_ARRAYS})
