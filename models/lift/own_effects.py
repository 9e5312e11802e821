"""Own effects: how a product's sales answer its display, mailer and price, with partial pooling.

A Poisson pseudo-likelihood (Santos Silva and Tenreyro, "The Log of Gravity", 2006) with effects of
store-product, category-week and store-week; signs are free. What the data say comes in two parts:
stores that did against stores that did not in the *same* week, and weeks with against weeks
without. The second is biased where promotions seek weeks of high demand; the bias is estimated by
comparing the two over all products, with a prior about 0, and taken out. Each product's effects
are drawn towards those of all products by as much as its own data leave open (empirical Bayes,
Efron and Morris 1975).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.lift.noise import Noise
from models.lift.panel_index import PanelIndex, group_sums

# Keeps matrices of products that never tried a kind of action invertible.
_RIDGE = 1e-6
_LEAST_SPREAD = 0.02
# Of the gradient, per product.
_ENOUGH = 1e-3
# A factor of twenty for one spread: no promotion differs more from product to product.
_MOST_LOG_SPREAD = float(np.log(3.0))
# Size of a term when it is used: 1 for a display or mailer, the log of a fifth off for a price.
_TYPICAL = np.array([1.0, 1.0, 0.22])
# Of a log effect per cycle.
_MOST_STEP = 1.0
# Panels are nearly balanced, where one sweep is exact.
_SWEEPS = 3


@dataclass(frozen=True)
class Information:
    """What products' own data say of their effects, without any pooling.

    Attributes:
        within: Precision by product, K by K, from stores in the same week.
        within_weighted: ``within`` times the unpooled estimate.
        between: Precision from weeks.
        between_weighted: The same for ``between``.
    """

    within: np.ndarray
    within_weighted: np.ndarray
    between: np.ndarray
    between_weighted: np.ndarray

    @property
    def precision(self) -> np.ndarray:
        return self.within + self.between


@dataclass(frozen=True)
class Pooling:
    """The distribution of effects over products.

    Attributes:
        mean: By term.
        spread: Standard deviation over products, by term.
        timing: By term, what weeks with promotion sell more for other reasons than promotion.
        covariance: Of mean and timing together, 2K by 2K.
    """

    mean: np.ndarray
    spread: np.ndarray
    timing: np.ndarray
    covariance: np.ndarray


def centred(values: np.ndarray, mean: np.ndarray, codes: tuple[np.ndarray, ...]) -> np.ndarray:
    """Columns less their weighted means by each code in turn."""
    totals = [np.maximum(np.bincount(c, weights=mean), 1e-12) for c in codes]
    left = np.empty_like(values, dtype=np.float64, order="F")
    for i, values_of in enumerate(values.T):
        column = np.array(values_of, dtype=np.float64)
        for _ in range(1 if len(codes) == 1 else _SWEEPS):
            for code, total in zip(codes, totals, strict=True):
                column -= (np.bincount(code, weights=column * mean) / total)[code]
        left[:, i] = column
    return left


def information(
    index: PanelIndex,
    *,
    terms: np.ndarray,
    mean: np.ndarray,
    at: np.ndarray,
    timing: np.ndarray,
    noise: Noise,
) -> Information:
    """A quadratic approximation of each product's likelihood.

    Args:
        index: The panel.
        terms: Rows by K: what the effects belong to.
        mean: Expected units of the rows.
        at: Products by K: effects that ``mean`` was computed with.
        timing: K: the timing that ``mean`` was computed with.
        noise: Of the counts.
    """
    products, k = len(index.products), terms.shape[1]
    residual = index.units - mean
    variance = noise.of_rows(mean)
    all_x = centred(terms, mean, (index.pair,))
    store_x = centred(terms, mean, (index.pair, index.product_week))
    # Of the centred terms, the part that a product's stores share in a week.
    week_x = all_x - store_x

    def sums(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
        made = np.empty((products, k, k))
        for i in range(k):
            for j in range(i + 1):
                total = np.bincount(
                    index.product, weights=weight * x[:, i] * x[:, j], minlength=products
                )
                made[:, i, j] = made[:, j, i] = total
        return made

    eye = _RIDGE * np.eye(k)
    of_stores = sums(store_x, mean) + eye
    within = _part(of_stores, sums(store_x, variance) + eye)
    store_score = group_sums(index.product, store_x * residual[:, None], products)
    # What the category's own week effect takes up: all of it for a category of one product.
    cells = group_sums(index.product_week, week_x * mean[:, None], products * index.weeks)
    cells = cells.reshape(products, index.weeks, k)
    category_of = np.zeros(products, dtype=np.int64)
    category_of[index.product] = index.category
    of_category = np.bincount(
        index.category_week, weights=mean, minlength=len(index.categories) * index.weeks
    ).reshape(-1, index.weeks)
    share = cells / np.sqrt(np.maximum(of_category[category_of], 1e-12))[:, :, None]
    of_weeks = sums(week_x, mean) + eye - np.einsum("pwi,pwj->pij", share, share)
    shocks = noise.shock * np.einsum("pwi,pwj->pij", cells, cells)
    between = _part(of_weeks, sums(week_x, variance) + shocks + eye)
    week_score = group_sums(index.product, week_x * residual[:, None], products)
    step = np.linalg.solve(
        of_stores + of_weeks + np.eye(k), (store_score + week_score)[:, :, None]
    )[:, :, 0]
    # Far from its effect a product's quadratic points past it: it goes there in steps.
    damped = np.minimum(1.0, _MOST_STEP / np.maximum(np.abs(step).max(axis=1), _RIDGE))[:, None]
    return Information(
        within=within[0],
        within_weighted=_mul(within[0], at) + damped * _mul(within[1], store_score),
        between=between[0],
        between_weighted=_mul(between[0], at + timing) + damped * _mul(between[1], week_score),
    )


def pooling(info: Information, *, start: np.ndarray, timing_spread: float) -> Pooling:
    """Mean, spread and timing that make what the products' own data say most likely.

    The effects are integrated out. For a given spread mean and timing have a closed form; the
    spread is found with the gradient of Fisher's identity, which is the EM step's own move.

    Args:
        info: Of the products.
        start: Spread by term to begin from.
        timing_spread: Of the prior of the timing about 0, in log units of a typical use.

    Raises:
        RuntimeError: The search for the spread did not come to its end.
    """
    from scipy.optimize import minimize

    given = _timing_prior(start.size, timing_spread)

    def loss(log_spread: np.ndarray) -> tuple[float, np.ndarray]:
        fitted = _given_spread(info, np.exp(log_spread), given)
        return -fitted.likelihood, -fitted.gradient

    least = np.log(_LEAST_SPREAD)
    found = minimize(
        loss,
        np.clip(np.log(start), least, _MOST_LOG_SPREAD),
        jac=True,
        method="L-BFGS-B",
        bounds=[(least, _MOST_LOG_SPREAD)] * start.size,
        options={"ftol": 1e-12, "gtol": 1e-6, "maxiter": 200},
    )
    # At the last digit a line search may find nothing better; that is the end, too.
    inside = (found.x > least) & (found.x < _MOST_LOG_SPREAD)
    left = float(np.abs(found.jac[inside]).max(initial=0.0))
    if not (np.isfinite(found.fun) and (found.success or left < _ENOUGH)):
        raise RuntimeError(
            f"pooling of own effects: no spread was found ({found.message}; likelihood "
            f"{found.fun:.4g}, gradient {left:.2g})"
        )
    spread = np.exp(found.x)
    fitted = _given_spread(info, spread, given)
    k = spread.size
    return Pooling(
        mean=fitted.solved[:k],
        spread=spread,
        timing=fitted.solved[k:],
        covariance=fitted.covariance,
    )


@dataclass(frozen=True)
class _Given:
    """What a spread comes to: likelihood and gradient (by log spread) per product."""

    likelihood: float
    gradient: np.ndarray
    solved: np.ndarray
    covariance: np.ndarray


def _timing_prior(k: int, timing_spread: float) -> np.ndarray:
    return np.diag(np.r_[np.full(k, _RIDGE), (timing_spread / _TYPICAL[:k]) ** -2.0])


def _given_spread(info: Information, spread: np.ndarray, given: np.ndarray) -> _Given:
    k, products = spread.size, len(info.within)
    h_all = info.within_weighted + info.between_weighted
    prior = np.diag(1.0 / spread**2)
    sigma = np.linalg.inv(info.precision + prior)
    pull = sigma @ info.between
    # The likelihood of mean and timing, with the effects integrated out.
    total = given.copy()
    across = (prior @ pull).sum(axis=0)
    total[:k, :k] += (prior - prior @ sigma @ prior).sum(axis=0)
    total[:k, k:] += across
    total[k:, :k] += across.T
    total[k:, k:] += (info.between - info.between @ pull).sum(axis=0)
    shrunk = _mul(sigma, h_all)
    right = np.r_[
        (prior @ shrunk.T).sum(axis=1),
        (info.between_weighted - _mul(info.between, shrunk)).sum(axis=0),
    ]
    joint = np.linalg.inv(total)
    solved = joint @ right
    mean, timing = solved[:k], solved[k:]
    likelihood = 0.5 * (
        right @ solved
        + np.einsum("pi,pi->", h_all, shrunk)
        + np.linalg.slogdet(sigma)[1].sum()
        - 2.0 * products * np.log(spread).sum()
    )
    effects = shrunk + _mul(sigma, prior @ mean - _mul(info.between, timing))
    second = np.einsum("pii->pi", sigma) + (effects - mean) ** 2
    return _Given(
        likelihood=float(likelihood / products),
        gradient=second.mean(axis=0) / spread**2 - 1.0,
        solved=solved,
        covariance=joint,
    )


def posterior(info: Information, pool: Pooling) -> tuple[np.ndarray, np.ndarray]:
    """Effects by product and their covariances; mean and timing are uncertain, too."""
    prior = np.diag(1.0 / pool.spread**2)
    sigma = np.linalg.inv(info.precision + prior)
    weighted = info.within_weighted + info.between_weighted - _mul(info.between, pool.timing)
    effects = _mul(sigma, weighted + prior @ pool.mean)
    moves = np.concatenate([sigma @ prior, -(sigma @ info.between)], axis=2)
    covariance = sigma + moves @ pool.covariance @ np.swapaxes(moves, 1, 2)
    return effects, _symmetric(covariance)


def _part(hessian: np.ndarray, variance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Precision that allows for the variance of the score, and what turns a score into it."""
    weight = hessian @ np.linalg.inv(variance)
    return _symmetric(weight @ hessian), weight


def _mul(matrices: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    return np.einsum("pij,pj->pi", matrices, np.broadcast_to(vectors, matrices.shape[:2]))


def _symmetric(matrices: np.ndarray) -> np.ndarray:
    return (matrices + np.swapaxes(matrices, 1, 2)) / 2.0
