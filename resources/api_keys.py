"""API keys of the service: made once, shown once, kept as hashes.

A key is ``lg_<id>_<secret>``. The file holds the SHA-256 of the secret: 192 random bits cannot be
guessed, so a slow password hash would only slow the service down.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal, get_args

from filelock import FileLock

Scope = Literal["offers:read", "actions:read", "events:write", "release:write"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
PREFIX = "lg"
_ID_BYTES = 4
_SECRET_BYTES = 24
_LOCK_SECONDS = 10.0
# Compared with when an id is unknown, so that known and unknown ids take equally long.
_NOBODY = "0" * 64


class ApiKeyError(ValueError):
    """The keys cannot be read or changed like that; the message says why."""


@dataclass(frozen=True)
class ApiKey:
    """A key as it is kept.

    Attributes:
        id: Public part.
        name: Who holds it; the actor of what it does.
        scopes: What it may do.
        secret_sha256: Hash of the secret part.
        created_at: Naive UTC.
        expires_at: Naive UTC; ``None``: never.
        revoked_at: Naive UTC; ``None``: it is good.
        rate_per_second: Its own limit; ``None``: the service's.
    """

    id: str
    name: str
    scopes: tuple[str, ...]
    secret_sha256: str
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    rate_per_second: float | None = None

    def state(self, now: datetime) -> Literal["good", "expired", "revoked"]:
        if self.revoked_at is not None and self.revoked_at <= now:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "good"


@dataclass(frozen=True)
class Keys:
    """All keys of an installation by id, as read at one time."""

    by_id: dict[str, ApiKey]

    def find(self, token: str) -> ApiKey | None:
        """The key of a token, also one that has expired; None for any other text."""
        prefix, _, rest = token.partition("_")
        key_id, _, secret = rest.partition("_")
        key = self.by_id.get(key_id)
        expected = key.secret_sha256 if key else _NOBODY
        given = hashlib.sha256(secret.encode()).hexdigest()
        same = hmac.compare_digest(given, expected)
        return key if same and prefix == PREFIX else None


def read_keys(path: Path) -> Keys:
    """Read the key file; no keys where there is no file.

    Raises:
        ApiKeyError: It is damaged.
    """
    if not path.exists():
        return Keys({})
    try:
        return Keys({row["id"]: _from_row(row) for row in json.loads(path.read_text())["keys"]})
    except (ValueError, KeyError, TypeError) as error:
        raise ApiKeyError(
            f"the key file {path} is damaged ({error}); restore it from a backup, or remove it and "
            "make new keys with `python -m liftgraph keys add`"
        ) from error


def add_key(
    path: Path,
    *,
    name: str,
    scopes: Iterable[str],
    expires_in: timedelta | None = None,
    rate_per_second: float | None = None,
) -> tuple[ApiKey, str]:
    """Make a key.

    Args:
        path: The key file; made, readable by its owner only.
        name: Who will hold it.
        scopes: Of ``SCOPES``, at least one.
        expires_in: From now; default never.
        rate_per_second: Its own limit.

    Returns:
        The key as kept, and the token, which nobody can show again.

    Raises:
        ApiKeyError: A scope is unknown, or none or no name is given.
    """
    wanted = tuple(dict.fromkeys(scopes))
    unknown = [scope for scope in wanted if scope not in SCOPES]
    if unknown or not wanted or not name.strip():
        raise ApiKeyError(
            f"a key has a name and scopes of {', '.join(SCOPES)}; got name {name!r} and "
            f"{', '.join(wanted) or 'no scope'}"
        )
    with _changing(path) as keys:
        key, token = _new(name=name, scopes=wanted, rate_per_second=rate_per_second)
        if expires_in is not None:
            key = replace(key, expires_at=key.created_at + expires_in)
        keys[key.id] = key
    return key, token


def rotate_key(path: Path, key_id: str, *, overlap: timedelta) -> tuple[ApiKey, str]:
    """Make a successor with the same name, scopes and limit; the old one is good for the overlap.

    Raises:
        ApiKeyError: There is no such key, or it is good no more.
    """
    with _changing(path) as keys:
        old = _known(keys, key_id, path)
        now = _now()
        if old.state(now) != "good":
            raise ApiKeyError(f"key {key_id} is {old.state(now)}; make a new one with `keys add`")
        key, token = _new(name=old.name, scopes=old.scopes, rate_per_second=old.rate_per_second)
        lifetime = old.expires_at - old.created_at if old.expires_at else None
        if lifetime is not None:
            key = replace(key, expires_at=key.created_at + lifetime)
        ends = now + overlap
        keys[old.id] = replace(old, expires_at=min(ends, old.expires_at or ends))
        keys[key.id] = key
    return key, token


def revoke_key(path: Path, key_id: str) -> ApiKey:
    """End a key now; running services see it within a second.

    Raises:
        ApiKeyError: There is no such key.
    """
    with _changing(path) as keys:
        keys[key_id] = replace(_known(keys, key_id, path), revoked_at=_now())
        return keys[key_id]


class _changing:  # noqa: N801 - reads as the statement it is used in
    """The keys, alone; written whole on leaving without an error."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> dict[str, ApiKey]:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = FileLock(f"{self._path}.lock", timeout=_LOCK_SECONDS, mode=0o600)
        self._lock.acquire()
        try:
            self._keys = dict(read_keys(self._path).by_id)
        except ApiKeyError:
            self._lock.release()
            raise
        return self._keys

    def __exit__(self, failed: type[BaseException] | None, *_: object) -> None:
        try:
            if failed is None:
                _write(self._path, self._keys)
        finally:
            self._lock.release()


def _write(path: Path, keys: dict[str, ApiKey]) -> None:
    rows = [asdict(key) for key in sorted(keys.values(), key=lambda k: (k.created_at, k.id))]
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump({"keys": rows}, file, indent=1, default=lambda v: v.isoformat())
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def _new(*, name: str, scopes: tuple[str, ...], rate_per_second: float | None) -> tuple:
    key_id, secret = secrets.token_hex(_ID_BYTES), secrets.token_hex(_SECRET_BYTES)
    key = ApiKey(
        id=key_id,
        name=name,
        scopes=scopes,
        secret_sha256=hashlib.sha256(secret.encode()).hexdigest(),
        created_at=_now(),
        rate_per_second=rate_per_second,
    )
    return key, f"{PREFIX}_{key_id}_{secret}"


def _known(keys: dict[str, ApiKey], key_id: str, path: Path) -> ApiKey:
    if key_id not in keys:
        raise ApiKeyError(f"there is no key {key_id} in {path}; `keys list` shows them")
    return keys[key_id]


def _from_row(row: dict) -> ApiKey:
    times = {
        name: datetime.fromisoformat(row[name]) if row[name] else None
        for name in ("created_at", "expires_at", "revoked_at")
    }
    return ApiKey(**{**row, **times, "scopes": tuple(row["scopes"])})


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)
