"""Probabilities of a purchase that hold for the offers that are served.

Calibrated over all candidates, a model may still be wrong about the few that reach the top of a
list: they were picked for looking good. So the map from the classifier's log-odds to a probability
is learned on the top of lists that a ranker made for weeks neither model had seen.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from models.evaluation.metrics import calibration_error
from models.ranking import xgboost_classifier
from models.ranking.dataset import LABEL
from models.ranking.offers import ranked_offers

# What is served and what the calibration gate looks at.
K = 10

# No list is certain; and the logarithm of 0 is none.
CERTAINTY = 1e-4

# Fewer purchases than these and an intercept alone is off by more than a tenth.
MIN_PURCHASES = 100

# The last bits of a sum depend on the number of threads; a stored map must not.
_DECIMALS = 9

_ITERATIONS = 50
_TOLERANCE = 1e-10

_METHODS = ("platt", "beta", "isotonic")


@dataclass(frozen=True)
class Calibration:
    """A rising map from log-odds to probability.

    Attributes:
        method: ``platt``: sigmoid(a x + b) (Platt 1999); ``beta``: sigmoid(a ln p - b ln(1-p) + c)
            with p = sigmoid(x) (Kull, Silva Filho and Flach, AISTATS 2017); ``isotonic``: straight
            lines between points (Zadrozny and Elkan, KDD 2002).
        values: ``platt`` (a, b); ``beta`` (a, b, c); ``isotonic`` the log-odds of the points and
            then their probabilities.
        errors: Method to its log loss on the further week it was chosen by; empty if there was
            only one week, which is then Platt's.
        rows: Offers it was learned from.
    """

    method: str
    values: tuple[float, ...]
    errors: Mapping[str, float]
    rows: int

    def apply(self, log_odds: np.ndarray) -> np.ndarray:
        """Probabilities (Float64, within [0.0001, 0.9999]) of uncalibrated log-odds."""
        x = np.asarray(log_odds, dtype=np.float64)
        if self.method == "isotonic":
            half = len(self.values) // 2
            p = np.interp(x, self.values[:half], self.values[half:])
        else:
            columns = _design(x, self.method)
            p = _sigmoid(columns @ np.asarray(self.values))
        return np.clip(p, CERTAINTY, 1.0 - CERTAINTY)

    def to_json(self) -> str:
        """One JSON object; ``from_json`` reads it back exactly."""
        return json.dumps(
            {
                "method": self.method,
                "values": list(self.values),
                "errors": dict(self.errors),
                "rows": self.rows,
            },
            sort_keys=True,
        )

    @classmethod
    def from_json(cls, text: str) -> Calibration:
        """Read what ``to_json`` wrote.

        Raises:
            ValueError: The text is no calibration.
        """
        try:
            held = json.loads(text)
            made = cls(
                method=held["method"],
                values=tuple(float(v) for v in held["values"]),
                errors={str(name): float(error) for name, error in held["errors"].items()},
                rows=int(held["rows"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"this is no calibration ({error!r}): {text[:80]!r}; train the model again"
            ) from error
        if made.method not in _METHODS:
            raise ValueError(
                f"calibration method {made.method!r} is not one of {_METHODS}; a newer version "
                "wrote it: update, or train the model again"
            )
        return made


def served(
    candidates: pl.DataFrame, *, ranking: pl.Series, log_odds: pl.Series, k: int = K
) -> pl.DataFrame:
    """The offers that would have been served, with what became of them.

    Args:
        candidates: Labelled examples of weeks that neither model has seen, all events.
        ranking: The ranker's scores, row by row.
        log_odds: The classifier's, row by row.
        k: Offers per event.

    Returns:
        ``household_id, product_id, as_of, score, label``: log-odds and outcome of each offer.
    """
    key = ["household_id", "product_id", "as_of"]
    rows = candidates.select(*key, "known_at", "source", LABEL)
    offers = ranked_offers(rows.with_columns(ranking.alias("score")), k=k, model_version="")
    return offers.select(*key).join(
        rows.select(*key, log_odds.alias("score"), LABEL),
        on=key,
        how="left",
        maintain_order="left",
    )


def fit_calibration(offers: pl.DataFrame) -> Calibration:
    """Learn the map, by whichever method does best on the last week.

    Each method learns from all weeks but the last and is judged there by its log loss, which among
    rising maps of the same log-odds only better calibration can lower, and which, unlike the Brier
    score, a small chance taken for none spoils. The best one, the simplest of equals, then learns
    from all weeks.

    Args:
        offers: From ``served``; one week or more.

    Raises:
        ValueError: A score is missing, or too little was bought or left to learn from.
    """
    bad = offers.filter(pl.col("score").is_null() | ~pl.col("score").is_finite()).height
    bought = int(offers[LABEL].sum())
    if bad or not MIN_PURCHASES <= bought <= offers.height - MIN_PURCHASES:
        raise ValueError(
            f"fit_calibration(): of {offers.height:,} offers {bought:,} were bought and {bad:,} "
            f"have no score; {MIN_PURCHASES} bought, as many not bought and all scores are needed. "
            "Give more weeks or households"
        )
    last = offers["as_of"].max()
    earlier, judged = (
        offers.filter(pl.col("as_of") < last),
        offers.filter(pl.col("as_of") == last),
    )
    errors: dict[str, float] = {}
    if MIN_PURCHASES <= int(earlier[LABEL].sum()) <= earlier.height - MIN_PURCHASES:
        x, y = _columns(judged)
        for method in _METHODS:
            p = _map(earlier, method=method).apply(x)
            loss = -np.where(y > 0, np.log(p), np.log1p(-p))
            errors[method] = round(float(np.mean(np.sort(loss))), _DECIMALS)
    best = min(errors, key=lambda name: errors[name]) if errors else _METHODS[0]
    return _map(offers, method=best, errors=errors)


def probabilities(classifier: bytes, calibration: Calibration, frame: pl.DataFrame) -> pl.Series:
    """Calibrated purchase probabilities of examples.

    Args:
        classifier: Of ``xgboost_classifier.train``.
        calibration: Of its log-odds on served offers.
        frame: Examples; they hold for those near the top of their list.

    Returns:
        ``probability`` (Float64, within [0.0001, 0.9999]).
    """
    log_odds = xgboost_classifier.score_frame(classifier, frame).to_numpy()
    return pl.Series("probability", calibration.apply(log_odds), dtype=pl.Float64)


def reliability(probability: pl.Series, outcome: pl.Series) -> dict[str, float]:
    """Slope and error of probabilities.

    Args:
        probability: Strictly between 0 and 1.
        outcome: 0 or 1.

    Returns:
        ``slope`` and ``intercept`` of the logistic regression of the outcome on the log-odds (Cox
        1958; 1 and 0 are right, a slope below 1 is too sure of itself) and ``ece``.
    """
    p = probability.to_numpy().astype(np.float64)
    columns = np.column_stack([np.log(p / (1.0 - p)), np.ones_like(p)])
    slope, intercept = _logistic(columns, outcome.to_numpy().astype(np.float64))
    return {
        "slope": float(slope),
        "intercept": float(intercept),
        "ece": calibration_error(probability, outcome),
    }


def _columns(offers: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    return (
        offers["score"].to_numpy().astype(np.float64),
        offers[LABEL].to_numpy().astype(np.float64),
    )


def _map(
    offers: pl.DataFrame, *, method: str, errors: Mapping[str, float] | None = None
) -> Calibration:
    fitted: Mapping[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
        "platt": _platt,
        "beta": _beta,
        "isotonic": _isotonic,
    }
    values = fitted[method](*_columns(offers))
    return Calibration(
        method=method,
        values=tuple(round(float(v), _DECIMALS) for v in values),
        errors=dict(errors or {}),
        rows=offers.height,
    )


def _design(x: np.ndarray, method: str) -> np.ndarray:
    if method == "platt":
        return np.column_stack([x, np.ones_like(x)])
    # ln p and -ln(1 - p) of p = sigmoid(x), without forming p.
    return np.column_stack([-np.logaddexp(0.0, -x), np.logaddexp(0.0, x), np.ones_like(x)])


def _platt(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return _rising(_design(x, "platt"), y)


def _beta(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return _rising(_design(x, "beta"), y)


def _rising(columns: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Logistic regression whose slopes are not negative; the last column is the intercept."""
    used = list(range(columns.shape[1]))
    while True:
        fitted = _logistic(columns[:, used], y)
        falling = [i for i, value in zip(used[:-1], fitted[:-1], strict=True) if value < 0.0]
        if not falling:
            values = np.zeros(columns.shape[1])
            values[used] = fitted
            return values
        used = [i for i in used if i not in falling]


