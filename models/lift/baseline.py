"""What a store would sell of a product in a coming week without any promotion of it.

The level of a store's product (``levels``) times the week, which is taken to be as the last ones.
A demand model's forecast can take its place.
"""

from __future__ import annotations

import numpy as np

from models.lift.effects import Effects
from models.lift.levels import Levels, pair_levels

_TINY = 1e-9


def base_units(effects: Effects) -> Levels:
    """Baselines of every pair for the week after the panel's last."""
    index = effects.index
    levels = pair_levels(
        index,
        exposure=effects.without_level(),
        dispersion=effects.noise.dispersion,
        half_life=effects.settings.level_half_life,
    )
    stores, categories, variance = _week_level(effects)
    units = levels.units * stores[index.store_of_pair] * categories[index.category_of_pair]
    return Levels(
        units=units,
        log_spread=np.sqrt(levels.log_spread**2 + effects.noise.shock + variance),
    )


def _week_level(effects: Effects) -> tuple[np.ndarray, np.ndarray, float]:
    """Levels of stores and categories over the trailing weeks, and their log variance."""
    index = effects.index
    store = effects.fixed.store_week.reshape(-1, index.weeks)[:, -effects.settings.week_level :]
    category = effects.fixed.category_week.reshape(-1, index.weeks)
    category = category[:, -effects.settings.week_level :]
    variance = sum(float(np.median(_log_variance(part))) for part in (store, category))
    return store.mean(axis=1), category.mean(axis=1), variance


def _log_variance(levels: np.ndarray) -> np.ndarray:
    mean = np.maximum(levels.mean(axis=1), _TINY)
    return np.minimum(levels.var(axis=1) / mean**2, 1.0)
