"""Where incremental units come from: rivals beside the product, and its own later weeks.

Shares, not cross-elasticities (van Heerde, Leeflang and Wittink 2004): of the units a promotion
adds, so much is taken from rivals of the type, from the category's other types, and from the
weeks after. A product that does not respond then takes nothing from anybody. Estimated by
comparing stores that promoted with stores that did not in the same week of the same product, so
that a good week of the product is not taken for an
effect; the errors are clustered by store and by week at once (Cameron, Gelbach and Miller 2011).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.lift.own_effects import centred
from models.lift.panel_index import PanelIndex, group_sums
from models.lift.settings import LiftSettings

# Caps what one thin cell may claim: five times what its rivals sell.
_MOST_TAKEN = 5.0
# Below this many units there is nobody to take from.
_NOTHING = 1e-9
# Rows with more promoted beside or before them, in units of what they sell, do not tell shares.
_CLEAR, _CLEAR_LATER = 1.0, 4.0
# Of a row's units so much is left, whatever was promoted beside or before it.
_LEAST_LEFT = 0.2


@dataclass(frozen=True)
class SpillOver:
    """Shares of incremental units that come from elsewhere.

    Attributes:
        mean: Posterior mean: rivals of the type, of the category's other types, weeks after.
        covariance: Of the same.
        data_share: How much of each the data decided, from 0 (all prior) to 1.
    """

    mean: np.ndarray
    covariance: np.ndarray
    data_share: np.ndarray

    @property
    def type_share(self) -> float:
        return float(self.mean[0])

    @property
    def category_share(self) -> float:
        return float(self.mean[1])

    @property
    def pull_shares(self) -> np.ndarray:
        return self.mean[2:]


def prior_of(settings: LiftSettings) -> tuple[np.ndarray, np.ndarray]:
    """Means and spreads of the shares' priors."""
    priors = [
        settings.diversion,
        settings.diversion_category,
        *[settings.pull_forward] * settings.pull_weeks,
    ]
    return np.array([p[0] for p in priors]), np.array([p[1] for p in priors])


def no_data(settings: LiftSettings) -> SpillOver:
    """The prior alone."""
    mean, spread = prior_of(settings)
    return SpillOver(mean, np.diag(spread**2), np.zeros(mean.size))


def regressors(
    index: PanelIndex, *, base: np.ndarray, relative: np.ndarray, pull_weeks: int
) -> np.ndarray:
    """What each row loses, relative to its base, for a share of 1 of every kind.

    Args:
        index: The panel.
        base: Expected units without own promotion.
        relative: Own incremental units over the base.
        pull_weeks: Weeks after a promotion.
    """
    incremental = base * relative
    of_type = np.bincount(index.type_group, weights=base)[index.type_group]
    of_category = np.bincount(index.category_group, weights=base)[index.category_group]
    within = taken(incremental, of_type - base)
    across = taken(incremental, of_category - of_type)
    sum_within = np.bincount(index.type_group, weights=within)[index.type_group]
    sum_across = np.bincount(index.category_group, weights=across)[index.category_group]
    own_type_across = np.bincount(index.type_group, weights=across)[index.type_group]
    columns = [-(sum_within - within), -(sum_across - own_type_across)]
    columns += [-index.shifted(relative, k) for k in range(1, pull_weeks + 1)]
    # What is lost is lost from the base, so it weighs less beside an own promotion.
    return np.stack(columns, axis=1) / np.maximum(1.0 + relative, _LEAST_LEFT)[:, None]


