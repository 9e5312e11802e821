"""All effects of a panel together: fixed effects, own effects, and where the units come from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from models.lift.actions import TERMS
from models.lift.fixed_effects import FixedEffects, fit_fixed_effects
from models.lift.levels import pair_levels
from models.lift.noise import Noise, noise_of
from models.lift.own_effects import Information, Pooling, information, pooling, posterior
from models.lift.panel_index import PanelIndex, group_sums, panel_index
from models.lift.settings import LiftSettings
from models.lift.spill_over import SpillOver, left_over, no_data, regressors, spill_over

# Beyond a factor of about forty a fit has gone astray on a thin product.
_MOST_LOG = 3.7
# Spill-over needs own effects that have settled.
_CYCLES_BEFORE_SPILL = 2


@dataclass(frozen=True)
class Effects:
    """What a panel says of its promotions.

    Attributes:
        index: The panel.
        fixed: Effects of store-product, category-week and store-week.
        own: Posterior mean of the own effects by product and term.
        covariance: By product.
        info: What each product's own data say, unpooled.
        pool: The distribution over products.
        spill: Where incremental units come from.
        noise: Of the counts.
        settings: Assumptions.
        columns: What each row loses for shares of 1, by kind (``spill_over.regressors``).
    """

    index: PanelIndex
    fixed: FixedEffects
    own: np.ndarray
    covariance: np.ndarray
    info: Information
    pool: Pooling
    spill: SpillOver
    noise: Noise
    settings: LiftSettings
    columns: np.ndarray

    def expected(self) -> np.ndarray:
        """Expected units of each row."""
        return self.fixed.pair[self.index.pair] * self.without_level()

    def without_level(self) -> np.ndarray:
        """Expected units of each row per unit of its pair's level."""
        index = self.index
        log_own = _log_own(self.own, index.terms, index)
        log_own += week_means(index, index.terms) @ self.pool.timing
        return (
            self.fixed.weeks_of(index) * np.exp(log_own) * left_over(self.columns, self.spill.mean)
        )


def estimate_effects(panel: pl.DataFrame, *, settings: LiftSettings | None = None) -> Effects:
    """Estimate every effect from the weeks of a panel.

    Args:
        panel: The canonical demand panel; only weeks that have ended.
        settings: Assumptions.

    Raises:
        ValueError: As ``panel_index``; or nothing was sold.
    """
    settings = settings or LiftSettings()
    index = panel_index(panel)
    if index.units.sum() <= 0.0:
        raise ValueError("demand panel: nothing was sold, so no effect can be estimated")
    terms = index.terms
    products, k = len(index.products), terms.shape[1]
    own = np.zeros((products, k))
    pool = Pooling(
        np.zeros(k), np.full(k, settings.prior_spread), np.zeros(k), 1e-2 * np.eye(2 * k)
    )
    spill = no_data(settings)
    at = np.zeros(spill.mean.size)
    columns = np.zeros((index.rows, at.size))
    week_terms = week_means(index, terms)
    fixed = FixedEffects.ones(index)
    for cycle in range(settings.cycles):
        other = left_over(columns, at)
        log_own = _log_own(own, terms, index)
        log_own += week_terms @ pool.timing
        fixed = fit_fixed_effects(index, factor=np.exp(log_own) * other, start=fixed)
        mean = fixed.of(index) * other * np.exp(log_own)
        noise = noise_of(index, mean)
        info = information(index, terms=terms, mean=mean, at=own, timing=pool.timing, noise=noise)
        pool = pooling(info, start=pool.spread, timing_spread=settings.timing_spread)
        own, covariance = posterior(info, pool)
        if cycle >= _CYCLES_BEFORE_SPILL:
            relative = _relative(own, covariance, terms, index)
            weeks = fixed.weeks_of(index) * np.exp(week_terms @ pool.timing)
            # Shrunk: the noise of a pair's own level would pass for what it takes from rivals.
            level = pair_levels(
                index, exposure=weeks * other * np.exp(_log_own(own, terms, index))
            ).units[index.pair]
            columns = regressors(
                index, base=level * weeks, relative=relative, pull_weeks=settings.pull_weeks
            )
            log_own = _log_own(own, terms, index)
            spill = spill_over(
                index,
                columns=columns,
                at=at,
                mean=fixed.pair[index.pair] * weeks * left_over(columns, at) * np.exp(log_own),
                own=terms,
                own_precision=np.broadcast_to(np.diag(1.0 / pool.spread**2), (products, k, k)),
                settings=settings,
            )
            at = spill.mean
    return Effects(
        index=index,
        fixed=fixed,
        own=own,
        covariance=covariance,
        info=info,
        pool=pool,
        spill=spill,
        noise=noise,
        settings=settings,
        columns=columns,
    )


def summary(effects: Effects) -> dict[str, float]:
    """The chain's effects in a few numbers, logs where not said otherwise."""
    pool, spill = effects.pool, effects.spill
    figures = {
        "rows": float(effects.index.rows),
        "products": float(len(effects.index.products)),
        "rivals_of_type_share": spill.type_share,
        "rivals_of_category_share": spill.category_share,
        "pulled_forward_share": float(spill.pull_shares.sum()),
    }
    errors = np.sqrt(np.diag(pool.covariance))
    for i, term in enumerate(TERMS):
        figures |= {
            f"{term}_mean": float(pool.mean[i]),
            f"{term}_mean_error": float(errors[i]),
            f"{term}_spread": float(pool.spread[i]),
            f"{term}_timing": float(pool.timing[i]),
        }
    return figures


def week_means(index: PanelIndex, terms: np.ndarray) -> np.ndarray:
    """By row, the mean of the terms over the product's stores in the week."""
    rows = np.bincount(index.product_week)
    sums = group_sums(index.product_week, terms, rows.size)
    return (sums / np.maximum(rows, 1)[:, None])[index.product_week]


def _log_own(own: np.ndarray, terms: np.ndarray, index: PanelIndex) -> np.ndarray:
    """Log of what own promotion multiplies units by; only promoted rows are worked on."""
    log_factor = np.zeros(index.rows)
    rows = np.flatnonzero(terms.any(axis=1))
    values = np.einsum("nk,nk->n", terms[rows], own[index.product[rows]])
    log_factor[rows] = np.clip(values, -_MOST_LOG, _MOST_LOG)
    return log_factor


def _relative(
    own: np.ndarray, covariance: np.ndarray, terms: np.ndarray, index: PanelIndex
) -> np.ndarray:
    """Expected own incremental units over the base, by row."""
    relative = np.zeros(index.rows)
    rows = np.flatnonzero(terms.any(axis=1))
    product = index.product[rows]
    x = terms[rows]
    values = np.einsum("nk,nk->n", x, own[product])
    spread = np.einsum("ni,nij,nj->n", x, covariance[product], x)
    relative[rows] = np.expm1(np.clip(values + spread / 2.0, -_MOST_LOG, _MOST_LOG))
    return relative
