"""How report pages are filled in: escaped, and a name that is missing is an error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import jinja2


def environment(**filters: Callable[..., object]) -> jinja2.Environment:
    """Templates of this package's ``templates`` folder, with the filters a page uses."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= filters
    return made
