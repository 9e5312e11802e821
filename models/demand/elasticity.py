"""How sales answer to price and feature: three estimates, and what is wrong with the plainest.

All are on logs, so a coefficient of log price is an elasticity. ``pooled`` compares products with
each other: one that is dearer because it is liked better hides how shoppers answer to price.
``within`` compares each product with itself (an intercept per group). ``orthogonal`` is double
machine learning (Chernozhukov et al. 2018, "Double/debiased machine learning for treatment and
structural parameters", Econometrics Journal 21): what groups and controls explain of sales and of
price is learned by boosted trees on other folds and taken out first, so that the form of that
influence need not be known.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from models.demand.fixed_effects import Estimate, Regression, least_squares

POOLED, WITHIN, ORTHOGONAL = "pooled", "within", "orthogonal"

LOG_SALES, LOG_PRICE, FEATURE = "log_sales", "log_price", "feature"

FOLDS = 5
# Trees of the nuisance models: enough for a few hundred groups, small enough not to memorise.
TREES = 60
# The pooled estimate misleads if it is off by a tenth of the one within, beyond both errors.
MISLEADING = 0.1


@dataclass(frozen=True)
class Elasticity:
    """Estimates of one data set.

    Attributes:
        methods: Method to term to estimate.
        rows: Rows used.
        groups: Groups that are compared with themselves; 0 if none were named.
        clusters: Groups of rows with correlated errors.
        confounding: The pooled price elasticity less that within groups; ``None`` without them.
        between: Share of the variance of log price that lies between groups.
        warnings: Plain sentences; empty if nothing misleads.
    """

    methods: dict[str, dict[str, Estimate]]
    rows: int
    groups: int
    clusters: int
    confounding: float | None
    between: float | None
    warnings: tuple[str, ...]


def elasticity(
    frame: pl.DataFrame,
    *,
    sales: str,
    price: str,
    group: str | None = None,
    feature: str | None = None,
    cluster: str | None = None,
    seed: int = 1,
) -> Elasticity:
    """Estimate the price elasticity of sales, pooled, within groups and orthogonally.

    Args:
        frame: One row per product and occasion, sales and prices above zero.
        sales: Column of quantities.
        price: Column of prices.
        group: Products, brands: what is compared with itself.
        feature: 0/1 or a number: advertised, displayed.
        cluster: Rows whose errors go together, say a store's; each row by itself without it.
        seed: Of the folds.

    Raises:
        ValueError: A missing column, sales or prices that are not above zero, or a price that does
            not vary within groups.
    """
    rows = _logs(frame, sales=sales, price=price, feature=feature, group=group, cluster=cluster)
    terms = [LOG_PRICE, *([FEATURE] if feature else [])]
    found: dict[str, Regression] = {
        POOLED: least_squares(rows, outcome=LOG_SALES, terms=terms, cluster=cluster)
    }
    if group:
        found[WITHIN] = least_squares(
            rows, outcome=LOG_SALES, terms=terms, absorb=[group], cluster=cluster
        )
        found[ORTHOGONAL] = orthogonal(
            rows,
            outcome=LOG_SALES,
            terms=terms,
            controls=[],
            categories=[group],
            cluster=cluster,
            seed=seed,
        )
    methods = {name: regression.estimates for name, regression in found.items()}
    return Elasticity(
        methods=methods,
        rows=rows.height,
        groups=rows[group].n_unique() if group else 0,
        clusters=found[POOLED].clusters,
        confounding=_confounding(methods) if group else None,
        between=1.0 - found[WITHIN].within[LOG_PRICE] if group else None,
        warnings=_warnings(methods, group=group),
    )


def orthogonal(
    frame: pl.DataFrame,
    *,
    outcome: str,
    terms: Sequence[str],
    controls: Sequence[str],
    categories: Sequence[str] = (),
    cluster: str | None = None,
    weight: str | None = None,
    seed: int = 1,
    folds: int = FOLDS,
) -> Regression:
    """Double machine learning of a partially linear model, by econml's ``LinearDML``.

    Nuisances are boosted trees, fitted on other folds; a cluster is never split over folds. econml
    gives the residuals; the last regression, of residual on residuals, is done here, because its
    errors must be clustered.

    Args:
        frame: Rows with numbers in ``outcome``, ``terms`` and ``controls``.
        outcome: What is explained.
        terms: What has an effect; several are estimated at once.
        controls: Numbers that may drive both.
        categories: Columns of labels that may.
        cluster: As for ``fixed_effects.least_squares``.
        weight: Positive weights.
        seed: Of folds and trees.
        folds: Cross-fitting folds.

    Raises:
        ValueError: No controls at all, fewer clusters than folds, or a term that they explain.
    """
    if not controls and not categories:
        raise ValueError("orthogonal estimate: name controls or categories to take out")
    if cluster is not None and frame[cluster].n_unique() < folds:
        raise ValueError(
            f"orthogonal estimate: {frame[cluster].n_unique()} values of {cluster} for {folds} "
            "folds; name another cluster or fewer folds"
        )
    from econml.dml import LinearDML
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.model_selection import GroupKFold, KFold
    from sklearn.multioutput import MultiOutputRegressor

    # Codes by their own mean outcome would leak it; dense ranks do not, and trees split them.
    coded = frame.select(
        *(pl.col(c).cast(pl.Float64) for c in controls),
        *(pl.col(c).rank("dense").cast(pl.Float64).alias(f"_{c}") for c in categories),
    ).to_numpy()
    marked = [len(controls) + i for i in range(len(categories))]
    few = [i for i in marked if np.unique(coded[:, i]).size <= _MOST_LABELS]

    def trees() -> HistGradientBoostingRegressor:
        return HistGradientBoostingRegressor(
            max_iter=TREES, max_leaf_nodes=15, categorical_features=few or None, random_state=seed
        )

    splitter = (
        GroupKFold(n_splits=folds)
        if cluster
        else KFold(n_splits=folds, shuffle=True, random_state=seed)
    )
    groups = frame[cluster].rank("dense").to_numpy() if cluster else None
    estimator = LinearDML(
        model_y=trees(),
        model_t=trees() if len(terms) == 1 else MultiOutputRegressor(trees()),
        cv=list(splitter.split(coded, groups=groups)),
        random_state=seed,
    )
    effects = frame.select(pl.col(c).cast(pl.Float64) for c in terms).to_numpy()
    with warnings.catch_warnings():
        # Of sklearn's own calls inside econml; nothing a reader could act on.
        warnings.simplefilter("ignore", category=FutureWarning)
        estimator.fit(
            frame[outcome].cast(pl.Float64).to_numpy(),
            effects[:, 0] if len(terms) == 1 else effects,
            X=None,
            W=coded,
            sample_weight=None if weight is None else frame[weight].to_numpy(),
            cache_values=True,
            inference=None,
        )
    left_y, left_t, _, _ = estimator.residuals_
    kept = [c for c in dict.fromkeys((cluster, weight)) if c is not None]
    own = np.asarray(left_t).reshape(frame.height, -1)
    residuals = pl.DataFrame(
        {
            **{name: frame[name] for name in kept},
            "_y": np.asarray(left_y).ravel(),
            **{term: own[:, i] for i, term in enumerate(terms)},
        }
    )
    return least_squares(residuals, outcome="_y", terms=terms, cluster=cluster, weight=weight)


# Of HistGradientBoosting: more labels than it has bins are taken as numbers.
_MOST_LABELS = 254


def _logs(
    frame: pl.DataFrame,
    *,
    sales: str,
    price: str,
    feature: str | None,
    group: str | None,
    cluster: str | None,
) -> pl.DataFrame:
    wanted = [c for c in (sales, price, feature, group, cluster) if c is not None]
    missing = [c for c in wanted if c not in frame.columns]
    if missing:
        raise ValueError(f"no column {', '.join(missing)} among {', '.join(frame.columns)}")
    rows = frame.select(list(dict.fromkeys(wanted))).drop_nulls()
    if rows.is_empty():
        raise ValueError(f"no row has a value in each of {', '.join(wanted)}")
    for column in (sales, price):
        bad = rows.filter(~(pl.col(column).cast(pl.Float64, strict=False) > 0)).height
        if bad:
            raise ValueError(
                f"{column} is not above zero in {bad:,} of {rows.height:,} rows: logs need it; for "
                "counts with zeros use demand.panel_elasticity"
            )
    named = [c for c in dict.fromkeys((group, cluster)) if c is not None]
    return rows.select(
        pl.col(sales).cast(pl.Float64).log().alias(LOG_SALES),
        pl.col(price).cast(pl.Float64).log().alias(LOG_PRICE),
        *([pl.col(feature).cast(pl.Float64).alias(FEATURE)] if feature else []),
        *named,
    )


def _confounding(methods: dict[str, dict[str, Estimate]]) -> float:
    return methods[POOLED][LOG_PRICE].estimate - methods[WITHIN][LOG_PRICE].estimate


def _warnings(methods: dict[str, dict[str, Estimate]], *, group: str | None) -> tuple[str, ...]:
    pooled = methods[POOLED][LOG_PRICE]
    if group is None:
        said = (
            f"The elasticity of {pooled.estimate:.2f} compares different products with each other. "
            "If dearer ones are liked better it is wrong; name what identifies a product to see."
        )
        return (said,)
    within = methods[WITHIN][LOG_PRICE]
    gap = pooled.estimate - within.estimate
    beyond = abs(gap) > np.hypot(pooled.high - pooled.estimate, within.high - within.estimate)
    if not (beyond and abs(gap) > MISLEADING * abs(within.estimate)):
        return ()
    dearer = "more" if gap > 0 else "less"
    said = (
        f"Do not use the pooled elasticity of {pooled.estimate:.2f}: it is confounded by {group}. "
        f"Dearer {group} values sell {dearer} at any price, which the pooled line takes for an "
        f"answer to price. Compared with itself, each {group} shows {within.estimate:.2f} "
        f"({within.low:.2f} to {within.high:.2f}); the confounding is {gap:+.2f}, "
        f"{abs(gap / within.estimate):.0%} of the elasticity."
    )
    return (said,)
