"""How good the evidence for an action's lift is: experiment, identified, or model only.

``identified`` is claimed by declared rules and for one product and action at a time; whatever
misses one of them is ``model_only``, and may propose a test but not claim value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from models.lift.actions import Action, action_terms
from models.lift.bounds import Z95
from models.lift.effects import Effects
from models.lift.own_effects import information

EXPERIMENT, IDENTIFIED, MODEL_ONLY = "experiment", "identified", "model_only"
LEVELS = (EXPERIMENT, IDENTIFIED, MODEL_ONLY)


@dataclass(frozen=True)
class Rules:
    """When an observational lift counts as identified.

    Attributes:
        treated_weeks: Weeks in which the product had each part of the action, at least: fewer
            cannot be told from a few odd weeks. Not asked where stores with and without it in the
            *same* week decide by themselves (``own_data``): an odd week is one for both.
        treated_stores: Stores in which it had them, at least.
        own_data: Share of the effect's variance that the product's own data removed, at least;
            below it the estimate is other products' rather than its own.
        most_treated: Overlap: in at most this share of its store-weeks it had the part, so that
            there is something to compare with.
        placebo_rate: Nothing responds to the promotion of the week after. Products that seem to are
            not identified; at most this share of them is turned away by chance (false discoveries,
            Benjamini and Hochberg 1995: a hundred products tested at 1.96 standard errors each
            would turn away five that are sound).
        placebo: The same for the chain, one test: largest response in standard errors.
        placebo_share: A response of the chain below this share of the effect passes, however
            precisely it is known.
    """

    treated_weeks: int = 4
    treated_stores: int = 3
    own_data: float = 0.5
    most_treated: float = 0.8
    placebo_rate: float = 0.05
    placebo: float = Z95
    placebo_share: float = 0.15


@dataclass(frozen=True)
class Placebo:
    """Responses to the promotion of the week after.

    Attributes:
        effect: By product and term, unpooled.
        covariance: By product.
        chain_effect: Over all products, by term.
        chain_covariance: Of the same.
    """

    effect: np.ndarray
    covariance: np.ndarray
    chain_effect: np.ndarray
    chain_covariance: np.ndarray


def placebo(effects: Effects) -> Placebo:
    """Regress the week before a promotion, when nothing was promoted yet, on the promotion."""
    index = effects.index
    quiet = index.terms.sum(axis=1) == 0.0
    lead = np.stack([index.shifted(t, -1) for t in index.terms.T], axis=1) * quiet[:, None]
    k = lead.shape[1]
    info = information(
        index,
        terms=lead,
        mean=effects.expected(),
        at=np.zeros((len(index.products), k)),
        timing=np.zeros(k),
        noise=effects.noise,
    )
    weighted = info.within_weighted + info.between_weighted
    covariance = np.linalg.inv(info.precision)
    chain = np.linalg.inv(info.precision.sum(axis=0))
    return Placebo(
        effect=np.einsum("pij,pj->pi", covariance, weighted),
        covariance=covariance,
        chain_effect=chain @ weighted.sum(axis=0),
        chain_covariance=chain,
    )


def identified(
    effects: Effects, actions: Sequence[Action], *, rules: Rules | None = None
) -> np.ndarray:
    """Whether each product's lift of each action is identified (products by actions, bool)."""
    rules = rules or Rules()
    index = effects.index
    products = len(index.products)
    used = np.asarray(index.terms > 0.0)
    rows = np.maximum(np.bincount(index.product, minlength=products), 1)
    often = np.stack(
        [_distinct(index.product, index.week, u, products) >= rules.treated_weeks for u in used.T],
        axis=1,
    )
    tried = np.stack(
        [
            (_distinct(index.product, index.store, u, products) >= rules.treated_stores)
            & (
                np.bincount(index.product, weights=u, minlength=products) / rows
                <= rules.most_treated
            )
            for u in used.T
        ],
        axis=1,
    )
    deepest = np.zeros(products)
    np.maximum.at(deepest, index.product, index.terms[:, 2])
    before = placebo(effects)
    prior = np.diag(effects.pool.spread**2)
    # What would be left of the prior's variance if stores of the same week were all there is.
    of_stores = np.linalg.inv(effects.info.within + np.linalg.inv(prior))
    found = np.zeros((products, len(actions)), dtype=bool)
    for i, x in enumerate(action_terms(actions)):
        parts = np.flatnonzero(x)
        variance = np.einsum("i,pij,j->p", x, effects.covariance, x)
        own_data = 1.0 - variance / float(x @ prior @ x)
        same_week = 1.0 - np.einsum("i,pij,j->p", x, of_stores, x) / float(x @ prior @ x)
        z = (before.effect @ x) / np.sqrt(np.einsum("i,pij,j->p", x, before.covariance, x))
        chain = float(before.chain_effect @ x)
        chain_z = chain / float(np.sqrt(x @ before.chain_covariance @ x))
        possible = (
            tried[:, parts].all(axis=1)
            & (often[:, parts].all(axis=1) | (same_week >= rules.own_data))
            & (own_data >= rules.own_data)
        )
        chain_passes = abs(chain_z) <= rules.placebo or abs(chain) <= rules.placebo_share * abs(
            float(effects.pool.mean @ x)
        )
        found[:, i] = (
            possible
            & ~falsified(z, tested=possible, rate=rules.placebo_rate)
            # A depth that was never tried is an extrapolation; rounding is not.
            & (x[2] <= deepest * 1.05)
            & chain_passes
        )
    return found


def falsified(z: np.ndarray, *, tested: np.ndarray, rate: float) -> np.ndarray:
    """Which of many placebo tests fail, chance failures kept to a share of ``rate`` of those.

    Args:
        z: Responses in standard errors.
        tested: Those that belong to the family; others do not fail.
        rate: False discovery rate, in (0, 1).
    """
    from scipy.stats import false_discovery_control

    failed = np.zeros(z.size, dtype=bool)
    if tested.any():
        failed[tested] = false_discovery_control(2.0 * ndtr(-np.abs(z[tested]))) <= rate
    return failed


def _distinct(
    product: np.ndarray, other: np.ndarray, used: np.ndarray, products: int
) -> np.ndarray:
    """How many values of ``other`` each product was used in."""
    size = int(other.max()) + 1
    pairs = np.unique(product[used].astype(np.int64) * size + other[used])
    return np.bincount(pairs // size, minlength=products)
