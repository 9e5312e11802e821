"""How much more is sold under a promotion, learned from past weeks only and kept up week by week.

The multiplier of a state (depth of the discount, on display or not, in the mailer or not) is what
was sold in it over what its products' own levels promised, shrunk: a category's to that of all.
These are rough averages that make past weeks comparable and order the codes of displays and
mailers; the model learns the effects themselves.
"""

from __future__ import annotations

import numpy as np

from models.demand.series import Series

# Upper ends of the discount classes.
DEPTHS = (0.02, 0.1, 0.2, 0.3, 0.4, 0.5)
# Units that a prior weighs as much as: a category's learns from all, all from 1.
SHRINK_UNITS = 20.0
# A code that is there differs from none.
SMALLEST_STRENGTH = 0.02


class Multipliers:
    """Multipliers of promotion states and strengths of codes, from the weeks added so far."""

    def __init__(self, series: Series) -> None:
        self.category = series.category
        # 24 states: discount class, on display, in the mailer.
        self.states = (len(DEPTHS) + 1) * 4
        shape = (series.category.size, self.states)
        self.sold, self.base = np.zeros(shape), np.zeros(shape)
        # Codes beyond the known ones take the last place.
        self.display = np.zeros((2, len(series.display_codes) + 1))
        self.mailer = np.zeros((2, len(series.mailer_codes) + 1))
        self.product = np.zeros((2, series.product.size, self.states))
        self.category_of_product = np.zeros(series.product.size, dtype=np.int64)
        self.category_of_product[series.product.of_row] = series.category.of_row
        self.product_of = series.product.of_row
        self.effects = np.ones(shape)

    def state(
        self, *, discount: np.ndarray, display: np.ndarray | bool, mailer: np.ndarray | bool
    ) -> np.ndarray:
        """Class of each row from 0: no promotion."""
        depth = np.searchsorted(DEPTHS, discount, side="left")
        return depth * 4 + (np.asarray(display) > 0) * 2 + (np.asarray(mailer) > 0)

    def of(self, *, discount: np.ndarray, display: np.ndarray, mailer: np.ndarray) -> np.ndarray:
        """Multiplier of every pair under its state; 1 before anything is known."""
        states = self.state(discount=discount, display=display, mailer=mailer)
        return self.effects[self.category.of_row, states]

    def add(
        self,
        *,
        units: np.ndarray,
        base: np.ndarray,
        discount: np.ndarray,
        display: np.ndarray,
        mailer: np.ndarray,
    ) -> None:
        """Learn from a week.

        Args:
            units: Sold, of every pair.
            base: Foreseen without promotion; 0 for a pair that must not count.
            discount: Share of the base price.
            display: Index of the display's code.
            mailer: Index of the mailer's code.
        """
        counted = np.where(base > 0, units, 0.0)
        states = self.state(discount=discount, display=display, mailer=mailer)
        cell = self.category.of_row * self.states + states
        size = self.sold.size
        self.sold += np.bincount(cell, weights=counted, minlength=size).reshape(self.sold.shape)
        self.base += np.bincount(cell, weights=base, minlength=size).reshape(self.base.shape)
        # Each code against what the rest of its promotion promised.
        for codes, store, without in (
            (display, self.display, self.state(discount=discount, display=False, mailer=mailer)),
            (mailer, self.mailer, self.state(discount=discount, display=display, mailer=False)),
        ):
            rest = base * self.effects[self.category.of_row, without]
            store[0] += np.bincount(codes, weights=counted, minlength=store.shape[1])
            store[1] += np.bincount(codes, weights=rest, minlength=store.shape[1])
        cell = self.product_of * self.states + states
        for i, values in enumerate((counted, base)):
            self.product[i] += np.bincount(
                cell, weights=values, minlength=self.product[i].size
            ).reshape(self.product[i].shape)
        self.effects = self._effects()

    def _effects(self) -> np.ndarray:
        sold, base = self.sold.sum(axis=0), self.base.sum(axis=0)
        everywhere = (sold + SHRINK_UNITS) / (base + SHRINK_UNITS)
        ratio = (self.sold + SHRINK_UNITS * everywhere) / (self.base + SHRINK_UNITS)
        return ratio / ratio[:, :1]

    def strengths(self, of: np.ndarray) -> np.ndarray:
        """Log effect of each code; 0 for none and for a code that was never seen before."""
        ratio = (of[0] + SHRINK_UNITS) / (of[1] + SHRINK_UNITS)
        found = np.maximum(np.log(ratio / ratio[0]), SMALLEST_STRENGTH)
        found[0] = 0.0
        # A code nobody has seen is as strong as the codes that were, on average.
        weight = of[1, 1:-1]
        if weight.sum() > 0:
            found[-1] = np.average(found[1:-1], weights=weight)
        return found

    def response(self) -> np.ndarray:
        """Log of how much more each product answers to promotions than others in its category."""
        sold, base = self.product[:, :, 1:]
        expected = (base * self.effects[self.category_of_product][:, 1:]).sum(axis=1)
        return np.log((sold.sum(axis=1) + SHRINK_UNITS) / (expected + SHRINK_UNITS))

    def of_products(self) -> np.ndarray:
        """Log multiplier of every product x state, shrunk to its category's.

        A deeper discount, a display and a mailer never count as less than without, so the model may
        be held to rise with it.
        """
        prior = self.effects[self.category_of_product]
        sold, base = self.product
        ratio = (sold + SHRINK_UNITS * prior) / (base + SHRINK_UNITS)
        cube = np.log(ratio / ratio[:, :1]).reshape(-1, self.states // 4, 2, 2)
        for axis in (1, 2, 3):
            cube = np.maximum.accumulate(cube, axis=axis)
        return cube.reshape(-1, self.states)
