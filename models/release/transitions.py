"""Which steps a release may take, and the events each step is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from models.release.ledger import STATES, IllegalTransitionError, Release, Releases, State

# Percent of the households that a canary answers, in the order it grows.
RAMP = (1.0, 5.0, 25.0, 50.0, 100.0)
# A canary starts at one of these: 1 % of a small panel is nobody.
FIRST_STEPS = (1.0, 5.0)
# What the judge must have said before a canary goes live, as `evidence["verdict"]`.
PROMOTE = "PROMOTE"

# From a model's state to those it may go to without force; None: the ledger has not met it.
LEGAL: Mapping[State | None, frozenset[State]] = MappingProxyType(
    {
        None: frozenset({"candidate"}),
        "candidate": frozenset({"shadow", "retired"}),
        "shadow": frozenset({"canary", "retired", "rolled_back"}),
        "canary": frozenset({"canary", "live", "rolled_back"}),
        "live": frozenset(),
        # Tried again, by somebody who says why.
        "retired": frozenset({"candidate"}),
        "rolled_back": frozenset({"candidate"}),
    }
)
# What force may reach: service, from anywhere.
FORCIBLE = frozenset({"shadow", "canary", "live"})


@dataclass(frozen=True)
class Step:
    """An event that is to be appended, as far as the rules know it."""

    model_version: str
    model_tag: str
    state: State
    percent: float | None
    forced: bool
    previous: State | None
    note: str = ""


def check_transition(
    releases: Releases,
    *,
    model_version: str,
    to: State,
    percent: float | None = None,
    reason: str,
    actor: str,
    evidence: Mapping[str, Any] | None = None,
    forced: bool = False,
    replaces: bool = False,
) -> bool:
    """Stop unless the step may be taken.

    Args:
        releases: The state now.
        model_version: Who moves.
        to: Where to.
        percent: Of a canary, one of ``RAMP``; ``None`` otherwise.
        reason: Why; never empty.
        actor: Who asks; never empty.
        evidence: Must hold ``verdict: PROMOTE`` when a canary goes live.
        forced: Override the order of states, the ramp or the judge; never the places, of which
            shadow and canary have room for one.
        replaces: Into the shadow, in the place of whoever is there.

    Returns:
        Whether the step needed the force.

    Raises:
        IllegalTransitionError: It may not; says what is and what to do.
    """
    _require_words(actor=actor, reason=reason)
    _require_percent(to, percent)
    if not (replaces and to == "shadow"):
        _require_room(releases, model_version, to)
    refused = _refusal(releases, model_version, to, percent, evidence or {})
    if refused is None:
        return False
    forcible = _can_be_forced(releases, model_version, to, percent)
    if forced and forcible:
        return True
    how = "; force it with a reason if it must be" if forcible else ""
    raise IllegalTransitionError(f"{refused}{how}. Now: {releases.in_words()}")


def steps(
    releases: Releases,
    *,
    model_version: str,
    model_tag: str,
    to: State,
    percent: float | None,
    forced: bool,
) -> list[Step]:
    """The events of one legal step: who goes live or into the shadow retires who was there.

    Args:
        releases: The state now.
        model_version: Who moves.
        model_tag: Its tag.
        to: Where to.
        percent: Of a canary.
        forced: As ``check_transition`` answered.
    """
    moved = Step(
        model_version=model_version,
        model_tag=model_tag,
        state=to,
        percent=percent,
        forced=forced,
        previous=releases.state_of(model_version),
    )
    held = {"live": releases.live, "shadow": releases.shadow}.get(to)
    if held is None or held.model_version == model_version:
        return [moved]
    retired = Step(
        model_version=held.model_version,
        model_tag=held.model_tag,
        state="retired",
        percent=None,
        forced=False,
        previous=to,
        note=f"{model_version} "
        + ("went live" if to == "live" else "takes its place in the shadow"),
    )
    return [retired, moved]


def rollback_steps(releases: Releases, *, model_version: str | None = None) -> list[Step]:
    """The events of a rollback.

    Args:
        releases: The state now.
        model_version: Who goes; by default the canary, or without one the shadow. The live model
            goes by its name only: whoever means a canary that has just ended must not reach it.

    Raises:
        IllegalTransitionError: Only the live model could go and was not named, nobody is in a
            place to be rolled back from, or the live model has no predecessor: customers would be
            left without a model.
    """
    places = {r.model_version: r for r in (releases.canary, releases.shadow, releases.live) if r}
    default = releases.canary or releases.shadow
    gone = places.get(model_version) if model_version else default
    if gone is None and not model_version and releases.live is not None:
        raise IllegalTransitionError(
            "there is no canary and no shadow to end; to roll the live model back, name it: "
            f"{releases.live.model_version} (`--model`, or model_version). "
            f"Now: {releases.in_words()}"
        )
    if gone is None:
        state = releases.state_of(model_version) if model_version else None
        who = f"model {model_version} is {state or 'not in the ledger'}" if model_version else ""
        raise IllegalTransitionError(
            f"nothing to roll back: {who or 'no model is released'}. Now: {releases.in_words()}"
        )
    state = releases.states[gone.model_version]
    ended = Step(
        model_version=gone.model_version,
        model_tag=gone.model_tag,
        state="rolled_back",
        percent=None,
        forced=False,
        previous=state,
    )
    if state != "live":
        return [ended]
    back = releases.previous_live
    if back is None:
        raise IllegalTransitionError(
            f"model {gone.model_version} is live and nobody was before it, so a rollback would "
            "leave no model; release another one first (`release shadow`, `canary`, `promote`). "
            f"Now: {releases.in_words()}"
        )
    again = Step(
        model_version=back.model_version,
        model_tag=back.model_tag,
        state="live",
        percent=None,
        forced=False,
        previous=releases.states[back.model_version],
        note=f"{gone.model_version} was rolled back",
    )
    return [ended, again]


def next_percent(percent: float | None) -> float | None:
    """The ramp's next step; ``None`` at its end."""
    later = [p for p in RAMP if p > (percent or 0.0)]
    return later[0] if later else None


