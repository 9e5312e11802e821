"""What forecasts of one week need beside the plan of that week, small enough to serve.

A plan's features look at thirteen weeks of prices and at what promotions did so far, and at the
plans of rivals and of other stores. ``PlanBasis`` keeps just that, so that a question about another
plan needs no history. Its ``history`` is a real ``History`` with nothing in it that
``models.demand.plan`` does not read: the features of a plan are made by the same functions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from models.calendar import ONE_WEEK
from models.demand.examples import demand_examples
from models.demand.features import FEATURES
from models.demand.history import History
from models.demand.multipliers import Multipliers
from models.demand.series import KEYS, PAIR, Series, as_text, checked, codes, pair_index, series

# Of prices that a plan is compared with (``plan.own_features``).
PRICE_WEEKS = 13
# A row's plan, and what it is compared with.
PLAN = ("price", "base_price", "discount", "display", "mailer")
ROWS = (*KEYS, "category", "manufacturer_id", *PLAN, "plan_known", "clean_level")
ARRAYS = ("features", "prices", "base_prices", "display", "mailer", "product", "effects")


@dataclass(frozen=True, eq=False)
class PlanBasis:
    """One week to forecast, of R products in stores.

    Attributes:
        rows: ``ROWS`` as the plan stands, sorted by store and product.
        features: (R, F) float32: ``FEATURES`` as the plan stands; null is NaN.
        history: What the features of another plan are made from.
    """

    rows: pl.DataFrame
    features: np.ndarray
    history: History


class _Learned(Multipliers):
    """Multipliers that no week is added to any more, so what follows from them is kept."""

    _of_products: np.ndarray | None = None

    def of_products(self) -> np.ndarray:
        if self._of_products is None:
            self._of_products = super().of_products()
        return self._of_products


def plan_basis(panel: pl.DataFrame, *, week: date) -> PlanBasis:
    """The basis of a week, one week ahead.

    Args:
        panel: A demand panel up to ``week``, as for ``forecast.forecast_horizons``; its sales of
            that week are not read. ``plan_known`` may be missing: it is then taken as true.
        week: Monday to forecast.

    Raises:
        ValueError: As ``examples.demand_examples``.
    """
    seen = panel.filter(pl.col("week_start") <= week).with_columns(
        pl.when(pl.col("week_start") < week).then(name).alias(name)
        for name in ("units", "revenue", "panel_trips")
        if name in panel.columns
    )
    examples = demand_examples(seen, targets=[week])
    if "plan_known" not in seen.columns:
        seen = seen.with_columns(pl.lit(value=True).alias("plan_known"))
    rows = as_text(checked(seen))
    planned = (
        rows.filter(pl.col("week_start") == week)
        .join(seen.select(*KEYS, "plan_known"), on=list(KEYS), how="left", maintain_order="left")
        .join(
            examples.select(*KEYS, "clean_level"),
            on=list(KEYS),
            how="inner",
            maintain_order="left",
        )
        .select(ROWS)
    )
    history = History(series(rows, last=week - ONE_WEEK))
    for column in range(history.series.column(week)):
        history.add(column)
    matrix = examples.select(pl.col(FEATURES).fill_null(float("nan"))).to_numpy(order="c")
    return restored(
        planned,
        _arrays(history, pair_index(planned, history.series.pairs)) | {"features": matrix},
        display_codes=history.series.display_codes,
        mailer_codes=history.series.mailer_codes,
    )


def arrays_of(basis: PlanBasis) -> dict[str, np.ndarray]:
    """``ARRAYS`` of a basis: with its rows and codes, all that ``restored`` needs."""
    at = np.arange(basis.rows.height)
    return {"features": basis.features, **_arrays(basis.history, at)}


def restored(
    rows: pl.DataFrame,
    arrays: Mapping[str, np.ndarray],
    *,
    display_codes: Sequence[str],
    mailer_codes: Sequence[str],
) -> PlanBasis:
    """A basis from its parts.

    Args:
        rows: ``ROWS``, sorted by store and product.
        arrays: ``ARRAYS``: prices and base prices (R, weeks); sold and foreseen by code (2, codes
            and an unknown one); sold and foreseen by product and state (2, P, states), products
            sorted by id; effects (C, states), categories sorted by name.
        display_codes: Codes in the order of ``display``, none first.
        mailer_codes: As displays.

    Raises:
        ValueError: Shapes do not fit the rows.
    """
    _check_shapes(rows, arrays)
    weeks = arrays["prices"].shape[1]
    last: date = rows["week_start"][0] - ONE_WEEK
    empty = np.zeros((0, 0))
    known = Series(
        pairs=rows.select(PAIR),
        weeks=tuple(last - back * ONE_WEEK for back in range(weeks - 1, -1, -1)),
        units=empty,
        known=empty,
        active=empty,
        trips=empty,
        price=arrays["prices"],
        base_price=arrays["base_prices"],
        discount=empty,
        display=empty,
        mailer=empty,
        display_codes=tuple(display_codes),
        mailer_codes=tuple(mailer_codes),
        store=codes(rows["store_id"]),
        product=codes(rows["product_id"]),
        category=codes(rows["category"]),
        store_category=codes(
            rows.select(pl.concat_str("store_id", "category", separator="\n"))["store_id"]
        ),
    )
    history = History(known)
    history.week = weeks - 1
    learned = history.multipliers = _Learned(known)
    learned.display, learned.mailer = arrays["display"], arrays["mailer"]
    learned.product, learned.effects = arrays["product"], arrays["effects"]
    return PlanBasis(rows=rows, features=arrays["features"], history=history)


def _arrays(history: History, rows: np.ndarray) -> dict[str, np.ndarray]:
    """What plans are compared with, cut to the rows' own pairs, products and categories."""
    s, learned = history.series, history.multipliers
    window = slice(max(0, history.week + 1 - PRICE_WEEKS), history.week + 1)
    # Codes are sorted by name, here and in what is restored.
    products = np.unique(s.product.of_row[rows])
    categories = np.unique(s.category.of_row[rows])
    return {
        "prices": np.ascontiguousarray(s.price[rows, window]),
        "base_prices": np.ascontiguousarray(s.base_price[rows, window]),
        "display": learned.display,
        "mailer": learned.mailer,
        "product": np.ascontiguousarray(learned.product[:, products]),
        "effects": np.ascontiguousarray(learned.effects[categories]),
    }


def _check_shapes(rows: pl.DataFrame, arrays: Mapping[str, np.ndarray]) -> None:
    missing = [name for name in ARRAYS if name not in arrays]
    if missing:
        raise ValueError(f"plan basis: {', '.join(missing)} missing; write the basis again")
    expected = {
        "features": (rows.height, len(FEATURES)),
        "prices": (rows.height, arrays["prices"].shape[1]),
        "base_prices": arrays["prices"].shape,
        "product": (2, rows["product_id"].n_unique(), arrays["effects"].shape[1]),
        "effects": (rows["category"].n_unique(), arrays["effects"].shape[1]),
    }
    for name, shape in expected.items():
        if arrays[name].shape != shape:
            raise ValueError(
                f"plan basis: {name} has shape {arrays[name].shape}, its {rows.height:,} rows need "
                f"{shape}; it was written by other code: write the basis again"
            )