def left_over(columns: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """The factor by which each row sells less for what is promoted beside and before it."""
    return np.maximum(1.0 + columns @ shares, _LEAST_LEFT)


def taken(incremental: np.ndarray, rivals: np.ndarray) -> np.ndarray:
    """Incremental units over what rivals sell; 0 where there are none."""
    there = rivals > _NOTHING
    share = np.where(there, incremental / np.where(there, rivals, 1.0), 0.0)
    return np.clip(share, -_MOST_TAKEN, _MOST_TAKEN)


def spill_over(
    index: PanelIndex,
    *,
    columns: np.ndarray,
    at: np.ndarray,
    mean: np.ndarray,
    own: np.ndarray,
    own_precision: np.ndarray,
    settings: LiftSettings,
) -> SpillOver:
    """One Newton step for the shares from ``at``, joined with their prior.

    Args:
        index: The panel.
        columns: Of ``regressors``.
        at: Shares that ``mean`` was computed with.
        mean: Expected units of each row.
        own: Own terms, which the shares must not be confused with.
        own_precision: By product, what binds the own effects, pooling included.
        settings: With the priors.
    """
    codes = (index.store_week, index.product_week, index.pair)
    # Left out where much more is promoted than sold beside it: a thin store's ratios are noise, and
    # what cannot be taken twice is no longer in proportion.
    clear = np.abs(columns[:, :2]).sum(axis=1) <= _CLEAR
    clear &= np.abs(columns[:, 2:]).max(axis=1) <= _CLEAR_LATER
    mean = mean * clear
    # How the log of the mean moves with each share.
    slopes = columns / left_over(columns, at)[:, None]
    x = centred(slopes, mean, codes)
    del slopes
    _take_out_own(index, x, mean, centred(own, mean, codes), own_precision)
    residual = index.units * clear - mean
    hessian = np.stack([(column * mean) @ x for column in x.T])
    scale = np.maximum(np.diag(hessian), 0.0)
    hessian += np.diag(1e-9 + 1e-9 * scale)
    score = x.T @ residual
    meat = _clustered(index, x * residual[:, None])
    inverse = np.linalg.inv(hessian)
    covariance = inverse @ meat @ inverse
    count = at.size
    estimate = at + inverse @ score
    prior_mean, prior_spread = prior_of(settings)
    of_type, of_category, later = settings.share_error
    error = np.array([of_type, of_category, *[later] * (count - 2)])
    data = np.linalg.inv(covariance + np.diag(error**2))
    prior = np.diag(1.0 / prior_spread**2)
    joint = np.linalg.inv(data + prior)
    joined = joint @ (data @ estimate + prior @ prior_mean)
    return SpillOver(
        mean=joined,
        covariance=joint,
        data_share=1.0 - np.diag(joint) / prior_spread**2,
    )


def _take_out_own(
    index: PanelIndex,
    columns: np.ndarray,
    mean: np.ndarray,
    own: np.ndarray,
    own_precision: np.ndarray,
) -> None:
    """Take what own terms explain out of the columns, in place: a chain has 14 million rows."""
    products = len(index.products)
    k, m = own.shape[1], columns.shape[1]
    cross = np.stack(
        [
            group_sums(index.product, (own * (mean * columns[:, j])[:, None]), products)
            for j in range(m)
        ],
        axis=2,
    )
    hessian = np.empty((products, k, k))
    for i in range(k):
        hessian[:, i] = group_sums(index.product, own * (mean * own[:, i])[:, None], products)
    slopes = np.linalg.solve(hessian + own_precision, cross)
    for j in range(m):
        columns[:, j] -= np.einsum("ni,ni->n", own, slopes[index.product, :, j])


def _clustered(index: PanelIndex, scores: np.ndarray) -> np.ndarray:
    """Two-way clustered variance of the score; never below that of one way alone."""

    def outer(codes: np.ndarray) -> np.ndarray:
        sums = group_sums(codes, scores, int(codes.max()) + 1)
        return sums.T @ sums

    by_store, by_week = outer(index.store), outer(index.week)
    both = by_store + by_week - outer(index.store_week)
    if np.linalg.eigvalsh(both)[0] <= 0.0:
        both = by_store + by_week
    for one in (by_store, by_week):
        if np.any(np.diag(both) < np.diag(one)):
            both = by_store if np.trace(by_store) > np.trace(by_week) else by_week
    return both
