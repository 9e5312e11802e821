"""Insight cards: a store's plan, or a household's offers, as a page that others embed.

An iframe sends no header, so a card opens by a signed link that ends; a caller with a key asks for
it at ``POST /insights/links``. Households stand in links by their pseudonym alone: a raw id never
gets into a URL, and so into nobody's log.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, Path, Request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from starlette.responses import Response

from bentos import problems
from bentos.action_lines import decision_line
from bentos.action_schemas import RecommendActionsRequest
from bentos.actions_api import Desks
from bentos.auth import Caller, Gate, KeyFirst, RefusedError, origin_of, require
from bentos.clock import utc_now
from bentos.insight_charts import lift_chart, weeks_chart
from bentos.pages import page
from bentos.schemas import MAX_ID
from bentos.signed_links import LinkError, sign, verify
from models.pseudonyms import PSEUDONYM_LENGTH

if TYPE_CHECKING:
    from bentos.engine import Engine

# A shift; and a month, for a page that embeds one by itself.
DEFAULT_SECONDS = 8 * 3_600
MAX_SECONDS = 31 * 86_400
SHOWN_ACTIONS = 8
SHOWN_OFFERS = 8
CARD = {"channel": "insight_card"}
Text = Annotated[str, StringConstraints(min_length=1, max_length=MAX_ID)]
# No slash: it would be another path.
Store = Annotated[str, Path(min_length=1, max_length=MAX_ID)]
Household = Annotated[str, Path(min_length=PSEUDONYM_LENGTH, max_length=PSEUDONYM_LENGTH)]


class CardLinkRequest(BaseModel):
    """Whose card, and for how long its link opens."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"store_id": "367"}, {"household_id": "1", "seconds": 600}]
        },
    )

    store_id: Text | None = None
    household_id: Text | None = Field(
        None, description="Raw id; the link holds the pseudonym, which cannot be turned back"
    )
    seconds: int = Field(
        DEFAULT_SECONDS, ge=1, le=MAX_SECONDS, description="The link opens so long"
    )

    @model_validator(mode="after")
    def _is_of_one(self) -> CardLinkRequest:
        if (self.store_id is None) == (self.household_id is None):
            raise ValueError("give store_id or household_id, not both")
        if self.store_id is not None and "/" in self.store_id:
            raise ValueError("store_id: a card's path cannot hold a slash")
        return self


class CardLink(BaseModel):
    """Where a card opens without a key."""

    url: str = Field(description="Path and query, for the `src` of an iframe")
    expires_at: datetime = Field(description="Naive UTC")


def router(engine_of: Callable[[], Engine], desks: Desks) -> APIRouter:
    """The routes of the cards, and of the links to them."""
    made = APIRouter(prefix="/insights", tags=["insights"], route_class=KeyFirst)

    @made.post(
        "/links",
        summary="A link to an insight card",
        description="Of a store with the scope `actions:read`, of a household with `offers:read`.",
        responses=problems.described(401, 403, 413, 422, 429, 503),
    )
    async def link(
        body: CardLinkRequest,
        request: Request,
        _: Annotated[Caller, Depends(require("actions:read", "offers:read"))],
    ) -> CardLink:
        engine = engine_of()
        await require("offers:read" if body.store_id is None else "actions:read")(request)
        if body.store_id is not None:
            path = f"/insights/stores/{body.store_id}"
        else:
            path = f"/insights/households/{engine.pseudonym(body.household_id or '')}"
        # The end is a whole second, as the link has it.
        expires = utc_now().replace(microsecond=0) + timedelta(seconds=body.seconds)
        query = sign(engine.settings, path, expires)
        return CardLink(url=f"{quote(path)}?{query}", expires_at=expires)

    @made.get("/stores/{store_id}", include_in_schema=False)
    async def store(
        store_id: Store, request: Request, expires: str = "", signature: str = ""
    ) -> Response:
        engine = engine_of()
        refused = _refused(request, engine, f"/insights/stores/{store_id}", expires, signature)
        if refused is not None:
            return refused
        found = await asyncio.to_thread(_store_card, desks, store_id)
        engine.log.append(found.pop("line"))
        return _card(engine, "store_card.html.j2", found)

    @made.get("/households/{household}", include_in_schema=False)
    async def household(
        household: Household, request: Request, expires: str = "", signature: str = ""
    ) -> Response:
        engine = engine_of()
        refused = _refused(request, engine, f"/insights/households/{household}", expires, signature)
        if refused is not None:
            return refused
        reply = engine.rank_known(household, k=SHOWN_OFFERS, context=CARD)
        return _card(engine, "household_card.html.j2", {"reply": reply, "notes": _OFFER_NOTES})

    return made


_KINDS = {
    "exploration": "drawn at random to learn from",
    "test": "proposed test, with the action",
    "control": "proposed test, without it, to compare",
}
_EVIDENCE = {
    "experiment": "an experiment measured it",
    "identified": "past promotions show it",
    "model_only": "only a model says so",
}
_OFFER_NOTES = {
    "unknown_household": "Not known here: these are popular products, not this household's own.",
    "stale_features": "The data is past the freshness limit: load the missing drops.",
    "no_model": "No model answers: these are popular products.",
    "model_error": "The model failed: these are another model's offers, or popular products.",
}


def _refused(
    request: Request, engine: Engine, path: str, expires: str, signature: str
) -> Response | None:
    """A page that says why a link does not open; None if it does."""
    gate: Gate = request.app.state.gate
    bad = None
    if engine.settings.serve_auth != "off":
        try:
            verify(engine.settings, path, expires or None, signature or None)
        except LinkError as error:
            bad = str(error)
    try:
        gate.admit_link(path, bad=bad, **origin_of(request))
    except RefusedError as refused:
        page = _card(engine, "refused_card.html.j2", {"why": str(refused)}, status=refused.status)
        page.headers.update(problems.refusal_headers(refused))
        return page
    return None


def _card(engine: Engine, template: str, values: dict[str, Any], status: int = 200) -> Response:
    ancestors = engine.settings.frame_ancestors
    values = {**values, "now": utc_now()}
    return page(template, values, frame_ancestors=ancestors, status=status)


def _store_card(desks: Desks, store_id: str) -> dict[str, Any]:
    started = time.perf_counter()
    desk = desks.desk()
    # Taken once: the plan and the weeks beside it are of one snapshot.
    current = desk.current()
    told = desk.recommended(
        current,
        RecommendActionsRequest(store_id=store_id, week_start=None, budget=None, k=SHOWN_ACTIONS),
    )
    weeks = current.snapshot.weeks.get(store_id) if current is not None else None
    rows = told["actions"] or told["considered"]
    return {
        "store_id": store_id,
        "told": told,
        "line": decision_line("recommend_actions", told, started=started, context=CARD),
        "planned": bool(told["actions"]),
        "rows": rows,
        "kinds": _KINDS,
        "evidence": _EVIDENCE,
        "lift_svg": lift_chart(rows) if rows else None,
        "weeks_svg": weeks_chart(weeks.to_dicts()) if weeks is not None else None,
    }
