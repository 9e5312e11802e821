"""Features of the past: how much is sold, of late, in the store, in the chain, a year ago."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from models.demand.history import LEVEL_HALF_LIFE, SMALLEST, History
from models.demand.series import REAL_DISCOUNT

Features = dict[str, np.ndarray]

YEAR = 52
USUAL_WEEKS = 8
# Sold in them: on the shelf, whatever is promoted.
FRESH_WEEKS = 13


def base_features(history: History, rows: np.ndarray) -> tuple[Features, np.ndarray, np.ndarray]:
    """How much of each pair is sold.

    Args:
        history: As of the end of the week that forecasts are made in.
        rows: Pairs to forecast.

    Returns:
        Features by name; the level (units of a coming week that its past promises), and the same
        with past promotions taken out.
    """
    s, week = history.series, history.week
    trips = history.trip_forecast()[rows]
    prior = history.product_rate(rows, clean=False)[rows]
    clean_prior = history.product_rate(rows, clean=True)[rows]
    rate = _rates(history.plain[LEVEL_HALF_LIFE], rows, prior)
    clean_rate = _rates(history.clean[LEVEL_HALF_LIFE], rows, clean_prior)
    level, clean_level = trips * rate, trips * clean_rate
    made: Features = {
        "log_level": np.log(level),
        "log_exposure": np.log(trips),
        "product_rate": np.log(prior * trips),
        "pair_over_product": np.log(rate / prior),
        "clean_over_level": np.log(clean_rate / rate),
    }
    for back in range(1, 5):
        made[f"lag_{back}"] = _column(s.units, rows, week + 1 - back)
    for half_life in (1, 2, 4, 13, 26, 52):
        made[f"trend_{half_life}"] = np.log(_rates(history.plain[half_life], rows, rate) / rate)
        made[f"clean_trend_{half_life}"] = np.log(
            _rates(history.clean[half_life], rows, clean_rate) / clean_rate
        )
    made["unpromoted_trend"] = np.log(_rates(history.unpromoted, rows, clean_rate) / clean_rate)
    made |= _shape(history, rows)
    for name, group in history.groups.items():
        of = group.codes.of_row[rows]
        for half_life in (1, 4, 13):
            made[f"{name}_trend_{half_life}"] = group.trend(half_life)[of]
        for half_life in (1, 4):
            made[f"{name}_residual_{half_life}"] = group.residual(half_life)[of]
    of = s.store_category.of_row[rows]
    made["store_category_rate"] = np.log(
        np.maximum(history.groups["store_category"].plain[LEVEL_HALF_LIFE].plain()[of], SMALLEST)
    )
    # Only what sold of late: a promotion brings back rows that did not.
    fresh = history.week - history.last_sale[rows] < FRESH_WEEKS
    made["product_stores"] = _count(s.product.of_row[rows], fresh, size=s.product.size)
    made["category_products"] = _count(of, fresh, size=s.store_category.size)
    return made, level, clean_level


def _rates(fading: object, rows: np.ndarray, prior: np.ndarray) -> np.ndarray:
    from models.demand.history import PRIOR_UNITS, Fading

    assert isinstance(fading, Fading)  # noqa: S101
    prior = np.maximum(prior, SMALLEST)
    return (fading.top[rows] + PRIOR_UNITS) / (fading.bottom[rows] + PRIOR_UNITS / prior)


def _shape(history: History, rows: np.ndarray) -> Features:
    """Spread, zeros and ages over the last weeks."""
    s, week = history.series, history.week
    last = s.units[rows, max(0, week - 25) : week + 1].astype(np.float32)
    known = s.known[rows, max(0, week - 25) : week + 1]
    last = np.where(known, last, np.nan)
    return {
        "spread_13": where_known(np.nanstd, last[:, -13:]),
        "peak_13": where_known(np.nanmax, last[:, -13:]),
        "median_13": where_known(np.nanmedian, last[:, -13:]),
        "zero_share_13": where_known(
            np.nanmean, np.where(known[:, -13:], last[:, -13:] == 0, np.nan)
        ),
        "zero_share_26": where_known(np.nanmean, np.where(known, last == 0, np.nan)),
        "weeks_since_sale": _since(history.last_sale[rows], week),
        "pair_age": _since(history.first_seen[rows], week),
        "product_age": _since(history.product_first[s.product.of_row[rows]], week),
    }


def where_known(summary: Callable[..., np.ndarray], values: np.ndarray) -> np.ndarray:
    """A summary of each row's known values; NaN for a pair of which nothing is known yet."""
    known = ~np.isnan(values).all(axis=1)
    made = np.full(len(values), np.nan, dtype=values.dtype)
    if known.any():
        made[known] = summary(values[known], axis=1)
    return made


