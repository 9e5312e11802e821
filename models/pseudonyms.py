"""Household pseudonyms: the keyed hash that stands for a raw id from ingest to the decision log.

Who holds the key can recompute a pseudonym from a raw id; nobody can go the other way. The key
itself is read by the caller.
"""

from __future__ import annotations

import hmac

import polars as pl

# Lowercase Crockford base32: no i, l, o, u, so that a pseudonym survives being read aloud.
ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
# 12 characters of 5 bits: the chance that any two of a million households meet is 4e-7.
PSEUDONYM_LENGTH = 12
PSEUDONYM_BITS = 5 * PSEUDONYM_LENGTH
# Shorter keys could be guessed by trying them against a known id.
MIN_KEY_BYTES = 16

# Two characters per table lookup: the id of each request is hashed on the reply path.
_PAIRS = tuple(a + b for a in ALPHABET for b in ALPHABET)


class PseudonymCollisionError(ValueError):
    """Two raw ids share a pseudonym: their histories would be merged."""


def pseudonymise(raw_id: str, key: bytes) -> str:
    """Pseudonym of one raw household id.

    HMAC-SHA256 (RFC 2104) of the id's UTF-8 bytes; the first 60 bits as Crockford base32.

    Args:
        raw_id: Id as the source writes it; compared byte by byte, nothing is trimmed.
        key: Secret of at least 16 bytes.

    Returns:
        12 characters of ``ALPHABET``.

    Raises:
        ValueError: The id is empty or the key too short.
    """
    if not raw_id:
        raise ValueError("household id is empty: a row without an id belongs in quarantine")
    _check_key(key)
    return _encode(hmac.digest(key, raw_id.encode(), "sha256"))


def pseudonymise_series(raw_ids: pl.Series, key: bytes) -> pl.Series:
    """Pseudonyms of a column of raw ids; each distinct id is hashed once.

    Args:
        raw_ids: Text; nulls stay null, for the contract to reject.
        key: Secret of at least 16 bytes.

    Returns:
        Text of the same length and name.

    Raises:
        TypeError: The column is not text.
        ValueError: An id is empty or the key too short.
        PseudonymCollisionError: Two ids of the column share a pseudonym.
    """
    if raw_ids.dtype != pl.String:
        raise TypeError(
            f"{raw_ids.name or 'household ids'}: expected text ids, got {raw_ids.dtype}; "
            "cast the column to pl.String first, the same way for every table"
        )
    _check_key(key)
    unique = raw_ids.drop_nulls().unique().to_list()
    pseudonyms = [pseudonymise(raw_id, key) for raw_id in unique]
    _check_collisions(unique, pseudonyms)
    if not unique:
        return raw_ids.clone()
    replaced = raw_ids.replace_strict(unique, pseudonyms, return_dtype=pl.String)
    return replaced.alias(raw_ids.name)


def is_pseudonym(text: str) -> bool:
    """Whether ``text`` has the form of a pseudonym."""
    return len(text) == PSEUDONYM_LENGTH and set(text) <= set(ALPHABET)


def _encode(digest: bytes) -> str:
    bits = int.from_bytes(digest[:8], "big") >> (64 - PSEUDONYM_BITS)
    return (
        _PAIRS[bits >> 50]
        + _PAIRS[bits >> 40 & 1023]
        + _PAIRS[bits >> 30 & 1023]
        + _PAIRS[bits >> 20 & 1023]
        + _PAIRS[bits >> 10 & 1023]
        + _PAIRS[bits & 1023]
    )


def _check_key(key: bytes) -> None:
    if len(key) < MIN_KEY_BYTES:
        raise ValueError(
            f"pseudonym key has {len(key)} bytes, at least {MIN_KEY_BYTES} are needed: "
            "make one with secrets.token_bytes(32)"
        )


def _check_collisions(raw_ids: list[str], pseudonyms: list[str]) -> None:
    clashes = len(raw_ids) - len(set(pseudonyms))
    if clashes:
        # The ids are secret at this point: the message counts them and names none.
        raise PseudonymCollisionError(
            f"{clashes} of {len(raw_ids):,} household ids share a pseudonym with another id: "
            "rotate the pseudonym key and load the households again"
        )
