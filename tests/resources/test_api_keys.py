"""API keys: hashed at rest, found by token, rotated with an overlap, ended."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.api_keys import (
    ApiKeyError,
    Keys,
    add_key,
    read_keys,
    revoke_key,
    rotate_key,
)

LATER = datetime.fromisoformat("2999-01-01")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "secrets" / "api_keys.json"


def test_the_secret_is_shown_once_and_kept_as_a_hash(file: Path) -> None:
    key, token = add_key(file, name="till", scopes=["offers:read"])
    prefix, key_id, secret = token.split("_")
    assert (prefix, key_id, len(secret)) == ("lg", key.id, 48)
    assert secret not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    found = read_keys(file).find(token)
    assert found == key
    assert found.scopes == ("offers:read",)


@pytest.mark.parametrize(
    "token",
    ["", "lg", "lg__", "lg_{id}", "lg_{id}_", "lg_{id}_{wrong}", "xx_{id}_{secret}", "é_{id}_💥"],
)
def test_any_other_text_is_nobodys(file: Path, token: str) -> None:
    key, good = add_key(file, name="till", scopes=["offers:read"])
    secret = good.split("_")[2]
    given_token = token.format(id=key.id, secret=secret, wrong="0" * len(secret))
    assert read_keys(file).find(given_token) is None


@given(st.text(max_size=100))
def test_no_text_raises(token: str) -> None:
    assert Keys({}).find(token) is None


def test_rotation_overlaps_and_keeps_name_scopes_and_rate(file: Path) -> None:
    old, old_token = add_key(
        file,
        name="till",
        scopes=["offers:read", "events:write"],
        expires_in=timedelta(days=90),
        rate_per_second=7,
    )
    new, new_token = rotate_key(file, old.id, overlap=timedelta(hours=24))
    keys = read_keys(file)
    now = new.created_at
    assert (new.name, new.scopes, new.rate_per_second) == (old.name, old.scopes, 7)
    assert new.expires_at == now + timedelta(days=90)
    assert keys.find(old_token).state(now + timedelta(hours=23)) == "good"
    assert keys.find(old_token).state(now + timedelta(hours=25)) == "expired"
    assert keys.find(new_token).state(now + timedelta(hours=25)) == "good"


def test_rotation_never_prolongs_the_old_key(file: Path) -> None:
    old, token = add_key(file, name="till", scopes=["offers:read"], expires_in=timedelta(minutes=5))
    rotate_key(file, old.id, overlap=timedelta(hours=24))
    assert read_keys(file).find(token).expires_at == old.expires_at


def test_a_revoked_key_is_known_and_good_for_nothing(file: Path) -> None:
    key, token = add_key(file, name="till", scopes=["offers:read"])
    revoke_key(file, key.id)
    assert read_keys(file).find(token).state(LATER) == "revoked"
    with pytest.raises(ApiKeyError, match="is revoked; make a new one"):
        rotate_key(file, key.id, overlap=timedelta(0))


def test_what_is_wrong_is_said(file: Path) -> None:
    with pytest.raises(ApiKeyError, match="got name 'x' and offers:write"):
        add_key(file, name="x", scopes=["offers:write"])
    with pytest.raises(ApiKeyError, match="no scope"):
        add_key(file, name="x", scopes=[])
    with pytest.raises(ApiKeyError, match="there is no key abcd"):
        revoke_key(file, "abcd")
    assert not file.exists()
    file.parent.mkdir(exist_ok=True)
    file.write_text("{")
    with pytest.raises(ApiKeyError, match="is damaged"):
        read_keys(file)


def test_keys_made_at_the_same_time_are_all_kept(file: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from resources.api_keys import add_key\n"
        "for i in range(5): add_key(Path(sys.argv[1]), name=str(i), scopes=['offers:read'])"
    )
    makers = [subprocess.Popen([sys.executable, "-c", code, str(file)]) for _ in range(3)]
    assert [maker.wait(timeout=60) for maker in makers] == [0, 0, 0]
    assert len(json.loads(file.read_text())["keys"]) == 15
