"""Keys: made once, kept, readable by their owner only; the public key only for public data."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.fernet import Fernet, InvalidToken

from models.pseudonyms import pseudonymise
from resources import secrets
from resources.settings import Settings


def settings(home: Path, **changes: object) -> Settings:
    return Settings(_env_file=None, home=home, **{"source": "own", **changes})


def test_an_installations_own_key_is_made_once_and_kept(tmp_path: Path) -> None:
    key = secrets.pseudonym_key(settings(tmp_path))
    assert secrets.pseudonym_key(settings(tmp_path)) == key
    assert secrets.pseudonym_key(settings(tmp_path / "other")) != key
    assert not secrets.key_is_public(settings(tmp_path))
    assert len(pseudonymise("1", key)) == 12


def test_keys_are_for_their_owner_only(tmp_path: Path) -> None:
    secrets.pseudonym_key(settings(tmp_path))
    secrets.quarantine_cipher(settings(tmp_path))
    files = sorted((tmp_path / "secrets").iterdir())
    assert [f.name for f in files] == ["pseudonym.key", "quarantine.key"]
    assert {stat.S_IMODE(f.stat().st_mode) for f in files} == {0o600}
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700


def test_the_public_key_is_only_for_the_public_year(tmp_path: Path) -> None:
    public = settings(tmp_path, source="complete_journey")
    assert secrets.pseudonym_key(public) == secrets.PUBLIC_DEMO_KEY
    assert secrets.key_is_public(public)
    assert not (tmp_path / "secrets" / "pseudonym.key").exists()
    assert not secrets.key_is_public(settings(tmp_path))


def test_a_key_that_was_made_outlives_a_change_of_source(tmp_path: Path) -> None:
    own = secrets.pseudonym_key(settings(tmp_path))
    assert secrets.pseudonym_key(settings(tmp_path, source="complete_journey")) == own


def test_a_declared_key_comes_first_and_is_not_shown(tmp_path: Path) -> None:
    declared = settings(tmp_path, pseudonym_key="a declared key, long enough")
    assert secrets.pseudonym_key(declared) == b"a declared key, long enough"
    assert "declared key" not in repr(declared)
    assert not (tmp_path / "secrets").exists()


def test_first_users_at_the_same_time_agree_on_the_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: secrets.pseudonym_key(settings(tmp_path)), range(32)))
    assert len(keys) == 1
    assert [f.name for f in (tmp_path / "secrets").iterdir()] == ["pseudonym.key"]


def test_quarantined_rows_can_be_read_only_with_the_installations_key(tmp_path: Path) -> None:
    sealed = secrets.quarantine_cipher(settings(tmp_path)).encrypt(b"row")
    assert secrets.quarantine_cipher(settings(tmp_path)).decrypt(sealed) == b"row"
    with pytest.raises(InvalidToken):
        Fernet(Fernet.generate_key()).decrypt(sealed)
