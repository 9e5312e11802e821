"""Lift of an action: own incremental units, less what rivals lose, less what later weeks lose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from models.lift.actions import ACTIONS, Action, action_terms
from models.lift.baseline import base_units
from models.lift.bounds import Z95, mixture_bounds, null_probability, recovered, scaled
from models.lift.effects import Effects
from models.lift.evidence import EXPERIMENT, IDENTIFIED, MODEL_ONLY, Rules, identified
from models.lift.panel_index import KEY, with_groups

# A rival keeps a fifth of its sales, a later week a twentieth, whatever is promoted.
_MOST_OF_RIVALS = 0.8
_MOST_OF_LATER = 0.95
# Beyond a factor of twenty a shelf is empty.
_MOST_LOG = 3.0
# Differences of sums leave dust where there is nobody.
_DUST = 1e-9
# How unsure a baseline is that somebody hands over without saying.
_GIVEN_BASELINE = 0.3

LIFT_COLUMNS = (
    *KEY,
    "action",
    "category",
    "baseline",
    "base_price",
    "own",
    "cannibalised",
    "pulled_forward",
    "net",
    "low",
    "high",
    "revenue_net",
    "revenue_low",
    "revenue_high",
    "evidence",
)


@dataclass(frozen=True)
class _Response:
    """Own relative lift of one action by product: estimate and bounds."""

    estimate: np.ndarray
    low: np.ndarray
    high: np.ndarray


def action_lift(
    effects: Effects,
    targets: pl.DataFrame,
    *,
    actions: Sequence[Action] = ACTIONS,
    experiments: pl.DataFrame | None = None,
    rules: Rules | None = None,
) -> pl.DataFrame:
    """Lift of each action for each store-product of a coming week, taken alone.

    Args:
        effects: Estimated on weeks before.
        targets: ``store_id, product_id, week_start, base_price`` and, if known, ``category, type``:
            the store's whole active assortment of one or more weeks, as rivals are looked for in
            it. ``baseline`` (expected units with nothing promoted, e.g. the demand model's) and
            ``baseline_spread`` (standard deviation of its log) take the place of the estimate here.
        actions: To be judged.
        experiments: ``product_id, action, log_effect, se``: what experiments measured of the own
            effect (log of the factor on units); joined with the rest by precision.
        rules: When an observational lift counts as identified.

    Returns:
        ``LIFT_COLUMNS``, one row per target and action, sorted by week, store, product, action.
        ``own, cannibalised, pulled_forward, net, low, high`` are units of the action's week;
        ``revenue_*`` are in the price's currency, after the discount on all units sold, null where
        the base price is. ``low`` and ``high`` are 95 % bounds of ``net``.

    Raises:
        ValueError: A column is missing, or a target repeats.
    """
    rows = _targets(effects, targets)
    product = rows["_product"].to_numpy()
    terms = action_terms(actions)
    is_identified = identified(effects, actions, rules=rules)
    measured = _measured(effects, actions, experiments)
    parts = []
    for i, (action, x) in enumerate(zip(actions, terms, strict=True)):
        response = _response(effects, x, measured.get(action.name))
        lift = _lift(effects, rows, action, _of_rows(response, product))
        evidence = np.where(is_identified[:, i], IDENTIFIED, MODEL_ONLY).astype(object)
        if action.name in measured:
            evidence[np.isfinite(measured[action.name][0])] = EXPERIMENT
        known = np.append(evidence, MODEL_ONLY)
        parts.append(
            rows.select(
                *KEY, pl.lit(action.name).alias("action"), "category", "baseline", "base_price"
            ).with_columns(**lift, evidence=pl.Series(known[product].tolist(), dtype=pl.String))
        )
    return (
        pl.concat(parts).select(LIFT_COLUMNS).sort("week_start", "store_id", "product_id", "action")
    )


def _targets(effects: Effects, targets: pl.DataFrame) -> pl.DataFrame:
    missing = [c for c in (*KEY, "base_price") if c not in targets.columns]
    if missing:
        raise ValueError(
            f"targets of lift: no column {', '.join(missing)}; they have "
            f"{', '.join(targets.columns)}"
        )
    if targets.select(pl.struct(*KEY).is_duplicated().any()).item():
        raise ValueError("targets of lift: a store, product and week occurs twice; give one each")
    index = effects.index
    found = base_units(effects)
    pairs = index.pairs.select(
        "store_id",
        "product_id",
        pl.Series("_units", found.units),
        pl.Series("_spread", found.log_spread),
    )
    products = index.products.select(
        "product_id",
        pl.int_range(pl.len()).alias("_product"),
        pl.col("category").alias("_category"),
        pl.col("type").alias("_type"),
    )
    for column in ("category", "type"):
        if column not in targets.columns:
            targets = targets.with_columns(pl.lit(None, dtype=pl.String).alias(column))
    rows = (
        targets.join(pairs, on=["store_id", "product_id"], how="left")
        .join(products, on="product_id", how="left")
        .with_columns(
            pl.col("category").fill_null(pl.col("_category")),
            pl.col("type").fill_null(pl.col("_type")),
            # A product without any history has no effects of its own: the last, pooled place.
            pl.col("_product").fill_null(len(index.products)),
        )
    )
    if "baseline" in rows.columns:
        spread = (
            pl.col("baseline_spread")
            if "baseline_spread" in rows.columns
            else pl.lit(_GIVEN_BASELINE)
        )
        rows = rows.with_columns(pl.col("baseline").fill_null(pl.col("_units")), _spread=spread)
    else:
        rows = rows.with_columns(baseline=pl.col("_units"))
    # What was never sold here before has no level: nothing is claimed for it.
    return with_groups(
        rows.with_columns(
            pl.col("baseline").fill_null(0.0).clip(0.0, None), pl.col("_spread").fill_null(1.0)
        )
    ).sort(*KEY)


def _measured(
    effects: Effects, actions: Sequence[Action], experiments: pl.DataFrame | None
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By action, the measured log effect and its error by product; NaN where there is none."""
    if experiments is None:
        return {}
    names = {a.name for a in actions}
    made = {}
    for (action,), rows in experiments.partition_by("action", as_dict=True).items():
        if action in names:
            found = effects.index.products.join(
                rows, on="product_id", how="left", maintain_order="left"
            )
            made[str(action)] = (
                found["log_effect"].fill_null(float("nan")).to_numpy(),
                found["se"].fill_null(float("inf")).to_numpy(),
            )
    return made


def _response(
    effects: Effects, x: np.ndarray, measured: tuple[np.ndarray, np.ndarray] | None
) -> _Response:
    """Own relative lift by product, and at the end that of a product nothing is known of."""
    k = x.size
    pool = effects.pool
    prior_mean = float(pool.mean @ x)
    prior_variance = float(x @ (np.diag(pool.spread**2) + pool.covariance[:k, :k]) @ x)
    mean = np.r_[effects.own @ x, prior_mean]
    variance = np.r_[np.einsum("i,pij,j->p", x, effects.covariance, x), prior_variance]
    if measured is not None:
        told = np.r_[np.isfinite(measured[0]), False]
        weight = np.where(told, 1.0 / np.r_[measured[1], np.inf] ** 2, 0.0)
        value = np.where(told, np.r_[measured[0], 0.0], 0.0)
        mean = (mean / variance + weight * value) / (1.0 / variance + weight)
        variance = 1.0 / (1.0 / variance + weight)
    spread = np.sqrt(variance)
    null = null_probability(
        mean=mean,
        spread=spread,
        prior_mean=np.full_like(mean, prior_mean),
        prior_spread=np.full_like(mean, np.sqrt(prior_variance)),
        null_share=effects.settings.null_share,
    )
    low, high = mixture_bounds(mean, spread, null)
    estimate = np.expm1(np.clip(mean + variance / 2.0, -_MOST_LOG, _MOST_LOG))
    low, high = (np.expm1(np.clip(b, -_MOST_LOG, _MOST_LOG)) for b in (low, high))
    return _Response(estimate, np.minimum(low, estimate), np.maximum(high, estimate))


def _of_rows(response: _Response, product: np.ndarray) -> _Response:
    return _Response(response.estimate[product], response.low[product], response.high[product])


def _lift(
    effects: Effects, rows: pl.DataFrame, action: Action, response: _Response
) -> dict[str, pl.Series]:
    spill = effects.spill
    base = rows["baseline"].to_numpy()
    price = rows["base_price"].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    of_type, of_category, rival_price = _rivals(rows)
    has = np.stack([of_type > 0.0, of_category > 0.0], axis=1).astype(float)

    def split(relative: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        own = base * relative
        cannibalised = np.minimum(
            spill.type_share * own * has[:, 0], _MOST_OF_RIVALS * of_type
        ) + np.minimum(spill.category_share * own * has[:, 1], _MOST_OF_RIVALS * of_category)
        pulled = sum(
            (np.minimum(share * own, _MOST_OF_LATER * base) for share in spill.pull_shares),
            start=np.zeros_like(own),
        )
        return own, cannibalised, pulled

    def money(own: np.ndarray, cannibalised: np.ndarray, pulled: np.ndarray) -> np.ndarray:
        paid = price * (1.0 - action.discount)
        return (base + own) * paid - base * price - cannibalised * rival_price - pulled * price

    at = [split(r) for r in (response.estimate, response.low, response.high)]
    own, cannibalised, pulled = at[0]
    later = np.ones((base.size, spill.pull_shares.size))
    columns = {"own": own, "cannibalised": cannibalised, "pulled_forward": pulled}
    log_spread = rows["_spread"].to_numpy()
    for name, values, weights in (
        ("net", [o - c - p for o, c, p in at], np.concatenate([has, later], axis=1)),
        (
            "revenue_net",
            [money(*a) for a in at],
            np.concatenate([has * rival_price[:, None], later * price[:, None]], axis=1),
        ),
    ):
        moved = weights * own[:, None]
        shares = Z95 * np.sqrt(np.einsum("ni,ij,nj->n", moved, spill.covariance, moved))
        estimate = values[0]
        lowest, highest = np.fmin.reduce(values), np.fmax.reduce(values)
        low, high = recovered(estimate, [(estimate - lowest, highest - estimate), (shares, shares)])
        low, high = scaled(estimate, low, high, log_spread=log_spread)
        short = "" if name == "net" else "revenue_"
        columns |= {name: estimate, f"{short}low": low, f"{short}high": high}
    return {n: pl.Series(n, v).fill_nan(None) for n, v in columns.items()}


def _rivals(rows: pl.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Base units of the store's rivals by kind, and what a unit of them costs."""
    group = ["store_id", "week_start", "category"]
    value = pl.col("baseline") * pl.col("base_price")
    priced = pl.col("baseline").filter(pl.col("base_price").is_not_null())
    made = rows.select(
        (pl.col("baseline").sum().over(*group, "type") - pl.col("baseline")).alias("type"),
        (
            pl.col("baseline").sum().over(group) - pl.col("baseline").sum().over(*group, "type")
        ).alias("category"),
        (value.sum() / priced.sum())
        .over(group)
        .fill_nan(None)
        .fill_null(pl.col("base_price"))
        .alias("price"),
    )
    of_type, of_category = (
        np.where(made[c].to_numpy() > _DUST, made[c].to_numpy(), 0.0) for c in ("type", "category")
    )
    return of_type, of_category, made["price"].cast(pl.Float64).fill_null(float("nan")).to_numpy()
