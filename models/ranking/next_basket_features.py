"""Candidates and features of next-basket data, from baskets alone.

Nothing here looks at what everybody bought of late: popularity is over the whole known history, so
a ranker cannot live off the calendar of the data it is judged on. ``NAMES`` is what a model sees.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from models.ranking.als import AlsParams, als
from models.ranking.basket_history import BasketHistory, numbered_history
from models.ranking.dataset import LABEL
from models.ranking.last_basket import LAST_BASKET, last_basket_says
from models.ranking.neighbours import TIFU, UPCF, TifuParams, UpcfParams, tifu_knn, up_cf
from models.ranking.next_basket import Origin
from models.ranking.order import RANK, OrderBy, top

# Candidates per household of each source, for a ranking of ten. More (80, 60, 40) did not rank
# better, in twice the time: it is the first ten that have to be right.
PERSONAL_LIMIT = 50
NEIGHBOUR_LIMIT = 30
GLOBAL_LIMIT = 15
FOR = 10
# The scores of this many products of a source are features, candidates of it or not.
SCORED = 200

BASKET_WINDOWS = (1, 3, 6, 12, 25)
DAY_WINDOWS = (14, 42, 126)
BASKET_HALF_LIVES = (2.0, 5.0, 12.0, 30.0)
DAY_HALF_LIVES = (14.0, 60.0)

RECENT_BASKETS = 5

# A feature among others: a third of the time of the baseline.
QUICK_ALS = AlsParams(factors=32, iterations=4)

_PAIR = ("household_id", "product_id")

_PERSONAL = (
    "baskets",
    *(f"baskets_last_{n}" for n in BASKET_WINDOWS),
    *(f"decayed_{half:g}_baskets" for half in BASKET_HALF_LIVES),
    "basket_share",
    "share_since_first",
    "baskets_since_last",
    "baskets_since_first",
    "gap_mean",
    "gap_std",
    "gap_last",
    "recency_over_gap",
    "personal_rank",
)
_TIMED = (
    *(f"baskets_last_{n}d" for n in DAY_WINDOWS),
    *(f"decayed_{half:g}d" for half in DAY_HALF_LIVES),
    "days_since_last",
    "day_gap_mean",
    "days_over_gap",
)
_PRODUCT = (
    "p_buyers_share",
    "p_basket_share",
    "p_purchases_per_buyer",
    "p_repeat_share",
    "p_next_share",
    "p_gap_median",
    "p_rank",
    "since_last_over_p_gap",
)
_HOUSEHOLD = (
    "hh_baskets",
    "hh_basket_size",
    "hh_last_basket_size",
    "hh_products",
    "hh_repeat_share",
    "hh_recent_basket_size",
    "hh_recent_repeat_share",
)
_SOURCES = ("tifu_knn", "up_cf", "als")
_SCORES = tuple(f"{name}_{what}" for name in _SOURCES for what in ("score", "rank"))


def feature_names(*, timed: bool) -> tuple[str, ...]:
    """The features, in the model's order; those in days only if the data has times."""
    days = (*_TIMED, "hh_days_since_last", "hh_days_between") if timed else ()
    return (*_PERSONAL, *days, *_PRODUCT, *_HOUSEHOLD, *_SCORES, *LAST_BASKET)


@dataclass(frozen=True)
class Neighbours:
    """Settings of the neighbour methods, whose scores are features.

    Attributes:
        tifu: Of TIFU-kNN.
        upcf: Of UP-CF.
    """

    tifu: TifuParams = TIFU
    upcf: UpcfParams = UPCF


