"""The control room at ``/``: one page that says what runs, why, how well, and how to recover.

It is open, as ``/status`` is; rolling back asks for a key. Reading the ledger and the incidents
touches files, so it happens beside the requests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import Response

from bentos.actions_api import Desks
from bentos.arms import LEDGER_NAME
from bentos.clock import utc_now
from bentos.control_room_view import Seen, view
from bentos.pages import page
from models.release.ledger import Event
from resources.health_file import Health, read_health
from resources.incidents import list_incidents
from resources.release_ledger import ReleaseLedger

if TYPE_CHECKING:
    from bentos.engine import Engine


def router(engine_of: Callable[[], Engine], desks: Desks) -> APIRouter:
    """The page's route."""
    made = APIRouter()

    @made.get("/", include_in_schema=False)
    async def control_room(request: Request) -> Response:
        found = await asyncio.to_thread(look, engine_of(), desks, str(request.base_url))
        return page("control_room.html.j2", view(found), script="control_room.js")

    return made


def look(engine: Engine, desks: Desks, base: str) -> Seen:
    """Read everything the page shows; what cannot be read is a problem, not an error page."""
    problems: list[str] = []
    settings = engine.settings
    desk = desks.desk()
    current = desk.current()
    if desk.problem:
        problems.append(desk.problem)
    return Seen(
        status=engine.status(),
        events=_events(engine.follower.ledger, problems),
        incidents=_incidents(settings.home, problems),
        health=_health(settings.home, problems),
        actions=None
        if current is None
        else {
            "week": current.snapshot.facts.week,
            "known_at": current.snapshot.facts.known_at,
            "version": current.version,
            "model_version": current.snapshot.facts.model_version,
            "stale": desk.is_stale(current),
        },
        problems=problems,
        now=utc_now(),
        base=base,
    )


def _events(ledger: ReleaseLedger, problems: list[str]) -> list[Event]:
    try:
        return ledger.events(LEDGER_NAME)
    except SQLAlchemyError as error:
        problems.append(
            f"the release ledger cannot be read ({type(error).__name__}): is its database up? "
            "Models that are loaded go on answering"
        )
        return []


def _incidents(home: Path, problems: list[str]) -> list[dict[str, Any]]:
    try:
        return list_incidents(home / "incidents")
    except (OSError, ValueError) as error:
        problems.append(f"an incident record in {home / 'incidents'} cannot be read: {error}")
        return []


def _health(home: Path, problems: list[str]) -> Health | None:
    try:
        return read_health(home)
    except ValueError as error:
        problems.append(str(error))
        return None
