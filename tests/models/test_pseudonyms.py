"""Pseudonyms: fixed vectors, the vectorised form, and what is refused."""

from __future__ import annotations

import base64
import hashlib
import hmac

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import pseudonyms
from models.pseudonyms import (
    ALPHABET,
    PseudonymCollisionError,
    is_pseudonym,
    pseudonymise,
    pseudonymise_series,
)

KEY = bytes(range(32))
RAW_IDS = st.text(min_size=1, max_size=20)

RFC4648 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"


@pytest.mark.parametrize(
    ("raw_id", "expected"),
    [("1", "exgv3k1549yz"), ("2499", "5zcxm2k9tg1p"), ("hh-é", "mk7ae5f3t5t2")],
)
def test_published_vectors_never_change(raw_id: str, expected: str) -> None:
    # A change here orphans every pseudonym already in a lake.
    assert pseudonymise(raw_id, KEY) == expected


@given(raw_id=RAW_IDS)
def test_it_is_the_first_sixty_bits_of_hmac_sha256(raw_id: str) -> None:
    digest = hmac.new(KEY, raw_id.encode(), hashlib.sha256).digest()
    expected = base64.b32encode(digest).decode()[:12].translate(str.maketrans(RFC4648, ALPHABET))
    assert pseudonymise(raw_id, KEY) == expected
    assert is_pseudonym(expected)


@given(raw_ids=st.lists(st.one_of(st.none(), RAW_IDS)))
def test_a_column_gives_the_same_pseudonyms_as_one_by_one(raw_ids: list[str | None]) -> None:
    column = pl.Series("household_id", raw_ids, dtype=pl.String)
    got = pseudonymise_series(column, KEY)
    assert got.to_list() == [None if r is None else pseudonymise(r, KEY) for r in raw_ids]
    assert got.name == "household_id"
    assert got.dtype == pl.String


def test_another_key_gives_other_pseudonyms() -> None:
    assert pseudonymise("1", KEY) != pseudonymise("1", KEY[::-1])


def test_a_collision_is_refused_without_naming_the_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pseudonyms, "_encode", lambda digest: "0" * 12)
    with pytest.raises(PseudonymCollisionError, match="1 of 2 household ids") as caught:
        pseudonymise_series(pl.Series(["secret-a", "secret-b"]), KEY)
    assert "secret" not in str(caught.value)


def test_numbers_are_refused() -> None:
    with pytest.raises(TypeError, match=r"household_id: expected text ids, got Int64"):
        pseudonymise_series(pl.Series("household_id", [1, 2]), KEY)


def test_an_empty_id_and_a_short_key_are_refused() -> None:
    with pytest.raises(ValueError, match="id is empty"):
        pseudonymise("", KEY)
    with pytest.raises(ValueError, match="3 bytes, at least 16"):
        pseudonymise("1", b"abc")
    with pytest.raises(ValueError, match="at least 16"):
        pseudonymise_series(pl.Series([], dtype=pl.String), b"")


@pytest.mark.parametrize("text", ["0123456789a", "0123456789abc", "0123456789aI", ""])
def test_other_text_is_no_pseudonym(text: str) -> None:
    assert not is_pseudonym(text)