def simple_means(history: History, rows: np.ndarray) -> Features:
    """What the rules without a model forecast from.

    Returns:
        ``mean_13``: mean units of the known weeks among the last 13; ``unpromoted_mean``: of those
        without promotion among the last 26, or of all 13 where there is none. 0 where nothing is
        known.
    """
    s, week = history.series, history.week
    window = slice(max(0, week - 25), week + 1)
    units, known = s.units[rows, window], s.known[rows, window]
    plain = known & ~(
        (s.discount[rows, window] > REAL_DISCOUNT)
        | (s.display[rows, window] > 0)
        | (s.mailer[rows, window] > 0)
    )
    all_13 = _mean_where(units[:, -13:], known[:, -13:])
    unpromoted = _mean_where(units, plain)
    return {
        "mean_13": np.nan_to_num(all_13),
        "unpromoted_mean": np.nan_to_num(np.where(np.isnan(unpromoted), all_13, unpromoted)),
    }


def _mean_where(values: np.ndarray, which: np.ndarray) -> np.ndarray:
    count = which.sum(axis=1)
    total = (values * which).sum(axis=1, dtype=np.float64)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def year_ago_features(history: History, rows: np.ndarray, *, target: int) -> Features:
    """How sales moved a year ago from the weeks before the origin to the target week.

    Args:
        history: As of the end of the week that forecasts are made in.
        rows: Pairs to forecast.
        target: Index of the week to forecast.
    """
    s = history.series
    then, before = target - YEAR, history.week - YEAR
    made: Features = {}
    for name, totals, of in (
        ("category", history.category_units, s.category.of_row[rows]),
        ("product", history.product_units, s.product.of_row[rows]),
    ):
        made[f"year_ago_{name}"] = _moved(totals, then=then, before=before)[of]
    made["year_ago_pair"] = _moved(s.units, then=then, before=before)[rows]
    return made


def _moved(totals: np.ndarray, *, then: int, before: int) -> np.ndarray:
    # Eight weeks before the origin are what is usual.
    if before < USUAL_WEEKS - 1:
        return np.full(totals.shape[0], np.nan)
    # Three weeks around the week itself: holidays move, and single weeks are noisy.
    around = totals[:, then - 1 : then + 2].mean(axis=1)
    usual = totals[:, before - USUAL_WEEKS + 1 : before + 1].mean(axis=1)
    return np.log((around + 1.0) / (usual + 1.0))


def promotion_history(history: History, rows: np.ndarray) -> Features:
    """Promotions of the past weeks: a pantry that is full buys less, whatever is on offer now."""
    s, week = history.series, history.week
    discounts = s.discount[rows, max(0, week - 12) : week + 1]
    display = s.display[rows, max(0, week - 7) : week + 1] > 0
    mailer = s.mailer[rows, max(0, week - 7) : week + 1] > 0
    return {
        "discount_last": discounts[:, -1],
        "discount_mean_4": discounts[:, -4:].mean(axis=1),
        "discount_share_13": (discounts > REAL_DISCOUNT).mean(axis=1),
        "weeks_since_discount": _since(history.last_discount[rows], week),
        "promotion_response": history.multipliers.response()[s.product.of_row[rows]],
        "display_last": display[:, -1],
        "display_share_8": display.mean(axis=1),
        "mailer_last": mailer[:, -1],
        "mailer_share_8": mailer.mean(axis=1),
    }


def _column(matrix: np.ndarray, rows: np.ndarray, column: int) -> np.ndarray:
    if column < 0:
        return np.full(rows.size, np.nan)
    return matrix[rows, column]


def _since(when: np.ndarray, week: int) -> np.ndarray:
    return np.where(when >= 0, week - when, np.nan).astype(np.float32)


def _count(of: np.ndarray, which: np.ndarray, *, size: int) -> np.ndarray:
    return np.bincount(of, weights=which, minlength=size)[of].astype(np.float32)