def examples(
    origin: Origin,
    *,
    households: pl.Series,
    settings: Neighbours = Neighbours(),
    timed: bool,
    seed: int,
    labelled: bool,
    k: int = FOR,
) -> pl.DataFrame:
    """Candidates of some households at an origin, with their features.

    Personal products (most recency-weighted baskets first), the best of TIFU-kNN and UP-CF, and the
    products most households ever bought; a household without a history gets the last.

    Args:
        origin: What is known; its purchases are read only if ``labelled``.
        households: Ids.
        settings: Of the neighbour methods.
        timed: Whether the data has times.
        seed: Of ALS.
        labelled: Whether to add Int8 ``label``, 1 if bought next.
        k: Length of the ranking to be made; a longer one takes more candidates.

    Returns:
        ``household_id, product_id, as_of`` and ``feature_names`` as Float32 (null where unknown),
        sorted by as-of, household and product.
    """
    wanted = households.unique().cast(origin.history.schema["household_id"]).sort()
    mine = origin.history.filter(pl.col("household_id").is_in(wanted.implode()))
    personal = _personal(mine, timed=timed)
    product = _product(origin.history)
    known = numbered_history(origin.history)
    lists = _lists(
        known, households=wanted, settings=settings, seed=seed, ids=origin.history.schema
    )
    longer = max(1.0, k / FOR)
    popular = product.filter(pl.col("p_rank") <= GLOBAL_LIMIT * longer).select("product_id")
    pairs = (
        pl.concat(
            [
                personal.filter(pl.col("personal_rank") <= PERSONAL_LIMIT * longer).select(_PAIR),
                *(
                    lists[name]
                    .filter(pl.col(f"{name}_rank") <= NEIGHBOUR_LIMIT * longer)
                    .select(_PAIR)
                    for name in ("tifu_knn", "up_cf")
                ),
                pl.DataFrame({"household_id": wanted}).join(popular, how="cross"),
            ]
        )
        .unique()
        .sort(*_PAIR)
    )
    frame = pairs.join(personal, on=list(_PAIR), how="left").join(
        product, on="product_id", how="left"
    )
    frame = frame.join(_household(mine, timed=timed), on="household_id", how="left")
    for found in lists.values():
        frame = frame.join(found, on=list(_PAIR), how="left")
    over = (pl.col("baskets_since_last") / pl.col("p_gap_median")).alias("since_last_over_p_gap")
    frame = frame.with_columns(over, *last_basket_says(known, frame.select(_PAIR)))
    features = feature_names(timed=timed)
    answer = frame.select(
        *(pl.col(name).cast(pl.String) for name in _PAIR),
        pl.lit(origin.as_of, dtype=pl.Date).alias("as_of"),
        *(pl.col(name).cast(pl.Float32) for name in features),
    )
    if not labelled:
        return answer
    bought = origin.purchases.select(*_PAIR, pl.lit(1, pl.Int8).alias(LABEL))
    return answer.join(bought, on=list(_PAIR), how="left", maintain_order="left").with_columns(
        pl.col(LABEL).fill_null(0)
    )


def _lists(
    known: BasketHistory,
    *,
    households: pl.Series,
    settings: Neighbours,
    seed: int,
    ids: Mapping[str, pl.DataType],
) -> dict[str, pl.DataFrame]:
    """Per source ``household_id, product_id, {name}_rank, {name}_score``."""
    found = {
        "tifu_knn": tifu_knn(known, households=households, limit=SCORED, params=settings.tifu),
        "up_cf": up_cf(known, households=households, limit=SCORED, params=settings.upcf),
        "als": als(known, households=households, limit=SCORED, seed=seed, params=QUICK_ALS),
    }
    return {
        name: frame.select(
            *(pl.col(column).cast(ids[column]) for column in _PAIR),
            pl.col("rank").alias(f"{name}_rank"),
            pl.col("score").alias(f"{name}_score"),
        )
        for name, frame in found.items()
    }


def _personal(mine: pl.DataFrame, *, timed: bool) -> pl.DataFrame:
    """What a household did with each product it has bought."""
    rows = _with_gaps(mine)
    days = (
        [
            *((pl.col("elapsed") <= n).sum().alias(f"baskets_last_{n}d") for n in DAY_WINDOWS),
            *(_decayed("elapsed", half).alias(f"decayed_{half:g}d") for half in DAY_HALF_LIVES),
            pl.col("elapsed").min().alias("days_since_last"),
            pl.col("day_gap").mean().alias("day_gap_mean"),
        ]
        if timed
        else []
    )
    pairs = rows.group_by(_PAIR, maintain_order=True).agg(
        pl.len().alias("baskets"),
        *((pl.col("ago") < n).sum().alias(f"baskets_last_{n}") for n in BASKET_WINDOWS),
        *(_decayed("ago", half).alias(f"decayed_{half:g}_baskets") for half in BASKET_HALF_LIVES),
        pl.col("ago").min().alias("baskets_since_last"),
        pl.col("ago").max().alias("baskets_since_first"),
        pl.col("gap").mean().alias("gap_mean"),
        pl.col("gap").std().alias("gap_std"),
        pl.col("gap").last().alias("gap_last"),
        *days,
    )
    of_household = mine.group_by("household_id").agg((pl.col("ago").max() + 1).alias("hh_baskets"))
    ratios = [
        (pl.col("baskets") / pl.col("hh_baskets")).alias("basket_share"),
        (pl.col("baskets") / (pl.col("baskets_since_first") + 1)).alias("share_since_first"),
        ((pl.col("baskets_since_last") + 1) / pl.col("gap_mean")).alias("recency_over_gap"),
    ]
    if timed:
        # Several baskets within one moment have no interval.
        ratios.append(
            (pl.col("days_since_last") / pl.col("day_gap_mean").clip(lower_bound=1 / 24)).alias(
                "days_over_gap"
            )
        )
    found = pairs.join(of_household, on="household_id", how="left").with_columns(ratios)
    order = (OrderBy("decayed_30_baskets"), OrderBy("baskets_since_last", descending=False))
    ranks = top(
        found.lazy().select(*_PAIR, *(o.column for o in order)),
        group=("household_id",),
        order=order,
        limit=max(found.height, 1),
        keep=("product_id",),
        rank="personal_rank",
    ).collect()
    return found.drop("hh_baskets").join(ranks, on=list(_PAIR), how="left")


