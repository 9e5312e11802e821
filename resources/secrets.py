"""Secrets of one installation: made on first use, readable by their owner only, never logged."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from cryptography.fernet import Fernet

from resources.settings import Settings

# The bundled year is public and anonymous already. A published key lets any two installations
# agree on its pseudonyms, and so on every model byte; it must never guard another data set.
PUBLIC_DEMO_KEY = b"liftgraph: public key of public data"


def pseudonym_key(settings: Settings) -> bytes:
    """Key of the household pseudonyms.

    ``LIFTGRAPH_PSEUDONYM_KEY``, else the installation's own key file; for the bundled public year
    a published key, unless one of the others is there.
    """
    if settings.pseudonym_key is not None:
        return settings.pseudonym_key.get_secret_value().encode()
    path = settings.home / "secrets" / "pseudonym.key"
    if not path.exists() and settings.source == "complete_journey":
        return PUBLIC_DEMO_KEY
    return _kept(path, lambda: secrets.token_hex(32).encode())


def key_is_public(settings: Settings) -> bool:
    """Whether the published demo key is in effect."""
    return pseudonym_key(settings) == PUBLIC_DEMO_KEY


def quarantine_cipher(settings: Settings) -> Fernet:
    """Cipher of quarantined rows, which hold raw household ids."""
    return Fernet(_kept(settings.home / "secrets" / "quarantine.key", Fernet.generate_key))


def link_key(settings: Settings) -> bytes:
    """Key of the signed links; a new one ends all links."""
    return _kept(settings.home / "secrets" / "links.key", lambda: secrets.token_bytes(32))


def _kept(path: Path, make) -> bytes:
    """Content of a key file, made once even if two processes ask at the same time."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        unfinished = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(make())
        try:
            os.link(unfinished, path)
        except FileExistsError:
            pass  # Another process was first; its key is the key.
        finally:
            unfinished.unlink()
    return path.read_bytes()
