"""Plasmode: a real panel's stores, weeks and plans, with units whose true lift is known.

Whatever is real stays (which rows there are, what was promoted where and when, levels, seasons,
how counts scatter); effects are drawn, null ones among them, units are sold anew, and the truth of
each action is kept apart (Franklin et al., "Plasmode simulation for the evaluation of
pharmacoepidemiologic methods", Computational Statistics & Data Analysis 72, 2014).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import polars as pl

from models.lift.actions import ACTIONS, Action, action_terms
from models.lift.effects import Effects, week_means
from models.lift.levels import pair_levels
from models.lift.panel_index import KEY, PanelIndex
from models.simulator.responses import (
    action_truth,
    counts,
    expected_units,
    losses_to_rivals,
)


@dataclass(frozen=True)
class PlasmodeSettings:
    """What is injected. Means and spreads are on the log scale.

    Attributes:
        display_effect: Mean and spread over products.
        mailer_effect: The same.
        elasticity: The same, as a positive number.
        null_share: Share of products that no action moves.
        effect_scale: Multiplies every effect; 0 injects nothing.
        diversion_type: Share of incremental units taken from rivals of the type.
        diversion_category: From the category's other types.
        pull_forward: Missing one, two, ... weeks later.
        timing: Log units that a product sells more, without any cause by promotion, where all its
            stores promote it: promotion timed to demand.
        shock_sd: Spread of a product's own weekly demand over the chain.
        shock_memory: Share of it that is left a week later.
        dispersion: Variance of the gamma that spreads counts; 0 is Poisson.
    """

    display_effect: tuple[float, float] = (0.5, 0.25)
    mailer_effect: tuple[float, float] = (0.3, 0.2)
    elasticity: tuple[float, float] = (2.0, 0.7)
    null_share: float = 0.2
    effect_scale: float = 1.0
    diversion_type: float = 0.25
    diversion_category: float = 0.1
    pull_forward: tuple[float, ...] = (0.12, 0.06, 0.03)
    timing: float = 0.05
    shock_sd: float = 0.1
    shock_memory: float = 0.6
    dispersion: float = 0.3

    def without_effects(self) -> PlasmodeSettings:
        """The same, in which no action does anything."""
        return replace(self, effect_scale=0.0)


@dataclass(frozen=True)
class Plasmode:
    """A panel with known effects.

    Attributes:
        panel: The panel's rows with units sold anew.
        truth: Of the last week: ``store_id, product_id, week_start, action, own, cannibalised,
            pulled_forward, net`` in units.
        last: The week that the truth is of; what is fitted may know the weeks before.
    """

    panel: pl.DataFrame
    truth: pl.DataFrame
    last: date


def plasmode(
    panel: pl.DataFrame,
    effects: Effects,
    *,
    settings: PlasmodeSettings,
    seed: int,
    actions: Sequence[Action] = ACTIONS,
) -> Plasmode:
    """Sell a panel's units anew under known effects.

    Args:
        panel: The canonical demand panel.
        effects: Of ``estimate_effects(panel)``: levels and seasons to keep.
        settings: What is injected.
        seed: Of everything drawn.
        actions: Whose truth is kept.

    Raises:
        ValueError: The panel is not the one that ``effects`` were estimated on.
    """
    index = effects.index
    if panel.height != index.rows:
        raise ValueError(
            f"plasmode: the panel has {panel.height:,} rows, its effects know {index.rows:,}; "
            "estimate the effects on this panel"
        )
    rng = np.random.default_rng(seed)
    injected = _injected(settings, len(index.products), rng)
    base = _base(effects, settings, rng)
    relative = np.expm1(np.einsum("nk,nk->n", index.terms, injected[index.product]))
    incremental = base * relative
    lost = losses_to_rivals(
        base,
        incremental,
        type_group=index.type_group,
        category_group=index.category_group,
        diversion_type=settings.diversion_type,
        diversion_category=settings.diversion_category,
    )
    pulled = sum(
        (
            share * index.shifted(incremental, weeks)
            for weeks, share in enumerate(settings.pull_forward, start=1)
        ),
        start=np.zeros_like(base),
    )
    mean = expected_units(base, incremental, lost, pulled)
    size = 1.0 / settings.dispersion if settings.dispersion > 0.0 else None
    units = counts(mean, size=size, rng=rng)
    sold = panel.sort(*KEY).with_columns(
        pl.Series("units", units, dtype=pl.Int64),
        (pl.Series("units", units) * pl.col("price")).alias("revenue"),
    )
    return Plasmode(
        panel=sold,
        truth=_truth(index, sold, base, injected, settings, actions),
        last=sold["week_start"].max(),  # type: ignore[arg-type]
    )


def _injected(settings: PlasmodeSettings, products: int, rng: np.random.Generator) -> np.ndarray:
    """Effects by product and term."""
    drawn = [
        rng.normal(mean, spread, products)
        for mean, spread in (
            settings.display_effect,
            settings.mailer_effect,
            settings.elasticity,
        )
    ]
    moved = rng.random(products) >= settings.null_share
    return np.stack(drawn, axis=1) * moved[:, None] * settings.effect_scale


def _base(effects: Effects, settings: PlasmodeSettings, rng: np.random.Generator) -> np.ndarray:
    index, fixed = effects.index, effects.fixed
    products = len(index.products)
    shock = np.empty((products, index.weeks))
    noise = rng.normal(0.0, settings.shock_sd, shock.shape)
    shock[:, 0] = noise[:, 0]
    fresh = np.sqrt(1.0 - settings.shock_memory**2)
    for week in range(1, index.weeks):
        shock[:, week] = settings.shock_memory * shock[:, week - 1] + fresh * noise[:, week]
    promoted = (index.terms.sum(axis=1, keepdims=True) > 0.0).astype(np.float64)
    foreseen = settings.timing * week_means(index, promoted)[:, 0]
    # Levels that any pair may have: one that happened to sell nothing is not one that never would.
    level = pair_levels(index, exposure=effects.without_level()).units
    return (
        level[index.pair]
        * np.clip(fixed.category_week[index.category_week], 0.2, 5.0)
        * np.clip(fixed.store_week[index.store_week], 0.2, 5.0)
        * np.exp(shock[index.product, index.week] + foreseen)
    )


def _truth(
    index: PanelIndex,
    rows: pl.DataFrame,
    base: np.ndarray,
    injected: np.ndarray,
    settings: PlasmodeSettings,
    actions: Sequence[Action],
) -> pl.DataFrame:
    at = np.flatnonzero(index.week == index.weeks - 1)
    of_type = np.bincount(index.type_group, weights=base)[index.type_group][at]
    of_category = np.bincount(index.category_group, weights=base)[index.category_group][at]
    keys = rows[at].select(*KEY)
    parts = []
    for action, terms in zip(actions, action_terms(actions), strict=True):
        truth = action_truth(
            base[at],
            np.expm1(injected[index.product[at]] @ terms),
            rivals_of_type=_whole(of_type - base[at]),
            rivals_of_category=_whole(of_category - of_type),
            diversion_type=settings.diversion_type,
            diversion_category=settings.diversion_category,
            pull_forward=settings.pull_forward,
        )
        parts.append(
            keys.with_columns(
                pl.lit(action.name).alias("action"),
                **{n: pl.Series(n, v) for n, v in truth.items()},
            )
        )
    return pl.concat(parts).sort(*KEY, "action")


def _whole(rest: np.ndarray) -> np.ndarray:
    """Differences of sums without their dust."""
    return np.where(rest > 1e-9, rest, 0.0)  # noqa: PLR2004
