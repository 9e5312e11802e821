"""Regressions with absorbed effects: least squares and Poisson, errors clustered.

Effects of products, stores or weeks are taken out by weighted alternating projections instead of
dummies. The Poisson is that of Correia, Guimaraes and Zylkin (2020, Stata Journal 20), "Fast
Poisson estimation with high-dimensional fixed effects"; the errors are Liang and Zeger's (1986).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

CONFIDENCE = 0.95

# Of the projections and of the deviance: far below what a standard error can tell.
TOLERANCE = 1e-8
MAX_SWEEPS = 2_000
MAX_STEPS = 100
# A regressor whose own variance is all but explained by the effects has nothing left to learn from.
LEFT_AFTER_EFFECTS = 1e-8
# Means are kept off zero: below this a row says nothing.
SMALLEST_MEAN = 1e-12

Floats = np.ndarray

MEAN, WORKING = "_mean", "_working"


@dataclass(frozen=True)
class Estimate:
    """A coefficient with its standard error and 95 % interval."""

    term: str
    estimate: float
    se: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float]:
        return {"estimate": self.estimate, "se": self.se, "low": self.low, "high": self.high}


@dataclass(frozen=True, eq=False)
class Regression:
    """A fitted regression.

    Attributes:
        estimates: By term.
        covariance: Of the coefficients, in the order of the terms.
        rows: Rows that were used.
        dropped: Rows without information: their product, store or week never sold (Poisson).
        clusters: Groups that errors may be correlated within; ``rows`` if none were named.
        within: Each term's share of variance that the absorbed effects leave.
        last_step: Of ``poisson``: the rows used, with ``MEAN`` (their weight), ``WORKING`` (the
            working response) and the terms, the latter two less the absorbed effects.
    """

    estimates: dict[str, Estimate]
    covariance: Floats
    rows: int
    dropped: int
    clusters: int
    within: dict[str, float]
    last_step: pl.DataFrame | None = None


def least_squares(
    frame: pl.DataFrame,
    *,
    outcome: str,
    terms: Sequence[str],
    absorb: Sequence[str] = (),
    cluster: str | None = None,
    weight: str | None = None,
) -> Regression:
    """Regress ``outcome`` on ``terms`` with an intercept or, in its place, absorbed effects.

    Args:
        frame: Rows with numbers in ``outcome`` and ``terms``, none of them null.
        outcome: Column to explain.
        terms: Columns whose coefficients are wanted.
        absorb: Columns whose values each get an effect of their own.
        cluster: Rows of one value may have correlated errors; without it each row is its own.
        weight: Positive weights.

    Raises:
        ValueError: A missing value, no rows, or a term without variation of its own.
    """
    y, x = _numbers(frame, outcome, terms)
    w = _positive(frame, weight)
    factors = [_codes(frame, name) for name in absorb] or [np.zeros(frame.height, dtype=np.int64)]
    both = _centred(np.column_stack([y, x]), factors=factors, weights=w)
    y_left, x_left = both[:, 0], both[:, 1:]
    within = _within(x, x_left, w, terms=terms, absorb=absorb)
    beta = _solve(x_left, y_left, w)
    scores = x_left * (w * (y_left - x_left @ beta))[:, None]
    return _regression(terms, beta, x_left, w, scores, frame, cluster, within, dropped=0)


def poisson(
    frame: pl.DataFrame,
    *,
    outcome: str,
    terms: Sequence[str],
    absorb: Sequence[str] = (),
    offset: str | None = None,
    cluster: str | None = None,
) -> Regression:
    """Poisson pseudo-maximum likelihood; ``outcome`` needs no Poisson law, only this mean.

    Args:
        frame: As for ``least_squares``; ``outcome`` is not negative.
        outcome: As for ``least_squares``.
        terms: As for ``least_squares``; coefficients are differences in log means.
        absorb: As for ``least_squares``; groups that never sold are dropped, they fit exactly.
        offset: Column of log exposures.
        cluster: As for ``least_squares``.

    Raises:
        ValueError: As for ``least_squares``; or a negative outcome, or no finite solution.
    """
    if frame[outcome].min() is not None and float(frame[outcome].to_numpy().min()) < 0:
        raise ValueError(f"Poisson of {outcome}: negative values; take them out first")
    used = _with_sales(frame, outcome=outcome, absorb=absorb)
    if used.is_empty():
        raise ValueError(f"Poisson of {outcome}: all of {frame.height} rows are zero")
    y, x = _numbers(used, outcome, terms)
    shift = used[offset].to_numpy().astype(np.float64) if offset else np.zeros(used.height)
    factors = [_codes(used, name) for name in absorb] or [np.zeros(used.height, dtype=np.int64)]
    eta = np.log((y + y.mean()) / 2)
    deviance = np.inf
    left = np.column_stack([np.zeros_like(y), x])
    for _ in range(MAX_STEPS):
        mean = np.maximum(np.exp(np.clip(eta, -30, 30)), SMALLEST_MEAN)
        working = eta - shift + (y - mean) / mean
        # What earlier weights left of a term spans the same space, and is nearer to the answer.
        left = _centred(np.column_stack([working, left[:, 1:]]), factors=factors, weights=mean)
        beta = _solve(left[:, 1:], left[:, 0], mean, terms=terms)
        error = left[:, 0] - left[:, 1:] @ beta
        eta = working - error + shift
        before, deviance = deviance, _deviance(y, np.exp(np.clip(eta, -30, 30)))
        if abs(before - deviance) <= TOLERANCE * max(deviance, 1e-3):
            break
    else:
        raise ValueError(
            f"Poisson of {outcome} on {list(terms)}: no solution after {MAX_STEPS} steps; a term "
            "may occur with zero sales only: leave it out"
        )
    mean = np.maximum(np.exp(np.clip(eta, -30, 30)), SMALLEST_MEAN)
    x_left = _centred(left[:, 1:], factors=factors, weights=mean)
    within = _within(x, x_left, mean, terms=terms, absorb=absorb)
    scores = x_left * (y - mean)[:, None]
    dropped = frame.height - used.height
    found = _regression(terms, beta, x_left, mean, scores, used, cluster, within, dropped=dropped)
    working = x_left @ beta + (y - mean) / mean
    last = used.with_columns(
        pl.Series(MEAN, mean),
        pl.Series(WORKING, working),
        *(pl.Series(term, x_left[:, i]) for i, term in enumerate(terms)),
    )
    return replace(found, last_step=last)


def _with_sales(frame: pl.DataFrame, *, outcome: str, absorb: Sequence[str]) -> pl.DataFrame:
    while True:
        kept = frame
        for name in absorb:
            kept = kept.filter(pl.col(outcome).sum().over(name) > 0)
        if kept.height == frame.height:
            return kept
        frame = kept


def _centred(columns: Floats, *, factors: Sequence[np.ndarray], weights: Floats) -> Floats:
    """Columns less the weighted effects of every factor."""
    left = columns.astype(np.float64, copy=True)
    totals = [np.bincount(codes, weights=weights) for codes in factors]
    scale = np.sqrt(np.average(left**2, axis=0, weights=weights)) + 1e-300
    # Columns that have converged are left alone.
    open_ = list(range(left.shape[1]))
    for _ in range(MAX_SWEEPS):
        still = []
        for j in open_:
            moved = 0.0
            for codes, total in zip(factors, totals, strict=True):
                means = np.bincount(codes, weights=weights * left[:, j]) / total
                left[:, j] -= means[codes]
                moved = max(moved, float(np.abs(means).max()))
            if moved > TOLERANCE * scale[j]:
                still.append(j)
        if len(factors) == 1 or not still:
            return left
        open_ = still
    raise ValueError(
        f"the effects of {len(factors)} columns did not separate after {MAX_SWEEPS} sweeps; "
        "absorb fewer columns"
    )


def _solve(x: Floats, y: Floats, w: Floats, *, terms: Sequence[str] = ()) -> Floats:
    beta = np.linalg.lstsq((x.T * w) @ x, (x.T * w) @ y, rcond=None)[0]
    if not np.isfinite(beta).all():
        raise ValueError(f"no finite coefficients for {list(terms)}: a term may be constant")
    return np.asarray(beta)


def _regression(
    terms: Sequence[str],
    beta: Floats,
    x: Floats,
    w: Floats,
    scores: Floats,
    frame: pl.DataFrame,
    cluster: str | None,
    within: dict[str, float],
    *,
    dropped: int,
) -> Regression:
    from scipy import stats

    if cluster is not None:
        codes = _codes(frame, cluster)
        groups = int(codes.max()) + 1
        if groups == 1:
            raise ValueError(f"errors clustered by {cluster}: it has one value; name another")
        scores = np.column_stack(
            [np.bincount(codes, weights=scores[:, j]) for j in range(x.shape[1])]
        )
    else:
        groups = frame.height
    bread = np.linalg.pinv((x.T * w) @ x)
    covariance = bread @ (scores.T @ scores) @ bread * groups / max(groups - 1, 1)
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, df=max(groups - 1, 1)))
    errors = np.sqrt(np.diag(covariance))
    estimates = {
        term: Estimate(term, float(b), float(e), float(b - reach * e), float(b + reach * e))
        for term, b, e in zip(terms, beta, errors, strict=True)
    }
    return Regression(estimates, covariance, frame.height, dropped, groups, within)


def _within(
    x: Floats, left: Floats, w: Floats, *, terms: Sequence[str], absorb: Sequence[str]
) -> dict[str, float]:
    around = x - np.average(x, axis=0, weights=w)
    before = np.average(around**2, axis=0, weights=w)
    after = np.average(left**2, axis=0, weights=w)
    for term, all_, own in zip(terms, before, after, strict=True):
        if own <= LEFT_AFTER_EFFECTS * max(all_, LEFT_AFTER_EFFECTS):
            effects = f" within {', '.join(absorb)}" if absorb else ""
            raise ValueError(f"{term} does not vary{effects}: it has no coefficient; leave it out")
    scaled = left * np.sqrt(w / w.sum())[:, None] / np.sqrt(after)
    if np.linalg.matrix_rank(scaled, tol=np.sqrt(LEFT_AFTER_EFFECTS)) < len(terms):
        raise ValueError(
            f"the terms {', '.join(terms)} are not told apart by these rows: leave one out"
        )
    return {t: float(b / a) for t, a, b in zip(terms, before, after, strict=True)}


def _numbers(frame: pl.DataFrame, outcome: str, terms: Sequence[str]) -> tuple[Floats, Floats]:
    if frame.is_empty():
        raise ValueError(f"regression of {outcome}: there are no rows")
    if not terms:
        raise ValueError(f"regression of {outcome}: no terms; name at least one")
    wanted = frame.select(pl.col(outcome, *terms).cast(pl.Float64))
    values = wanted.to_numpy()
    bad = [n for n, c in zip(wanted.columns, values.T, strict=True) if not np.isfinite(c).all()]
    if bad:
        raise ValueError(f"regression of {outcome}: null or infinite values in {', '.join(bad)}")
    return values[:, 0].copy(), values[:, 1:].copy()


def _positive(frame: pl.DataFrame, weight: str | None) -> Floats:
    if weight is None:
        return np.ones(frame.height)
    values = frame[weight].cast(pl.Float64).to_numpy().astype(np.float64)
    if not (np.isfinite(values).all() and (values > 0).all()):
        raise ValueError(f"weights {weight}: every row needs a positive, finite one")
    return values


def _codes(frame: pl.DataFrame, name: str) -> np.ndarray:
    codes = frame[name].rank("dense").to_numpy()
    if frame[name].null_count():
        raise ValueError(f"{name} is null in {frame[name].null_count()} row(s); fill or drop them")
    return np.asarray(codes.astype(np.int64) - 1)


def _deviance(y: Floats, mean: Floats) -> float:
    mean = np.maximum(mean, SMALLEST_MEAN)
    logs = np.where(y > 0, y * np.log(np.maximum(y, SMALLEST_MEAN) / mean), 0.0)
    return float(2 * (logs - y + mean).sum())
