"""What is known of every product in every store at the end of a week, kept up week by week.

Sums fade by half-lives, so a pass over a year needs one vector per sum and not one matrix. Rates
are units per trip. They are shrunk as a Gamma prior does for Poisson counts: a product's rate in a
store to its rate in the chain, a product's to its category's. The prior weighs as much as
``PRIOR_UNITS`` sold units, so it matters where little is sold and nowhere else.
"""

from __future__ import annotations

import numpy as np

from models.demand.multipliers import Multipliers
from models.demand.series import REAL_DISCOUNT, Codes, Series

# Weeks after which a week counts half.
HALF_LIVES = (1, 2, 4, 8, 13, 26, 52)
# The level forecasts start from. Of 4, 8, 13 and 26 weeks, the middle of the road.
LEVEL_HALF_LIFE = 8
GROUP_HALF_LIVES = (1, 4, 8, 13)
TRIP_HALF_LIFE = 4
UNPROMOTED_HALF_LIFE = 13

PRIOR_UNITS = 1.0
# Less is no forecast: its log would be all the model sees.
SMALLEST = 1e-6


class Fading:
    """Sums that lose half of their weight every ``half_life`` weeks."""

    def __init__(self, size: int, half_life: float) -> None:
        self.keep = 0.5 ** (1.0 / half_life)
        self.top = np.zeros(size)
        self.bottom = np.zeros(size)

    def add(self, top: np.ndarray, bottom: np.ndarray) -> None:
        self.top *= self.keep
        self.top += top
        self.bottom *= self.keep
        self.bottom += bottom

    def rate(self, prior: np.ndarray | float) -> np.ndarray:
        """Top over bottom, shrunk to ``prior``."""
        prior = np.maximum(prior, SMALLEST)
        return (self.top + PRIOR_UNITS) / (self.bottom + PRIOR_UNITS / prior)

    def plain(self) -> np.ndarray:
        """Top over bottom; NaN before anything was added."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.top / self.bottom


class Group:
    """Fading sums of whole groups: products, categories, stores."""

    def __init__(self, codes: Codes) -> None:
        self.codes = codes
        # Units over trips; and units over what was expected, promotions included.
        self.plain = {h: Fading(codes.size, h) for h in GROUP_HALF_LIVES}
        self.clean = {h: Fading(codes.size, h) for h in GROUP_HALF_LIVES}

    def add(
        self, units: np.ndarray, trips: np.ndarray, *, fair_units: np.ndarray, expected: np.ndarray
    ) -> None:
        sold, walked = self.total(units), self.total(trips)
        foreseen, fair = self.total(expected), self.total(fair_units)
        for fading in self.plain.values():
            fading.add(sold, walked)
        for fading in self.clean.values():
            fading.add(fair, foreseen)

    def total(self, values: np.ndarray) -> np.ndarray:
        return np.bincount(self.codes.of_row, weights=values, minlength=self.codes.size)

    def trend(self, half_life: int) -> np.ndarray:
        """Log of the short rate over the long one, of every group."""
        level = self.plain[LEVEL_HALF_LIFE].plain()
        return np.log(
            self.plain[half_life].rate(np.nan_to_num(level)) / np.maximum(level, SMALLEST)
        )

    def residual(self, half_life: int) -> np.ndarray:
        """Log of what was sold over what was expected, promotions included."""
        fading = self.clean[half_life]
        return np.log((fading.top + PRIOR_UNITS) / (fading.bottom + PRIOR_UNITS))


class History:
    """Everything that forecasts start from, as of the end of the last week that was added.

    ``add`` the weeks of a ``Series`` one by one, in order.
    """

    def __init__(self, series: Series) -> None:
        self.series = series
        pairs = series.pairs.height
        self.week = -1
        self.plain = {h: Fading(pairs, h) for h in HALF_LIVES}
        self.clean = {h: Fading(pairs, h) for h in HALF_LIVES}
        self.unpromoted = Fading(pairs, UNPROMOTED_HALF_LIFE)
        self.trips = Fading(series.store.size, TRIP_HALF_LIFE)
        self.groups = {
            "product": Group(series.product),
            "category": Group(series.category),
            "store": Group(series.store),
            "store_category": Group(series.store_category),
        }
        self.multipliers = Multipliers(series)
        self.last_sale = np.full(pairs, -1)
        self.first_seen = np.full(pairs, -1)
        self.last_discount = np.full(pairs, -1)
        self.product_first = np.full(series.product.size, -1)
        # Set of each product and week, for the same weeks a year ago.
        self.product_units = np.zeros((series.product.size, len(series.weeks)), dtype=np.float32)
        self.category_units = np.zeros((series.category.size, len(series.weeks)), dtype=np.float32)

    def add(self, week: int) -> None:
        """Learn from column ``week`` of the series, the one after the last that was added.

        Raises:
            ValueError: A week is left out.
        """
        if week != self.week + 1:
            raise ValueError(f"history: week {week} follows {self.week}; add every week in order")
        s = self.series
        known = s.known[:, week].astype(np.float64)
        units = s.units[:, week].astype(np.float64) * known
        trips = s.trips[s.store.of_row, week] * known
        effect = self.multipliers.of(
            discount=s.discount[:, week], display=s.display[:, week], mailer=s.mailer[:, week]
        )
        # A row that was not to be forecast is there because something was sold.
        fair = s.active[:, week] & (self.first_seen >= 0)
        base = np.where(fair, self.clean_rate() * trips, 0.0)
        self.multipliers.add(
            units=units,
            base=base,
            discount=s.discount[:, week],
            display=s.display[:, week],
            mailer=s.mailer[:, week],
        )
        promoted = self.promoted(week)
        for fading in self.plain.values():
            fading.add(units, trips)
        for fading in self.clean.values():
            fading.add(units, trips * effect)
        self.unpromoted.add(units * ~promoted, trips * ~promoted)
        for group in self.groups.values():
            group.add(units, trips, fair_units=units * fair, expected=base * effect)
        self.trips.add(s.trips[:, week].astype(np.float64), (s.trips[:, week] > 0).astype(float))
        self.last_sale[units > 0] = week
        self.last_discount[s.discount[:, week] > REAL_DISCOUNT] = week
        seen = (units > 0) | np.isfinite(s.price[:, week])
        self.first_seen[seen & (self.first_seen < 0)] = week
        fresh = np.bincount(s.product.of_row, weights=seen, minlength=s.product.size) > 0
        self.product_first[fresh & (self.product_first < 0)] = week
        self.product_units[:, week] = self.groups["product"].total(units)
        self.category_units[:, week] = self.groups["category"].total(units)
        self.week = week

    def promoted(self, week: int) -> np.ndarray:
        s = self.series
        return (
            (s.discount[:, week] > REAL_DISCOUNT)
            | (s.display[:, week] > 0)
            | (s.mailer[:, week] > 0)
        )

    def trip_forecast(self) -> np.ndarray:
        """Trips per pair in a coming week: what its store had of late. Never below .1."""
        forecast = np.maximum(np.nan_to_num(self.trips.plain()), 0.1)
        return forecast[self.series.store.of_row]

    def product_rate(self, rows: np.ndarray, *, clean: bool) -> np.ndarray:
        """Chain rate of each pair's product over the given pairs, shrunk to its category's.

        Args:
            rows: Pairs to average over: those that are forecast. All pairs would count shelves
                that a product left long ago.
            clean: With promotions taken out.
        """
        s = self.series
        fading = (self.clean if clean else self.plain)[LEVEL_HALF_LIFE]

        def summed(codes: Codes) -> tuple[np.ndarray, np.ndarray]:
            of = codes.of_row[rows]
            return (
                np.bincount(of, weights=fading.top[rows], minlength=codes.size),
                np.bincount(of, weights=fading.bottom[rows], minlength=codes.size),
            )

        top, bottom = summed(s.category)
        everywhere = (top.sum() + SMALLEST) / (bottom.sum() + 1.0)
        category = (top + PRIOR_UNITS) / (bottom + PRIOR_UNITS / everywhere)
        top, bottom = summed(s.product)
        prior = np.zeros(s.product.size)
        prior[s.product.of_row] = category[s.category.of_row]
        prior = np.maximum(prior, SMALLEST)
        rate = (top + PRIOR_UNITS) / (bottom + PRIOR_UNITS / prior)
        return rate[s.product.of_row]

    def clean_rate(self) -> np.ndarray:
        """Rate of each pair with promotions taken out, shrunk to its product's."""
        prior = self.product_rate(np.arange(self.series.pairs.height), clean=True)
        return self.clean[LEVEL_HALF_LIFE].rate(prior)