def _isotonic(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    from sklearn.isotonic import IsotonicRegression

    fitted = IsotonicRegression(out_of_bounds="clip").fit(x, y)
    points, steps = fitted.X_thresholds_, fitted.y_thresholds_
    # Where nothing, or everything, was bought the outermost step is 0 or 1, which no number of
    # offers proves: half a purchase and half a refusal more (Jeffreys), as far as it stays rising.
    levels = np.unique(steps)
    if levels.size > 1:
        low = _jeffreys(y[x <= points[steps == levels[0]][-1]])
        high = _jeffreys(y[x >= points[steps == levels[-1]][0]])
        steps = np.where(steps == levels[0], min(low, levels[1]), steps)
        steps = np.where(steps == levels[-1], max(high, levels[-2]), steps)
    return np.concatenate([points, steps])


def _jeffreys(outcomes: np.ndarray) -> float:
    """Share of ones with half an outcome of either kind added."""
    return float((outcomes.sum() + 0.5) / (outcomes.size + 1.0))


def _logistic(columns: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Maximum likelihood by Newton's method with halved steps."""
    beta = np.zeros(columns.shape[1])
    loss = _deviance(columns @ beta, y)
    for _ in range(_ITERATIONS):
        p = _sigmoid(columns @ beta)
        gradient = columns.T @ (y - p)
        # A trace of ridge keeps a column without any variation from being singular.
        curvature = (columns * (p * (1.0 - p))[:, None]).T @ columns + 1e-9 * np.eye(beta.size)
        step = np.linalg.solve(curvature, gradient)
        while (moved := _deviance(columns @ (beta + step), y)) > loss:
            step = step / 2.0
            if np.abs(step).max() < _TOLERANCE:
                return beta
        beta = beta + step
        if loss - moved <= _TOLERANCE * (1.0 + loss):
            break
        loss = moved
    return beta


def _deviance(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.mean(np.logaddexp(0.0, x) - y * x))


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0.0, -x))
