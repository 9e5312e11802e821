"""A market with known effects: stores, products and their plans, week by week.

What concerns the whole chain (products, effects, seasons, the promotion plan) is drawn once; a
block of stores is then played through the weeks by itself, so that memory depends on the block and
not on the market. Every store and week has its own random stream: the same seed gives the same
market, whatever the blocks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from models.calendar import ONE_WEEK
from models.simulator.responses import counts, expected_units, losses_to_rivals
from models.simulator.settings import MarketSettings

DEPTHS = (0.1, 0.2, 0.3, 0.4)
# What a promoted product gets, each by itself.
DISPLAY_SHARE, MAILER_SHARE, DISCOUNT_SHARE = 0.5, 0.5, 0.7
# Displays that a store puts up by itself.
OWN_DISPLAYS = 0.01
# A promotion lasts this many weeks.
PROMOTION_WEEKS = 2

_CHAIN, _STORE, _PLAN, _WEEK, _COUNTS = range(5)


@dataclass(frozen=True)
class StoreWeeks:
    """One week of a block of stores, as stores by products.

    Attributes:
        week: Its number.
        stores: The stores' numbers.
        carried: Whether the store carries the product.
        display: Plan, 0 or 1.
        mailer: Plan, 0 or 1.
        discount: Plan, share.
        trips: Of the panel, per store.
        base: Expected units without any promotion.
        mean: Expected units.
        units: Sold.
    """

    week: int
    stores: np.ndarray
    carried: np.ndarray
    display: np.ndarray
    mailer: np.ndarray
    discount: np.ndarray
    trips: np.ndarray
    base: np.ndarray
    mean: np.ndarray
    units: np.ndarray


class Market:
    """A market, drawn from its settings and a seed."""

    def __init__(self, settings: MarketSettings, *, seed: int) -> None:
        self.settings = s = settings
        self.seed = seed
        rng = self._rng(_CHAIN)
        groups = s.categories * s.types_per_category
        # Sorted by type, so that the products of a type stand together.
        self.type_of = np.sort(np.arange(s.products) % groups)
        self.category_of = self.type_of // s.types_per_category
        self.size = np.exp(rng.normal(0.0, s.product_sd, s.products))
        self.size /= self.size.mean()
        self.base_price = np.round(np.exp(rng.normal(1.1, 0.4, s.products)), 2)
        self.manufacturer = rng.integers(0, max(2, s.products // 8), s.products)
        self.effects = _effects(s, rng)
        self.season = _season(s, rng)
        self.shock = _shocks(s, rng)
        self.planned_display, self.planned_mailer, self.planned_discount = self._plan(rng)

    @property
    def weeks(self) -> list[date]:
        return [self.settings.first_week + i * ONE_WEEK for i in range(self.settings.weeks)]

    @property
    def store_ids(self) -> list[str]:
        width = len(str(self.settings.stores))
        return [f"s{i:0{width}d}" for i in range(self.settings.stores)]

    @property
    def product_ids(self) -> list[str]:
        width = len(str(self.settings.products))
        return [f"p{i:0{width}d}" for i in range(self.settings.products)]

    def category_name(self, category: int) -> str:
        names = self.settings.category_names
        turn, place = divmod(category, len(names))
        return names[place] if turn == 0 else f"{names[place]} {turn + 1}"

    def products(self) -> pl.DataFrame:
        """``product_id, category, type, manufacturer_id, base_price`` and the true effects."""
        return pl.DataFrame(
            {
                "product_id": self.product_ids,
                "category": [self.category_name(c) for c in self.category_of],
                "type": [f"TYPE {t}" for t in self.type_of],
                "manufacturer_id": [f"m{m}" for m in self.manufacturer],
                "base_price": self.base_price,
                "display_effect": self.effects[:, 0],
                "mailer_effect": self.effects[:, 1],
                "elasticity": self.effects[:, 2],
            }
        )

    def play(self, stores: Sequence[int]) -> Iterator[StoreWeeks]:
        """The weeks of some stores, in order."""
        s = self.settings
        block = np.asarray(stores)
        store_size, pair_size, carried = self._stores(block)
        groups = s.categories * s.types_per_category
        row = np.arange(block.size)[:, None]
        type_group = (row * groups + self.type_of).ravel()
        category_group = (row * s.categories + self.category_of).ravel()
        earlier: deque[np.ndarray] = deque(maxlen=max(len(s.pull_forward), 1))
        for week in range(s.weeks):
            trips = self._trips(block, store_size, week)
            display, mailer, discount = self._carried_out(block, week)
            base = (
                s.base_units
                * (self.size * np.exp(self.season[self.category_of, week] + self.shock[:, week]))
                * pair_size
                * (trips / s.trips_per_store)[:, None]
                * carried
            )
            terms = (display, mailer, -np.log1p(-discount))
            log_factor = sum(t * self.effects[:, i] for i, t in enumerate(terms))
            incremental = base * np.expm1(log_factor)
            lost = losses_to_rivals(
                base.ravel(),
                incremental.ravel(),
                type_group=type_group,
                category_group=category_group,
                diversion_type=s.diversion_type,
                diversion_category=s.diversion_category,
            ).reshape(base.shape)
            pulled = sum(
                (share * past for share, past in zip(s.pull_forward, earlier, strict=False)),
                start=np.zeros_like(base),
            )
            mean = expected_units(base, incremental, lost, pulled)
            earlier.appendleft(incremental)
            units = np.stack(
                [
                    counts(mean[i], size=s.size, rng=self._rng(_COUNTS, store, week))
                    for i, store in enumerate(block)
                ]
            )
            yield StoreWeeks(
                week, block, carried, display, mailer, discount, trips, base, mean, units
            )

    # -- draws -----------------------------------------------------------------------------------

    def _rng(self, *key: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, *map(int, key)])

    def _plan(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What the chain plans per product and week; it foresees season and shock."""
        s = self.settings
        shape = (s.products, s.weeks)
        foreseen = self.season[self.category_of] + self.shock
        spread = float(foreseen.std())
        drive = foreseen / spread if spread > 0.0 else np.zeros(shape)
        rate = min(max(s.promotion_rate / PROMOTION_WEEKS, 1e-9), 1.0 - 1e-9)
        odds = rate / (1.0 - rate) * np.exp(s.timing * drive)
        starts = (rng.random(shape) < odds / (1.0 + odds)) & (s.promotion_rate > 0.0)
        draws = rng.random((4, *shape))
        kinds = [draws[0] < DISPLAY_SHARE, draws[1] < MAILER_SHARE, draws[2] < DISCOUNT_SHARE]
        kinds[2] |= ~(kinds[0] | kinds[1])
        depth = np.asarray(DEPTHS)[(draws[3] * len(DEPTHS)).astype(int)]
        begun = [starts & k for k in kinds]
        lasting = [_lasting(b.astype(float)) for b in begun]
        return lasting[0], lasting[1], _lasting(begun[2] * depth)

    def _stores(self, block: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        s = self.settings
        sizes, pairs, carried = [], [], []
        for store in block:
            rng = self._rng(_STORE, store)
            sizes.append(np.exp(rng.normal(0.0, s.store_sd) - s.store_sd**2 / 2))
            pairs.append(np.exp(rng.normal(0.0, s.pair_sd, s.products) - s.pair_sd**2 / 2))
            carried.append(rng.random(s.products) < s.assortment)
        return np.array(sizes), np.stack(pairs), np.stack(carried)

    def _trips(self, block: np.ndarray, size: np.ndarray, week: int) -> np.ndarray:
        s = self.settings
        noise = np.array([self._rng(_WEEK, store, week).normal(0.0, s.trips_sd) for store in block])
        return np.maximum(np.round(s.trips_per_store * size * np.exp(noise)), 1.0)

    def _carried_out(
        self, block: np.ndarray, week: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What each store does; it keeps to it for as long as a promotion lasts."""
        s = self.settings
        draws = np.stack(
            [
                self._rng(_PLAN, store, week // PROMOTION_WEEKS).random((3, s.products))
                for store in block
            ],
            axis=1,
        )
        own = draws[0] > 1.0 - OWN_DISPLAYS
        done = draws < s.execution
        display = (self.planned_display[:, week].astype(bool) & done[0]) | own
        mailer = self.planned_mailer[:, week].astype(bool) & done[1]
        discount = self.planned_discount[:, week] * done[2]
        return display.astype(float), mailer.astype(float), discount


def _effects(s: MarketSettings, rng: np.random.Generator) -> np.ndarray:
    drawn = [
        rng.normal(mean, spread, s.products)
        for mean, spread in (s.display_effect, s.mailer_effect, s.elasticity)
    ]
    moved = rng.random(s.products) >= s.null_share
    return np.stack(drawn, axis=1) * moved[:, None] * s.effect_scale


def _season(s: MarketSettings, rng: np.random.Generator) -> np.ndarray:
    """Log season by category and week."""
    phase = rng.uniform(0.0, 2.0 * np.pi, s.categories)
    year = 2.0 * np.pi * np.arange(s.weeks) / 52.0
    return s.season * np.sin(year[None, :] + phase[:, None])


def _shocks(s: MarketSettings, rng: np.random.Generator) -> np.ndarray:
    """Log demand of products over the weeks: an autoregression with a spread of ``shock_sd``."""
    noise = rng.normal(0.0, s.shock_sd, (s.products, s.weeks))
    shocks = np.empty_like(noise)
    shocks[:, 0] = noise[:, 0]
    fresh = np.sqrt(1.0 - s.shock_memory**2)
    for week in range(1, s.weeks):
        shocks[:, week] = s.shock_memory * shocks[:, week - 1] + fresh * noise[:, week]
    return shocks


def _lasting(starts: np.ndarray) -> np.ndarray:
    """What starts goes on for ``PROMOTION_WEEKS``."""
    lasting = starts.copy()
    for later in range(1, PROMOTION_WEEKS):
        lasting[:, later:] = np.maximum(lasting[:, later:], starts[:, :-later])
    return lasting