def _can_be_forced(releases: Releases, version: str, to: State, percent: float | None) -> bool:
    """Not what is so already, and never the live model: its place would be empty."""
    if _is(releases.live, version) or to not in FORCIBLE:
        return False
    if to == "canary" and _is(releases.canary, version) and releases.canary is not None:
        return releases.canary.percent != percent
    return releases.state_of(version) != to


def _require_words(**words: str) -> None:
    for name, said in words.items():
        if not said.strip():
            raise IllegalTransitionError(
                f"a release step has no {name}; say who does it and why: the ledger keeps both"
            )


def _require_percent(to: State, percent: float | None) -> None:
    if to not in STATES:
        raise IllegalTransitionError(f"there is no state {to!r}; there are {', '.join(STATES)}")
    if to == "canary" and percent not in RAMP:
        ramp = ", ".join(f"{p:g}" for p in RAMP)
        raise IllegalTransitionError(f"a canary has one of {ramp} percent, not {percent}")
    if to != "canary" and percent is not None:
        raise IllegalTransitionError(f"only a canary has a percent; {to} was given {percent}")


def _require_room(releases: Releases, version: str, to: State) -> None:
    held: Release | None = getattr(releases, to) if to in {"shadow", "canary"} else None
    if held is not None and held.model_version != version:
        raise IllegalTransitionError(
            f"model {version} cannot be {to}: {held.model_version} is. End it first "
            f"(`release rollback`). Now: {releases.in_words()}"
        )


def _refusal(
    releases: Releases,
    version: str,
    to: State,
    percent: float | None,
    evidence: Mapping[str, Any],
) -> str | None:
    """Why the step may not be taken without force; ``None`` if it may."""
    state = releases.state_of(version)
    # The first release of all has nobody to be compared with.
    if to == "live" and state == "candidate" and releases.live is None:
        return None
    if to not in LEGAL[state]:
        return f"model {version} is {state or 'not in the ledger'} and cannot become {to}"
    if to == "live" and evidence.get("verdict") != PROMOTE:
        return (
            f"model {version} cannot go live: the judge says "
            f"{evidence.get('verdict', 'nothing')}, not {PROMOTE}"
        )
    if to == "canary" and percent is not None:
        return _off_the_ramp(releases.canary, version, percent)
    return None


def _off_the_ramp(canary: Release | None, version: str, percent: float) -> str | None:
    """Why a canary may not have this share; ``None`` if it may."""
    now = canary.percent if canary else None
    if now == percent:
        return f"model {version} is at {percent:g} % already"
    if now is None and percent not in FIRST_STEPS:
        return f"a canary begins at {' or '.join(f'{p:g}' for p in FIRST_STEPS)} %"
    following = next_percent(now)
    if now is not None and following is not None and percent > following:
        return f"the canary is at {now:g} % and grows to {following:g} % next, not {percent:g} %"
    return None


def _is(release: Release | None, version: str) -> bool:
    return release is not None and release.model_version == version
