"""What a feature set is called, keyed and made of, and the hash a model names it by."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass

# Enough of SHA-256 that two feature sets never share it by chance, short enough to read.
HASH_LENGTH = 16


@dataclass(frozen=True)
class FeatureSet:
    """A feature set's identity.

    Attributes:
        name: Table in the ``features`` schema.
        keys: Columns that identify the entity; with ``as_of`` they identify a weekly row.
        features: Numeric model inputs, in their order.
        version: Raised when the values of a feature change under its name.
        window_days: Days before an as-of that its rows depend on; no older row matters.
    """

    name: str
    keys: tuple[str, ...]
    features: tuple[str, ...]
    version: int
    window_days: int

    @property
    def hash(self) -> str:
        names = (f"{self.name}.{feature}" for feature in self.features)
        return feature_set_hash(names, version=self.version)


def feature_set_hash(names: Iterable[str], *, version: int | str) -> str:
    """Identify the model inputs ``names``, in their order, as computed by ``version``.

    Stable over processes and platforms: the first 16 hexadecimal digits of a SHA-256.
    """
    text = json.dumps({"features": list(names), "version": str(version)}, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:HASH_LENGTH]


def combined_hash(sets: Iterable[FeatureSet]) -> str:
    """Identify several feature sets that one model reads, in the order of its inputs."""
    return feature_set_hash((f"{s.name}:{s.hash}" for s in sets), version=1)
