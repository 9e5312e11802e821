"""Links that open without a key, for a while: an iframe sends no header.

The signature covers path and end, so a link opens one page and nothing else. Its key lies in
``<home>/secrets/links.key``; a new one ends all links.
"""

from __future__ import annotations

import hmac
from datetime import UTC, datetime
from urllib.parse import urlencode

from resources.secrets import link_key
from resources.settings import Settings

# 128 bits: nobody guesses one while it lasts.
_SIGNATURE_LENGTH = 32
# Of a time in seconds: up to the year 5138. Longer ones are not ours, and Python refuses to read
# very long ones.
_MAX_DIGITS = 11


class LinkError(ValueError):
    """The link does not open; the message says why."""


def sign(settings: Settings, path: str, expires: datetime) -> str:
    """The query to append to a path.

    Args:
        settings: Of the installation.
        path: As requested, ``/insights/stores/367``.
        expires: Naive UTC.

    Returns:
        ``expires=...&signature=...``.
    """
    until = int(expires.replace(tzinfo=UTC).timestamp())
    return urlencode({"expires": until, "signature": _signature(settings, path, until)})


def verify(settings: Settings, path: str, expires: str | None, signature: str | None) -> None:
    """Stop unless a link is good.

    Raises:
        LinkError: It has ended, or is not ours.
    """
    if expires is None or signature is None or not _is_time(expires):
        raise LinkError("the link is not signed: ask for one with a key")
    if not hmac.compare_digest(
        _signature(settings, path, int(expires)).encode(), signature.encode()
    ):
        raise LinkError("the link's signature is wrong: it was changed, or made elsewhere")
    if int(expires) < datetime.now(UTC).timestamp():
        raise LinkError("the link has ended: ask for a new one")


def _is_time(expires: str) -> bool:
    return expires.isascii() and expires.isdigit() and len(expires) <= _MAX_DIGITS


def _signature(settings: Settings, path: str, until: int) -> str:
    digest = hmac.digest(link_key(settings), f"{path}\n{until}".encode(), "sha256")
    return digest.hex()[:_SIGNATURE_LENGTH]