def _decayed(column: str, half_life: float) -> pl.Expr:
    # Rows are sorted, so the sum has one order.
    return pl.lit(0.5).pow(pl.col(column) / half_life).sum()


def _product(history: pl.DataFrame) -> pl.DataFrame:
    """Long-run popularity and repeat habits of every product."""
    again = pl.col("n") > 1
    pairs = (
        _with_gaps(history)
        .group_by(_PAIR, maintain_order=True)
        .agg(
            pl.len().alias("n"),
            (pl.col("ago").max() - pl.col("ago").min()).alias("span"),
            (pl.col("gap") == 1).sum().alias("at_once"),
        )
    )
    totals = history.select(
        pl.col("household_id").n_unique().alias("households"),
        pl.struct("household_id", "ago").n_unique().alias("baskets"),
    ).row(0)
    households, baskets = (max(total, 1) for total in totals)
    return (
        pairs.group_by("product_id")
        .agg(
            (pl.len() / households).alias("p_buyers_share"),
            (pl.col("n").sum() / baskets).alias("p_basket_share"),
            pl.col("n").mean().alias("p_purchases_per_buyer"),
            again.mean().alias("p_repeat_share"),
            (pl.col("at_once").sum() / pl.col("n").sum()).alias("p_next_share"),
            (pl.col("span") / (pl.col("n") - 1)).filter(again).median().alias("p_gap_median"),
        )
        .sort("p_buyers_share", "p_basket_share", "product_id", descending=[True, True, False])
        .with_columns(pl.int_range(1, pl.len() + 1, dtype=RANK).alias("p_rank"))
    )


def _with_gaps(history: pl.DataFrame) -> pl.DataFrame:
    """Rows by household, product and time, with the interval from the purchase before.

    ``gap`` counts baskets, ``day_gap`` is in units of ``elapsed``.
    """
    rows = history.sort(*_PAIR, "ago", descending=[False, False, True])
    same = (pl.col("household_id") == pl.col("household_id").shift(1)) & (
        pl.col("product_id") == pl.col("product_id").shift(1)
    )
    return rows.with_columns(
        pl.when(same).then(pl.col("ago").shift(1) - pl.col("ago")).alias("gap"),
        pl.when(same).then(pl.col("elapsed").shift(1) - pl.col("elapsed")).alias("day_gap"),
    )


def _household(mine: pl.DataFrame, *, timed: bool) -> pl.DataFrame:
    products = pl.col("product_id").n_unique()
    baskets = pl.col("ago").max() + 1
    days = (
        [
            pl.col("elapsed").min().alias("hh_days_since_last"),
            ((pl.col("elapsed").max() - pl.col("elapsed").min()) / baskets).alias(
                "hh_days_between"
            ),
        ]
        if timed
        else []
    )
    first = pl.col("gap").is_null()
    recent = pl.col("ago") < RECENT_BASKETS
    return (
        _with_gaps(mine)
        .group_by("household_id", maintain_order=True)
        .agg(
            baskets.alias("hh_baskets"),
            (pl.len() / baskets).alias("hh_basket_size"),
            (pl.col("ago") == 0).sum().alias("hh_last_basket_size"),
            products.alias("hh_products"),
            (1 - products / pl.len()).alias("hh_repeat_share"),
            (recent.sum() / pl.min_horizontal(baskets, RECENT_BASKETS)).alias(
                "hh_recent_basket_size"
            ),
            (1 - (first & recent).sum() / recent.sum()).alias("hh_recent_repeat_share"),
            *days,
        )
    )
