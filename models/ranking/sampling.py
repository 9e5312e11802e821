"""Which rows a model learns from: events with a purchase, and a part of what was not bought."""

from __future__ import annotations

import hashlib

import numpy as np
import polars as pl

from models.ranking.dataset import EVENT, KEY, LABEL

# Constants of splitmix64 (Steele, Lea and Flood, OOPSLA 2014): a good mix from three lines.
_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def learnable(examples: pl.DataFrame) -> pl.DataFrame:
    """The events in which a candidate was bought; the others hold no pair to learn from.

    Args:
        examples: Frame of ``dataset.examples`` with ``label``, sorted by as-of, household and
            product.

    Raises:
        ValueError: Rows are not sorted, or no event has a bought candidate.
    """
    require_sorted(examples)
    useful = examples.filter(pl.col(LABEL).max().over(*EVENT) > 0)
    if useful.is_empty():
        raise ValueError(
            f"examples to train on: none of {examples.height:,} candidates was bought, so there is "
            "nothing to learn from; check that the labels' weeks are those of the examples and are "
            "mature"
        )
    return useful


def require_sorted(examples: pl.DataFrame) -> None:
    """Refuse rows whose order could differ from run to run.

    Raises:
        ValueError: Rows are not sorted by as-of, household and product.
    """
    if examples.height and not examples.select(pl.struct(*KEY).is_sorted()).item():
        raise ValueError(
            "examples to train on: rows are not sorted by as_of, household_id, product_id, on "
            "which the bytes of a model depend; sort them or take them from dataset.examples()"
        )


def group_sizes(examples: pl.DataFrame) -> np.ndarray:
    """Rows of each event, in the order of the rows (Int64)."""
    return examples.select(pl.struct(*EVENT).rle().struct.field("len"))["len"].to_numpy()


def thin_negatives(examples: pl.DataFrame, *, per_positive: float, seed: int) -> pl.DataFrame:
    """Keep every bought candidate and about ``per_positive`` others for each.

    A row stays or goes by a hash of its key, so neither other rows nor their order matter.

    Args:
        examples: As for ``learnable``.
        per_positive: Above 0; all rows stay where there are no more than these.
        seed: Of the hash.

    Raises:
        ValueError: ``per_positive`` is not above 0.
    """
    if not per_positive > 0:
        raise ValueError(f"thin_negatives(): per_positive is {per_positive}; give more than 0")
    positives = int(examples[LABEL].sum())
    negatives = examples.height - positives
    if negatives <= per_positive * positives:
        return examples
    kept = uniform(examples, seed=seed) < per_positive * positives / negatives
    return examples.filter(pl.Series(kept) | (pl.col(LABEL) > 0))


def uniform(examples: pl.DataFrame, *, seed: int) -> np.ndarray:
    """A number in [0, 1) for each row, from a hash of its key and the seed (Float64).

    Polars' own hash is not the same from one version to the next.
    """
    mixed = np.full(examples.height, seed % 2**64, dtype=np.uint64)
    for name in KEY:
        column = examples[name].cast(pl.String)
        known = column.unique().sort()
        hashes = np.array(
            [
                int.from_bytes(hashlib.blake2b(v.encode(), digest_size=8).digest(), "little")
                for v in known
            ],
            dtype=np.uint64,
        )
        codes = column.cast(pl.Enum(known)).to_physical().to_numpy()
        mixed = _mixed(mixed ^ hashes[codes])
    return (mixed >> np.uint64(11)).astype(np.float64) / 2.0**53


def _mixed(values: np.ndarray) -> np.ndarray:
    values = values + _GAMMA
    values = (values ^ (values >> np.uint64(30))) * _MIX_1
    values = (values ^ (values >> np.uint64(27))) * _MIX_2
    return values ^ (values >> np.uint64(31))
