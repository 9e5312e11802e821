"""Costs and limits of action plans: ``actions.toml`` of the home, else the project's own."""

from __future__ import annotations

from models.actions.settings import ActionSettings, read_settings
from resources.settings import PROJECT, Settings

FILE = "actions.toml"


def action_settings_text(settings: Settings) -> str:
    """The file as it is; plans are stale when it changes."""
    own = settings.home / FILE
    return (own if own.exists() else PROJECT / FILE).read_text(encoding="utf-8")


def action_settings(settings: Settings) -> ActionSettings:
    """What plans are made with.

    Raises:
        ValueError: A mistake in the file, named.
    """
    return read_settings(action_settings_text(settings))
