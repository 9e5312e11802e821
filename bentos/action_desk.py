"""Answers about actions: which snapshot is current, what a request gets, and what is logged.

Knows nothing of HTTP. Solving and predicting take some milliseconds, so the router asks from a
thread of its own; one at a time, for the solver's threads are the process's.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from bentos.action_schemas import (
    ActionFallback,
    RecommendActionsRequest,
    WhatIfFallback,
    WhatIfRequest,
)
from bentos.clock import age_days, utc_now
from bentos.settings import ServingSettings
from models.actions.conflicts import ContradictionError
from models.actions.reasons import action_words
from models.calendar import start_of_week
from models.demand.what_if import AskedPlan, WhatIf, what_if
from models.serving.action_snapshot import ActionSnapshot, read_files
from models.serving.recommendations import Recommended, recommend
from models.xgboost_booster import load
from resources.online_snapshot import PointerStamp, SnapshotError, pointer_stamp
from resources.versioned_files import read_version

if TYPE_CHECKING:
    import xgboost as xgb

logger = logging.getLogger("liftgraph.actions")

# After a snapshot could not be read.
AGAIN_SECONDS = 1.0
# Deeper than most the model has learned from.
DEEP_DISCOUNT = 0.5
NONE, SOME = "0", "some"
_REMEDY = "materialise serving.action_snapshot (`make run`)"


class BudgetError(ValueError):
    """No plan within the budget keeps what was promised; the message says what conflicts."""


@dataclass(frozen=True, eq=False)
class Desk:
    """A snapshot that answers; replaced whole, so that no answer mixes two."""

    version: str
    snapshot: ActionSnapshot
    booster: xgb.Booster
    places: dict[tuple[str, str], int]


class ActionDesk:
    """Answers for one process; follows the snapshot that is current."""

    def __init__(self, settings: ServingSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._seen: PointerStamp | None = None
        self._again = 0.0
        self._desk: Desk | None = None
        self.problem: str | None = None

    def current(self) -> Desk | None:
        """The newest whole snapshot; a damaged one is refused and the one before stays."""
        root = self._settings.action_snapshot_dir
        stamp = pointer_stamp(root)
        if stamp is None:
            self.problem = f"there is no action snapshot in {root}: {_REMEDY}"
        if stamp is None or stamp == self._seen or time.monotonic() < self._again:
            return self._desk
        with self._lock:
            if stamp != self._seen:
                self._open(stamp)
        return self._desk

    def recommend_actions(self, request: RecommendActionsRequest) -> dict[str, Any]:
        """The answer in the shape of ``RecommendActionsReply``.

        Raises:
            BudgetError: What was promised costs more than the budget.
        """
        return self.recommended(self.current(), request)

    def recommended(self, desk: Desk | None, request: RecommendActionsRequest) -> dict[str, Any]:
        """As ``recommend_actions``, from a snapshot that the caller goes on with."""
        fallback, note = self._action_fallback(desk, request)
        made = Recommended(actions=(), considered=(), cost=0.0, replanned=False)
        if desk is not None and fallback in {None, "stale_plan"}:
            try:
                with self._lock:
                    made = recommend(
                        desk.snapshot,
                        store_id=request.store_id,
                        k=request.k,
                        budget=request.budget,
                    )
            except ContradictionError as error:
                raise BudgetError(str(error)) from error
        facts = desk.snapshot.facts if desk else None
        return self._traced(desk) | {
            "store_id": request.store_id,
            "week_start": request.week_start or (facts.week if facts else None),
            "decision": facts.decision if facts else None,
            "decision_reason": facts.reason if facts else None,
            "budget": request.budget,
            "cost": made.cost,
            "replanned": made.replanned,
            "fallback": fallback,
            "note": note,
            "actions": _ranked(desk, made.actions),
            "considered": _ranked(desk, made.considered),
        }

    def what_if(self, request: WhatIfRequest) -> dict[str, Any]:
        """The answer in the shape of ``WhatIfReply``."""
        desk = self.current()
        fallback, notes = self._what_if_fallback(desk, request)
        place = desk.places.get((request.store_id, request.product_id)) if desk else None
        reply: dict[str, Any] = self._traced(desk) | {
            "store_id": request.store_id,
            "product_id": request.product_id,
            "week_start": request.week_start,
            **dict.fromkeys(("discount", "asked", "standing", "standing_plan", "difference")),
            "changes": None,
            "evidence": "model_only",
            "fallback": fallback,
            "notes": notes,
        }
        basis = desk.snapshot.basis if desk else None
        if desk is None or basis is None or place is None or fallback not in {None, "stale_plan"}:
            return reply
        asked = AskedPlan(
            price=request.price, display=_code(request.display), mailer=_code(request.mailer)
        )
        found = what_if(
            basis,
            asked,
            place=place,
            booster=desk.booster,
            dispersion=desk.snapshot.dispersion,
            correction=desk.snapshot.facts.correction,
        )
        row = basis.rows.row(place, named=True)
        return reply | _compared(found, row) | {"notes": notes + _notes(desk, asked, row, found)}

    def is_stale(self, desk: Desk) -> bool:
        """Whether the data behind it is past the freshness limit, by the calendar's clock."""
        now, coming = utc_now(), self._settings.coming_week
        if coming is not None:
            # A finished calendar stands still at its coming week; only a live one ages by itself.
            now = min(now, start_of_week(coming, time_zone=self._settings.time_zone))
        return age_days(desk.snapshot.facts.known_at, now) > self._settings.stale_after_days

    def _open(self, stamp: PointerStamp) -> None:
        try:
            version, files = read_version(self._settings.action_snapshot_dir)
            snapshot = read_files(files)
        except (SnapshotError, ValueError, OSError) as error:
            self.problem = f"action snapshot refused: {error}; {_REMEDY}"
            logger.error("%s", self.problem)  # noqa: TRY400 - the message is the whole story
            if isinstance(error, OSError) or isinstance(error.__cause__, OSError):
                # The disk may do better next time; what is damaged will not.
                self._again = time.monotonic() + AGAIN_SECONDS
                return
        else:
            self._desk = Desk(
                version=version,
                snapshot=snapshot,
                booster=load(snapshot.model),
                places=_places(snapshot),
            )
            self.problem = None
            if snapshot.basis is None:
                self.problem = f"what-if questions: {snapshot.basis_problem}; {_REMEDY}"
                logger.error("%s", self.problem)
            logger.info("serving action snapshot %s of %s", version, snapshot.facts.week)
        self._seen = stamp

    def _traced(self, desk: Desk | None) -> dict[str, Any]:
        facts = desk.snapshot.facts if desk else None
        age = age_days(facts.known_at, utc_now()) if facts else None
        return {
            "request_id": uuid.uuid4().hex,
            "model_version": facts.model_version if facts else None,
            "arm": "live",
            "as_of": facts.week if facts else None,
            "data_age_days": age,
            "snapshot_version": desk.version if desk else None,
            "data_snapshot": facts.data_snapshot if facts else None,
        }

    def _action_fallback(
        self, desk: Desk | None, request: RecommendActionsRequest
    ) -> tuple[ActionFallback | None, str | None]:
        if desk is None:
            return "no_plan", self.problem
        if request.store_id not in desk.snapshot.stores:
            return "unknown_store", _UNKNOWN_STORE
        if request.week_start not in {None, desk.snapshot.facts.week}:
            return "week_without_plan", _other_week(desk)
        if self.is_stale(desk):
            return "stale_plan", _STALE
        return None, None

    def _what_if_fallback(
        self, desk: Desk | None, request: WhatIfRequest
    ) -> tuple[WhatIfFallback | None, list[str]]:
        if desk is None or desk.snapshot.basis is None:
            return "no_model", [self.problem or _REMEDY]
        if request.store_id not in desk.snapshot.stores:
            return "unknown_store", [_UNKNOWN_STORE]
        if request.week_start != desk.snapshot.facts.week:
            return "week_without_plan", [_other_week(desk)]
        if (request.store_id, request.product_id) not in desk.places:
            return "unknown_product", [_UNKNOWN_PRODUCT]
        if self.is_stale(desk):
            return "stale_plan", [_STALE]
        return None, []


