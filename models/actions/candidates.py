"""Candidates of a plan: what each possible action would bring, with its uncertainty, and cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from models.actions.settings import Economics
from models.lift.actions import Action

KEY = ("store_id", "product_id", "action")
PLACE = ("store_id", "product_id")

# Evidence of a lift, weakest first. Lift that only a model claims may propose tests, no more.
MODEL_ONLY = "model_only"
IDENTIFIED = "identified"
EXPERIMENT = "experiment"
EVIDENCE = (MODEL_ONLY, IDENTIFIED, EXPERIMENT)

# Name of doing nothing, in logs; it is never a candidate.
NONE = "none"

SCHEMA: Mapping[str, type[pl.DataType]] = {
    "store_id": pl.String,
    "product_id": pl.String,
    "week_start": pl.Date,
    "action": pl.String,
    "category": pl.String,
    "evidence": pl.String,
    "display_slot": pl.Boolean,
    "mailer_slot": pl.Boolean,
    "discount": pl.Float64,
    "baseline": pl.Float64,
    "response": pl.Float64,
    "lift_low": pl.Float64,
    "lift": pl.Float64,
    "lift_high": pl.Float64,
    "value_low": pl.Float64,
    "value": pl.Float64,
    "value_high": pl.Float64,
    "cost": pl.Float64,
    "weeks_since_promotion": pl.Int32,
    "current": pl.Boolean,
}
NULLABLE = ("weeks_since_promotion",)

# What ``candidates`` reads of the lifts.
LIFT_COLUMNS = (
    "store_id",
    "product_id",
    "week_start",
    "action",
    "own",
    "net",
    "low",
    "high",
    "evidence",
    "baseline",
    "base_price",
    "category",
)


def candidates(
    lift: pl.DataFrame,
    *,
    actions: Sequence[Action],
    economics: Economics,
    promoted: pl.DataFrame | None = None,
    current: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Value and cost of every action of one week.

    An action sells ``net`` units more (own, less cannibalised, less pulled forward), each of which
    earns the margin on the base price. What a discount gives away on all units sold under it, the
    display and the mailer are its cost. Costs are rounded up to whole cents.

    Args:
        lift: ``LIFT_COLUMNS``: units of the data per store, product and week; ``low`` and
            ``high`` bound ``net``.
        actions: The declared actions.
        economics: Margins, costs, and the share of the store's sales that the data holds.
        promoted: ``store_id, product_id, weeks_since_promotion``; a pair without a row was never
            promoted.
        current: ``store_id, product_id, action``: the plan as it stands.

    Returns:
        Columns of ``SCHEMA``, sorted by ``KEY``; units are those of the whole store.

    Raises:
        ValueError: A missing column, an unknown action, or values that cannot be.
    """
    missing = [c for c in LIFT_COLUMNS if c not in lift.columns]
    if missing:
        raise ValueError(f"lifts lack {', '.join(missing)}: join them before planning")
    unknown = sorted(set(lift["action"].unique()) - {a.name for a in actions})
    if unknown:
        raise ValueError(f"lifts of undeclared actions: {', '.join(unknown)}; declare them")
    kind = pl.DataFrame(
        {
            "action": [a.name for a in actions],
            "display_slot": [a.display for a in actions],
            "mailer_slot": [a.mailer for a in actions],
            "discount": [float(a.discount) for a in actions],
        }
    )
    margin = pl.col("category").replace_strict(
        dict(economics.margin_by_category), default=economics.margin, return_dtype=pl.Float64
    )
    scale = 1.0 / economics.panel_share
    unit = margin * pl.col("base_price") * scale
    # Sold at the discount: also those that would have been bought at the full price.
    sold = (pl.col("baseline") + pl.col("own").clip(lower_bound=0)) * scale
    given_away = pl.col("discount") * pl.col("base_price") * sold * (1 - economics.supplier_share)
    fixed = (
        economics.action_cost
        + economics.display_cost * pl.col("display_slot")
        + economics.mailer_cost * pl.col("mailer_slot")
    )
    rows = (
        lift.select(*LIFT_COLUMNS)
        .join(kind, on="action", how="left")
        .with_columns(
            (pl.col("baseline") * scale).alias("baseline"),
            ((pl.col("baseline") + pl.col("own")) * scale).alias("response"),
            (pl.col("low") * scale).alias("lift_low"),
            (pl.col("net") * scale).alias("lift"),
            (pl.col("high") * scale).alias("lift_high"),
            (pl.col("low") * unit).alias("value_low"),
            (pl.col("net") * unit).alias("value"),
            (pl.col("high") * unit).alias("value_high"),
            # A cent's rounding error is not a cent.
            (((fixed + given_away) * 100 - 1e-6).ceil() / 100).alias("cost"),
        )
    )
    rows = _joined(rows, promoted, on=PLACE, column="weeks_since_promotion", value=None)
    rows = _joined(rows, current, on=KEY, column="current", value=pl.lit(value=True))
    return prepared(rows.with_columns(pl.col("current").fill_null(value=False)))


