"""Which model answers a household: by a stable hash, so that it meets one model, not a mixture."""

from __future__ import annotations

import hashlib
from typing import Literal

Arm = Literal["live", "baseline", "canary", "shadow"]

_HASH_BYTES = 8
_RANGE = 1 << (8 * _HASH_BYTES)
_ALL = 100.0


def arm_of(household: str, *, salt: str, percent: float) -> Arm:
    """The arm of a household while a canary runs.

    The live model also answers a slice as large as the canary's, under the name ``baseline``: the
    judge compares like with like, without the rest of the traffic outweighing it. Both slices grow
    from their own end, so a household of the canary or the baseline stays there up to 50 %.

    Args:
        household: Pseudonym.
        salt: Constant for one canary (its model version), so that the next one draws anew.
        percent: Of the canary, 0..100; the baseline gets as much, as far as it fits.

    Returns:
        ``canary`` for a position in [0, p), ``baseline`` in [100 - p, 100), else ``live``.

    Raises:
        ValueError: ``percent`` is outside 0..100.
    """
    if not 0.0 <= percent <= _ALL:
        raise ValueError(f"arm_of(): percent is {percent}; give 0 to 100")
    at = position(household, salt=salt)
    if at < percent:
        return "canary"
    return "baseline" if at >= _ALL - percent else "live"


def position(household: str, *, salt: str) -> float:
    """Where a household lies in [0, 100), uniformly over households."""
    digest = hashlib.sha256(f"{salt}\0{household}".encode()).digest()
    # In float a hash just below the end would round up to 100.
    return min(int.from_bytes(digest[:_HASH_BYTES], "big") / _RANGE, 1.0 - 2.0**-53) * _ALL