_UNKNOWN_STORE = (
    "no plan or forecast knows this store: check the id; a store appears after its first week of "
    "sales"
)
_UNKNOWN_PRODUCT = (
    "the store's assortment of the week does not hold this product: check the id; only drinks that "
    "sold there of late are forecast"
)
_STALE = "the data behind the plan is past the freshness limit: load the missing drops"


def _places(snapshot: ActionSnapshot) -> dict[tuple[str, str], int]:
    """Row of each product in a store, of those that what-if questions may be about."""
    if snapshot.basis is None:
        return {}
    rows = snapshot.basis.rows
    keys = zip(rows["store_id"], rows["product_id"], strict=True)
    return {key: place for place, key in enumerate(keys)}


def _other_week(desk: Desk) -> str:
    return f"only the week of {desk.snapshot.facts.week} is planned: ask for it, or for no week"


def _ranked(desk: Desk | None, rows: Any) -> list[dict[str, Any]]:
    known = desk.snapshot.products if desk else {}
    made = []
    for rank, row in enumerate(rows, start=1):
        category, kind = known.get(row["product_id"], (None, None))
        made.append(
            {"rank": rank, "category": category, "type": kind, "says": action_words(row["action"])}
            | row
        )
    return made


def _code(given: str | bool) -> str:  # noqa: FBT001 - as the request has it
    if isinstance(given, bool):
        return SOME if given else NONE
    return given


def _compared(found: WhatIf, row: dict[str, Any]) -> dict[str, Any]:
    asked, standing = found.asked, found.standing
    return {
        "discount": round(found.discount, 6),
        "asked": asdict(asked),
        "standing": asdict(standing),
        "standing_plan": {
            **{n: row[n] for n in ("price", "base_price", "discount", "display", "mailer")},
            "known": row["plan_known"],
        },
        "difference": asked.units - standing.units,
        "changes": {name: asked.drivers[name] - standing.drivers[name] for name in asked.drivers},
    }


def _notes(desk: Desk, asked: AskedPlan, row: dict[str, Any], found: WhatIf) -> list[str]:
    facts, notes = desk.snapshot.facts, []
    if not row["plan_known"]:
        notes.append("promotions of this week are not known yet: the plan that stands has none")
    for name in ("display", "mailer"):
        code = getattr(asked, name)
        if code not in getattr(facts, f"{name}_codes"):
            notes.append(
                f"{name}: taken as strong as an average one"
                if code == SOME
                else f"{name} {code!r} was never seen: taken as strong as an average one"
            )
    if row["base_price"] is None:
        notes.append("no shelf price was ever seen here: the asked price counts as no discount")
    elif asked.price > row["base_price"]:
        notes.append(f"the price is above the shelf price of {row['base_price']:.2f}: no discount")
    elif found.discount > DEEP_DISCOUNT:
        notes.append("a discount this deep is rare in the data: the answer is a guess")
    return notes
