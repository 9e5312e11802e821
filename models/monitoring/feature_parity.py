"""Whether the features that were served are those that the marts give: online against offline.

Offline means the batch functions on the lake's tables, not the code of the service nor its files,
so that a fault in either shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import cached_property

import polars as pl

from models.features.household import household_features
from models.features.household_product import household_product_features
from models.features.household_store import household_store_features
from models.features.household_type import household_type_features
from models.features.product import product_features
from models.features.store_product import promotions_of_sold, store_product_features
from models.ranking.dataset import examples
from models.ranking.inputs import FEATURES
from models.ranking.line_store import LINE_COLUMNS
from models.ranking.proposals import Known, propose

# The row of the comparison that is about candidates, not about a feature of theirs.
CANDIDATE = "candidate"
PARITY_SCHEMA = pl.Schema(
    {
        "feature": pl.String,
        "rows": pl.Int64,
        "mismatched": pl.Int64,
        "missing": pl.Int64,
        "extra": pl.Int64,
    }
)
_KEY = ["request_id", "product_id"]


@dataclass(frozen=True)
class Marts:
    """Tables of the lake as the snapshot saw them.

    Attributes:
        lines: ``marts.fct_basket_line`` of the year before the as-of.
        promotions: ``marts.fct_promotion`` of the quarter before the as-of and of its week.
    """

    lines: pl.LazyFrame
    products: pl.LazyFrame
    promotions: pl.LazyFrame
    campaigns: pl.LazyFrame
    targets: pl.LazyFrame
    coupons: pl.LazyFrame


@dataclass(frozen=True)
class Offline:
    """Candidates and features of one as-of week, from the marts."""

    marts: Marts
    as_of: date
    instant: datetime
    time_zone: str

    def of(
        self,
        households: Sequence[str],
        *,
        events: pl.DataFrame | None = None,
        at: datetime | None = None,
    ) -> pl.DataFrame:
        """As ``dataset.examples``, for some households.

        Args:
            households: Pseudonyms.
            events: ``LINE_COLUMNS`` of what they bought after the snapshot's data.
            at: Instant of the household features; default the start of the week.
        """
        lines = self.marts.lines
        if events is not None:
            # Counted among the newest week's, whatever their own.
            own = events.select(LINE_COLUMNS).lazy()
            newest = pl.lit(self.as_of).alias("week_start")
            lines = pl.concat([lines.select(*LINE_COLUMNS, "week_start"), own.with_columns(newest)])
        instant = at or self.instant
        mine = lines.filter(pl.col("household_id").is_in(list(households)))
        zone, products = self.time_zone, self.marts.products
        stamp = pl.lit(self.as_of).alias("as_of")
        sets = [
            made.with_columns(stamp).collect().lazy()
            for made in (
                household_features(mine, [instant], products=products, time_zone=zone),
                household_product_features(mine, [instant], time_zone=zone),
                household_store_features(mine, [instant], time_zone=zone),
                household_type_features(mine, [instant], products=products, time_zone=zone),
            )
        ]
        known = replace(
            self._known,
            household=sets[0],
            household_product=sets[1],
            household_store=sets[2],
            household_type=sets[3],
            lines=lines,
        )
        return examples(
            propose(known, as_ofs={self.as_of: instant}).collect().lazy(),
            household=sets[0],
            product=known.product,
            household_product=sets[1],
            features=FEATURES,
        )

    @cached_property
    def _known(self) -> Known:
        """What does not depend on the households; chain-wide sets stand at the week's start."""
        marts, nobody = self.marts, pl.LazyFrame()
        store_product = store_product_features(
            marts.lines,
            [self.as_of],
            promotions=promotions_of_sold(marts.promotions, lines=marts.lines),
            time_zone=self.time_zone,
        )
        product = product_features(marts.lines, [self.as_of], time_zone=self.time_zone)
        return Known(
            household=nobody,
            household_product=nobody,
            household_store=nobody,
            household_type=nobody,
            product=product.collect().lazy(),
            store_product=store_product.collect().lazy(),
            lines=marts.lines,
            products=marts.products,
            plan=marts.promotions.filter(pl.col("week_start") == self.as_of),
            campaigns=marts.campaigns,
            targets=marts.targets,
            coupons=marts.coupons,
        )


def compare(
    online: pl.DataFrame, offline: pl.DataFrame, *, features: Sequence[str]
) -> pl.DataFrame:
    """Count where two sources of the same rows differ.

    Args:
        online: ``request_id, product_id`` and the features as served, Float32; NaN is null.
        offline: The same, recomputed.
        features: Their names.

    Returns:
        ``PARITY_SCHEMA``: for each feature, of the ``rows`` that both have, how many have values
        that differ in any bit (``mismatched``), a value only offline (``missing``) or only online
        (``extra``); and ``CANDIDATE``: of the ``rows`` that either has, how many candidates only
        one has.
    """
    names = list(features)
    served = online.select(*_KEY, pl.col(names).fill_nan(None))
    made = offline.select(*_KEY, pl.col(names).fill_nan(None))
    both = served.join(made, on=_KEY, how="inner", suffix="_offline")
    missing = made.join(served, on=_KEY, how="anti").height
    extra = served.join(made, on=_KEY, how="anti").height
    counted = [
        {
            "feature": CANDIDATE,
            "rows": both.height + missing + extra,
            "mismatched": 0,
            "missing": missing,
            "extra": extra,
        }
    ]
    for name in names:
        here, there = both[name], both[f"{name}_offline"]
        counted.append(
            {
                "feature": name,
                "rows": both.height,
                "mismatched": int(
                    (here.is_not_null() & there.is_not_null() & (here != there)).sum()
                ),
                "missing": int((here.is_null() & there.is_not_null()).sum()),
                "extra": int((here.is_not_null() & there.is_null()).sum()),
            }
        )
    return pl.DataFrame(counted, schema=PARITY_SCHEMA)