def prepared(rows: pl.DataFrame) -> pl.DataFrame:
    """Candidates checked and in order: columns of ``SCHEMA``, one week, sorted by ``KEY``.

    Raises:
        ValueError: A missing column or value, a duplicate, two weeks, bounds out of order, or a
            cost below zero.
    """
    missing = [c for c in SCHEMA if c not in rows.columns]
    if missing:
        raise ValueError(f"candidates lack {', '.join(missing)}")
    frame = rows.select(pl.col(c).cast(t) for c, t in SCHEMA.items()).sort(KEY)
    empty = [c for c in SCHEMA if c not in NULLABLE and _missing(frame[c])]
    if empty:
        raise ValueError(f"candidates: {', '.join(empty)} is null or not a number somewhere")
    if frame["week_start"].n_unique() > 1:
        raise ValueError("candidates of two weeks: plan one week at a time")
    twice = frame.filter(pl.struct(KEY).is_duplicated())
    if not twice.is_empty():
        raise ValueError(f"candidates name {_of(twice)} twice")
    strange = sorted(set(frame["evidence"].unique()) - set(EVIDENCE))
    if strange:
        raise ValueError(f"evidence {', '.join(strange)} is none of {', '.join(EVIDENCE)}")
    crossed = frame.filter(
        ~((pl.col("value_low") <= pl.col("value")) & (pl.col("value") <= pl.col("value_high")))
    )
    if not crossed.is_empty():
        raise ValueError(f"the bounds of {_of(crossed)} do not hold its value between them")
    if not frame.is_empty() and frame.filter(pl.col("cost") < 0).height:
        raise ValueError(f"the cost of {_of(frame.filter(pl.col('cost') < 0))} is below zero")
    return frame


def undominated(
    frame: pl.DataFrame, *, objective: str = "value_low", keep: pl.Series | None = None
) -> pl.DataFrame:
    """Candidates that some plan needs: for each left out, the same place has one no worse.

    One action is no worse than another if it is worth as much after costs and takes no more money,
    display or mailer: swapping it in keeps every limit, for a place has at most one action.

    Args:
        frame: From ``prepared``, those that may be taken.
        objective: Column of values.
        keep: Booleans: candidates to keep whatever they are worth.
    """
    rows = frame.with_columns((pl.col(objective) - pl.col("cost")).alias("_gain")).with_row_index(
        "_row"
    )
    # Best first: whatever comes later with more of everything is dominated by it.
    ordered = rows.sort(
        [*PLACE, "_gain", "cost", "action"], descending=[False, False, True, False, False]
    )
    least = {}
    for display in (False, True):
        for mailer in (False, True):
            fits = (pl.col("display_slot") <= display) & (pl.col("mailer_slot") <= mailer)
            least[display, mailer] = (
                pl.when(fits)
                .then(pl.col("cost"))
                .otherwise(float("inf"))
                .cum_min()
                .shift(1, fill_value=float("inf"))
                .over(PLACE)
            )
    own = (
        pl.when(pl.col("display_slot") & pl.col("mailer_slot"))
        .then(least[True, True])
        .when(pl.col("display_slot"))
        .then(least[True, False])
        .when(pl.col("mailer_slot"))
        .then(least[False, True])
        .otherwise(least[False, False])
    )
    kept = ordered.with_columns((own <= pl.col("cost")).alias("_dominated"))
    needed = ~pl.col("_dominated")
    if keep is not None:
        kept = kept.with_columns(pl.Series("_keep", keep.to_numpy()[kept["_row"].to_numpy()]))
        needed = needed | pl.col("_keep")
    return kept.filter(needed).sort("_row").select(frame.columns)


def _joined(
    rows: pl.DataFrame,
    other: pl.DataFrame | None,
    *,
    on: Sequence[str],
    column: str,
    value: pl.Expr | None,
) -> pl.DataFrame:
    if other is None:
        return rows.with_columns(pl.lit(None, dtype=SCHEMA[column]).alias(column))
    right = other.select(*on, (value if value is not None else pl.col(column)).alias(column))
    return rows.join(right.unique(on), on=list(on), how="left")


def _missing(values: pl.Series) -> bool:
    if values.null_count():
        return True
    return values.dtype.is_float() and not bool(values.is_finite().all())


def _of(rows: pl.DataFrame) -> str:
    row = rows.row(0, named=True)
    return f"{row['action']} of {row['product_id']} in store {row['store_id']}"
