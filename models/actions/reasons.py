"""Why an action is in a plan, in words that a store manager understands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.actions.candidates import EXPERIMENT, IDENTIFIED, MODEL_ONLY
from models.actions.proposals import Proposal

_EVIDENCE = {
    EXPERIMENT: "an experiment measured it",
    IDENTIFIED: "past promotions of the kind show it, compared with the same products unpromoted",
    MODEL_ONLY: "only a model says so",
}


def action_words(action: str) -> str:
    """A declared action as people say it: ``display_discount_20`` is ``display and 20 % off``."""
    parts = action.split("_")
    said = []
    while parts:
        part = parts.pop(0)
        if part == "discount" and parts:
            said.append(f"{parts.pop(0)} % off")
        else:
            said.append(part)
    return " and ".join([", ".join(said[:-1]), said[-1]] if len(said) > 1 else said)


def reason(row: Mapping[str, Any]) -> str:
    """Of one row carried out: what it brings, what it costs, how sure that is, and why here."""
    net, sure = row["value"] - row["cost"], row["value_low"] - row["cost"]
    bounds = f"{row['lift_low']:.1f} to {row['lift_high']:.1f}"
    said = [
        f"sells {row['lift']:.1f} units a week more in all ({bounds})",
        f"earns {net:.2f} after its cost of {row['cost']:.2f}, at least {sure:.2f}",
        _EVIDENCE[row["evidence"]],
        _rest(row["weeks_since_promotion"]),
    ]
    if row.get("explored"):
        said.insert(
            0, f"drawn at random to learn from, in place of {action_words(row['slot_action'])}"
        )
    return "; ".join(said)


def reason_of_test(test: Proposal, *, treated: bool) -> str:
    """Of one store in a proposed test."""
    role = "with the action" if treated else "without it, to compare"
    return (
        f"test for {test.weeks} weeks, this store {role}: {test.stores} stores of each kind show a "
        f"lift of {test.lift:.1f} units a week if it is real; to know is worth {test.prize:.0f} a "
        "week over the chain"
    )


def _rest(weeks: int | None) -> str:
    if weeks is None:
        return "not promoted here in the weeks on record"
    return f"rested {weeks} weeks here" if weeks != 1 else "rested one week here"
