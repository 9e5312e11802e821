"""How pages are made: templates filled in and escaped, and headers that let nothing else run.

A page is one document: its style and script are inside it, allowed by their hashes.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from starlette.responses import HTMLResponse

TEMPLATES = Path(__file__).parent / "templates"
STYLE = "page.css"
_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400
_TWO = 2


def page(
    template: str,
    values: Mapping[str, Any],
    *,
    script: str | None = None,
    frame_ancestors: str = "'none'",
    status: int = 200,
) -> HTMLResponse:
    """A filled-in page with its headers.

    Args:
        template: File in ``templates``.
        values: What it shows; a missing name is an error.
        script: File of its script, if it runs one; it may then ask this service.
        frame_ancestors: Who may embed it, as the Content-Security-Policy says it.
        status: HTTP status.
    """
    style = text_of(STYLE)
    code = text_of(script) if script else ""
    html = _environment().get_template(template).render(**values, style=style, script=code)
    policy = [
        "default-src 'none'",
        f"style-src {_source(style)}",
        f"script-src {_source(code)}" if code else "script-src 'none'",
        "connect-src 'self'" if code else "connect-src 'none'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        f"frame-ancestors {frame_ancestors}",
    ]
    headers = {
        "Content-Security-Policy": "; ".join(policy),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
    }
    if frame_ancestors == "'none'":
        headers["X-Frame-Options"] = "DENY"
    return HTMLResponse(html, status_code=status, headers=headers)


@cache
def text_of(name: str) -> str:
    """A file of ``templates``, read once."""
    return (TEMPLATES / name).read_text(encoding="utf-8")


def ago(then: datetime, now: datetime) -> str:
    """How long ago, as people say it: ``3 minutes ago``."""
    seconds = max((now - then).total_seconds(), 0.0)
    if seconds < _TWO * _MINUTE:
        return f"{seconds:.0f} seconds ago"
    if seconds < _TWO * _HOUR:
        return f"{seconds / _MINUTE:.0f} minutes ago"
    if seconds < _TWO * _DAY:
        return f"{seconds / _HOUR:.0f} hours ago"
    return f"{seconds / _DAY:,.0f} days ago"


def at(then: datetime) -> str:
    """A time in UTC to the minute."""
    return f"{then:%Y-%m-%d %H:%M} UTC"


@cache
def _environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["at"] = at
    return made


@cache
def _source(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"
