"""``python -m liftgraph keys``: who may ask the service."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from bentos.clock import utc_now
from bentos.settings import ServingSettings
from resources.api_keys import (
    SCOPES,
    ApiKey,
    ApiKeyError,
    add_key,
    read_keys,
    revoke_key,
    rotate_key,
)

# Time to give everybody the new key.
OVERLAP_HOURS = 24.0

console = Console(stderr=True, highlight=False)


@click.group()
def keys() -> None:
    """API keys of the service: add, list, rotate, revoke."""


@keys.command()
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    type=click.Choice(SCOPES),
    help="What it may do; repeat for more.",
)
@click.option("--days", type=click.FloatRange(min=0, min_open=True), help="Days until it expires.")
@click.option(
    "--rate",
    type=click.FloatRange(min=0, min_open=True),
    help="Requests per second of its own; default LIFTGRAPH_RATE_PER_SECOND.",
)
def add(name: str, scopes: tuple[str, ...], days: float | None, rate: float | None) -> None:
    """Make a key for NAME and print it: nobody can show it again."""
    lifetime = timedelta(days=days) if days else None
    try:
        key, token = add_key(
            _file(), name=name, scopes=scopes, expires_in=lifetime, rate_per_second=rate
        )
    except ApiKeyError as error:
        raise click.ClickException(str(error)) from error
    _show_new(key, token)


@keys.command("list")
def list_() -> None:
    """Show all keys, without their secrets."""
    try:
        found = read_keys(_file()).by_id.values()
    except ApiKeyError as error:
        raise click.ClickException(str(error)) from error
    if not found:
        console.print("There is no key; `python -m liftgraph keys add NAME --scope offers:read`.")
        return
    table = Table()
    for heading in ("id", "name", "scopes", "state", "created", "expires", "rate"):
        table.add_column(heading)
    for key in found:
        table.add_row(
            key.id,
            key.name,
            " ".join(key.scopes),
            key.state(utc_now()),
            f"{key.created_at:%Y-%m-%d %H:%M}",
            f"{key.expires_at:%Y-%m-%d %H:%M}" if key.expires_at else "never",
            f"{key.rate_per_second:g}/s" if key.rate_per_second else "",
        )
    Console().print(table)


@keys.command()
@click.argument("key_id")
@click.option(
    "--overlap-hours",
    default=OVERLAP_HOURS,
    show_default=True,
    type=click.FloatRange(min=0),
    help="How long the old key is good beside the new one.",
)
def rotate(key_id: str, overlap_hours: float) -> None:
    """Make a successor of KEY_ID with the same name, scopes and rate, and print it."""
    try:
        key, token = rotate_key(_file(), key_id, overlap=timedelta(hours=overlap_hours))
    except ApiKeyError as error:
        raise click.ClickException(str(error)) from error
    console.print(f"Key {key_id} is good for {overlap_hours:g} more hours.")
    _show_new(key, token)


@keys.command()
@click.argument("key_id")
def revoke(key_id: str) -> None:
    """End KEY_ID now."""
    try:
        key = revoke_key(_file(), key_id)
    except ApiKeyError as error:
        raise click.ClickException(str(error)) from error
    console.print(f"Key {key.id} of {key.name} is revoked; running services see it in a second.")


def _show_new(key: ApiKey, token: str) -> None:
    console.print(f"Key {key.id} of {key.name}, for {', '.join(key.scopes)}. Keep it safe:")
    click.echo(token)


def _file() -> Path:
    return ServingSettings().api_keys_file
