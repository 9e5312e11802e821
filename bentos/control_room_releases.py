"""What the control room says of releases: why one is live, what was done, what can be undone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bentos.pages import at
from bentos.status_schemas import Status
from models.release.ledger import Event, Releases

_FACTS = {
    "data_snapshot": "Data snapshot",
    "feature_set_hash": "Feature set",
    "git_revision": "Code revision",
    "maturity_cut": "Labels up to",
    "seed": "Seed",
}
_MOODS = {"live": "good", "rolled_back": "bad", "canary": "warn"}


def why(status: Status, events: Sequence[Event], releases: Releases) -> dict[str, Any]:
    live = releases.live
    if live is None:
        named = status.model.version if status.model else None
        line = (
            f"The bento's own model {named} answers; no release is on record. `make run` enters it "
            "in the ledger, with its gates."
            if named
            else "No model answers. Run `make demo`, or materialise the serving assets."
        )
        labels = status.model.labels if status.model else {}
        return {"lines": [line], "gates": [], "facts": _facts(labels)}
    own = [e for e in events if e.model_version == live.model_version]
    went = next(e for e in reversed(own) if e.state == "live")
    forced = " It was forced past a rule." if went.forced else ""
    when = f"{live.model_version} is live since {at(live.since)}"
    lines = [f"{when}: {went.reason} ({went.actor}).{forced}"]
    verdict = went.evidence.get("verdict")
    if verdict:
        reasons = went.evidence.get("reasons") or []
        said = f": {'; '.join(map(str, reasons))}" if reasons else ""
        lines.append(f"The canary's judge said {verdict}{said}.")
    gates = _latest(own, "gates") or []
    override = _latest(own, "override")
    if override:
        lines.append(f"Gates were overridden by {override['actor']}: {override['reason']}.")
    if not gates:
        lines.append(
            "The ledger holds no gate results for it; `reports/ranking/index.html` has the report "
            "of the model trained last."
        )
    facts = _latest(own, "lineage") or (status.model.labels if status.model else {})
    return {"lines": lines, "gates": [_gate(g) for g in gates], "facts": _facts(facts)}


def _latest(events: Sequence[Event], name: str) -> Any:
    return next((e.evidence[name] for e in reversed(events) if e.evidence.get(name)), None)


def _gate(gate: Mapping[str, Any]) -> dict[str, str]:
    if gate["passed"]:
        verdict, mood = "passed", "good"
    elif gate["blocking"]:
        verdict, mood = "failed, overridden", "bad"
    else:
        verdict, mood = "failed, for information", "warn"
    name = str(gate["name"]).replace("_", " ")
    return {"name": name, "verdict": verdict, "mood": mood, "reason": str(gate["reason"])}


def _facts(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(shown, str(facts[name])) for name, shown in _FACTS.items() if name in facts]


def back(status: Status, releases: Releases) -> dict[str, Any]:
    choices = []
    if releases.canary is not None:
        canary = releases.canary
        choices.append(
            {
                "version": canary.model_version,
                "says": f"canary {canary.model_version} ({canary.percent:g} %)",
                "then": "Its households get the live model.",
            }
        )
    if releases.shadow is not None:
        choices.append(
            {
                "version": releases.shadow.model_version,
                "says": f"shadow {releases.shadow.model_version}",
                "then": "It stops scoring; answers do not change.",
            }
        )
    if releases.live is not None and releases.previous_live is not None:
        choices.append(
            {
                "version": releases.live.model_version,
                "says": f"live {releases.live.model_version}",
                "then": f"{releases.previous_live.model_version} is live again.",
            }
        )
    says = "Nothing can be rolled back: there is no canary, no shadow, and no earlier live model."
    if choices:
        says = "The service takes the model out within a second; no request fails."
    hint = "." if status.auth == "on" else "; keys are switched off here, so it may stay empty."
    return {"choices": choices, "says": says, "key_hint": hint}


def step(event: Event) -> dict[str, Any]:
    share = f" {event.percent:g} %" if event.percent is not None else ""
    came = f"{event.previous} → " if event.previous and event.previous != event.state else ""
    forced = ", forced" if event.forced else ""
    return {
        "id": event.id,
        "when": at(event.at),
        "model": event.model_version,
        "step": f"{came}{event.state}{share}{forced}".replace("_", " "),
        "mood": _MOODS.get(event.state, ""),
        "actor": event.actor,
        "reason": event.reason,
    }
