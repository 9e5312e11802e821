"""Why there is no plan: the smallest set of limits that contradict each other, and the way out.

The set is found by Junker's QuickXplain (2004, "QUICKXPLAIN: Preferred Explanations and
Relaxations for Over-Constrained Problems", AAAI), which asks the solver about few subsets; how far
each limit would have to give way by elastic relaxation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from models.actions.rules import Rule
from models.actions.solve import INFEASIBLE, solve

# Contradictions that are told at a time: correcting these may correct the rest.
MOST_CONFLICTS = 5
# Limits of one contradiction that are told; the rest are counted.
MOST_SAID = 8


@dataclass(frozen=True)
class Conflict:
    """Limits that cannot hold together, though any of them could be dropped and the rest would.

    Attributes:
        names: Of the rules.
        says: Each in words.
        remedies: Rule to what would have to change if it alone gave way; a rule whose giving way
            does not help is left out.
    """

    names: tuple[str, ...]
    says: tuple[str, ...]
    remedies: dict[str, str]

    def __str__(self) -> str:
        said = "; ".join(self.says[:MOST_SAID])
        more = f"; and {len(self.says) - MOST_SAID} more" if len(self.says) > MOST_SAID else ""
        ways = "; or ".join(list(self.remedies.values())[:MOST_SAID])
        return f"these cannot hold together: {said}{more}. Change one: {ways}"


class ContradictionError(ValueError):
    """No plan keeps all limits; says which ones contradict each other."""

    def __init__(self, conflicts: Sequence[Conflict]) -> None:
        self.conflicts = tuple(conflicts)
        super().__init__("no plan keeps all limits: " + " / ".join(map(str, conflicts)))


def conflicts(
    groups: Sequence[np.ndarray], rules: Sequence[Rule], *, choices: int
) -> tuple[Conflict, ...]:
    """Minimal contradictions among the rules, one after another until the rest can hold.

    Args:
        groups: Choices of which at most one is taken; this always holds.
        rules: Declared limits.
        choices: Number of candidates.

    Returns:
        At most ``MOST_CONFLICTS``; none if the rules can hold together.
    """
    found: list[Conflict] = []
    # Only what must be taken can be too much: the other candidates stay out.
    wanted = np.unique(np.concatenate([r.rows for r in rules if r.low > 0] or [np.zeros(0, int)]))
    problem = _Problem(groups, wanted.astype(np.int64), choices)
    left = list(rules)
    while len(found) < MOST_CONFLICTS and not problem.possible(left):
        members = _quick_explain(problem.possible, left)
        found.append(_conflict(problem, members))
        dropped = {found[-1].names[0]}
        left = [rule for rule in left if rule.name not in dropped]
    return tuple(found)


class _Problem:
    """Feasibility of subsets of rules, over the candidates that something wants taken."""

    def __init__(self, groups: Sequence[np.ndarray], wanted: np.ndarray, choices: int) -> None:
        self.place = np.full(choices, -1, dtype=np.int64)
        self.place[wanted] = np.arange(len(wanted))
        self.gains = np.zeros(len(wanted))
        self.groups = [g for g in (self._placed(group) for group in groups) if len(g) > 1]

    def _placed(self, rows: np.ndarray) -> np.ndarray:
        at = self.place[rows]
        return at[at >= 0]

    def narrowed(self, rules: Sequence[Rule]) -> list[Rule]:
        kept = []
        for rule in rules:
            at = self.place[rule.rows]
            there = at >= 0
            kept.append(
                Rule(rule.name, rule.says, at[there], rule.weights[there], rule.low, rule.high)
            )
        return kept

    def possible(self, rules: Sequence[Rule]) -> bool:
        # Limits from above alone are kept by doing nothing.
        if not any(rule.low > 0 for rule in rules):
            return True
        found = solve(self.gains, groups=self.groups, rules=self.narrowed(rules))
        return found.status != INFEASIBLE

    def excess(self, rule: Rule, others: Sequence[Rule]) -> float | None:
        """How far ``rule`` must give way for the others to hold; ``None`` if that does not help."""
        if not self.possible(others):
            return None
        found = solve(
            self.gains, groups=self.groups, rules=self.narrowed([rule, *others]), elastic=[0]
        )
        return float(found.excess[0])


def _quick_explain(possible: Callable[[Sequence[Rule]], bool], rules: list[Rule]) -> list[Rule]:
    def explain(background: list[Rule], *, added: bool, among: list[Rule]) -> list[Rule]:
        if added and not possible(background):
            return []
        if len(among) == 1:
            return among
        half = len(among) // 2
        first, second = among[:half], among[half:]
        of_second = explain([*background, *first], added=bool(first), among=second)
        of_first = explain([*background, *of_second], added=bool(of_second), among=first)
        return [*of_first, *of_second]

    return explain([], added=False, among=rules)


def _conflict(problem: _Problem, members: Sequence[Rule]) -> Conflict:
    remedies = {}
    for rule in members:
        excess = problem.excess(rule, [other for other in members if other is not rule])
        if excess:
            remedies[rule.name] = _remedy(rule, excess)
    return Conflict(
        names=tuple(rule.name for rule in members),
        says=tuple(rule.says for rule in members),
        remedies=remedies,
    )


def _remedy(rule: Rule, excess: float) -> str:
    kind, _, where = rule.name.partition(":")
    place = f" of {where}" if where else ""
    if kind in {"required", "excluded", "weeks_between"}:
        return f"take {kind}{place} back"
    if rule.low > 0:
        return f"lower {kind}{place} to {rule.low - excess:,.10g}"
    if rule.unit == "money":
        return f"raise {kind}{place} to {np.ceil((rule.high + excess) * 100) / 100:,.2f}"
    return f"raise {kind}{place} to {np.ceil(rule.high + excess):,.10g}"
