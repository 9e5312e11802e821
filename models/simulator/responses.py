"""How promoted sales come about: some are new, some are taken from rivals, some from later weeks.

Own sales rise by a factor. Of the units added, a share is taken from rivals of the same type in
the store, a share from the other types of the category, in proportion to what each sells, and a
share is missing in the weeks after (the decomposition of van Heerde, Leeflang and Wittink,
"Decomposing the Sales Promotion Bump with Store Data", Marketing Science 23(3), 2004). Losses are
linear and bounded: what is not sold cannot be taken.
"""

from __future__ import annotations

import numpy as np

# A rival keeps at least this share of its sales, whatever is promoted beside it.
KEPT_BY_RIVALS = 0.2
# And no week falls below this share of its base, whatever was bought ahead.
LEAST_OF_BASE = 0.05
# Below this many units there is nobody to take from.
_NOTHING = 1e-9


def losses_to_rivals(
    base: np.ndarray,
    incremental: np.ndarray,
    *,
    type_group: np.ndarray,
    category_group: np.ndarray,
    diversion_type: float,
    diversion_category: float,
) -> np.ndarray:
    """Units that each row loses to what is promoted beside it.

    Args:
        base: Expected units without any promotion.
        incremental: Units that the row's own promotion adds.
        type_group: Code of the row's store, week and type.
        category_group: Code of its store, week and category.
        diversion_type: Share of ``incremental`` taken from rivals of the type.
        diversion_category: Share taken from the category's other types.

    Returns:
        Units lost, at most ``1 - KEPT_BY_RIVALS`` of the base.
    """
    of_type = np.bincount(type_group, weights=base)[type_group]
    of_category = np.bincount(category_group, weights=base)[category_group]
    within = _ratio(diversion_type * incremental, of_type - base)
    across = _ratio(diversion_category * incremental, of_category - of_type)
    rate = np.bincount(type_group, weights=within)[type_group] - within
    rate += (
        np.bincount(category_group, weights=across)[category_group]
        - np.bincount(type_group, weights=across)[type_group]
    )
    return base * np.minimum(rate, 1.0 - KEPT_BY_RIVALS)


def expected_units(
    base: np.ndarray, incremental: np.ndarray, lost: np.ndarray, pulled: np.ndarray
) -> np.ndarray:
    """Base plus what is added, less what is lost to rivals and was bought ahead."""
    return np.maximum(base + incremental - lost - pulled, LEAST_OF_BASE * base)


def action_truth(
    base: np.ndarray,
    relative: np.ndarray,
    *,
    rivals_of_type: np.ndarray,
    rivals_of_category: np.ndarray,
    diversion_type: float,
    diversion_category: float,
    pull_forward: tuple[float, ...],
) -> dict[str, np.ndarray]:
    """True lift of an action in a market where nothing else is promoted.

    Args:
        base: Expected units without promotion.
        relative: Own incremental units as a share of ``base``.
        rivals_of_type: Base units of the store's other products of the type.
        rivals_of_category: Of the category's other types.
        diversion_type: As ``losses_to_rivals``.
        diversion_category: As ``losses_to_rivals``.
        pull_forward: Shares missing one, two, ... weeks later.

    Returns:
        ``own, cannibalised, pulled_forward, net`` in units.
    """
    own = base * relative
    most = 1.0 - KEPT_BY_RIVALS
    cannibalised = np.where(
        rivals_of_type > 0.0, np.minimum(diversion_type * own, most * rivals_of_type), 0.0
    ) + np.where(
        rivals_of_category > 0.0,
        np.minimum(diversion_category * own, most * rivals_of_category),
        0.0,
    )
    pulled = sum(
        (np.minimum(share * own, (1.0 - LEAST_OF_BASE) * base) for share in pull_forward),
        start=np.zeros_like(own),
    )
    return {
        "own": own,
        "cannibalised": cannibalised,
        "pulled_forward": pulled,
        "net": own - cannibalised - pulled,
    }


def counts(mean: np.ndarray, *, size: float | None, rng: np.random.Generator) -> np.ndarray:
    """Units sold (Int64): Poisson, or negative binomial with variance mean + mean²/size."""
    rate = mean if size is None else mean * rng.gamma(size, 1.0 / size, size=mean.shape)
    return rng.poisson(rate)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """``part / whole``, 0 where there is nothing to take from."""
    there = whole > _NOTHING
    return np.where(there, part / np.where(there, whole, 1.0), 0.0)
