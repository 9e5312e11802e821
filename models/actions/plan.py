"""The plan of a week: the actions that are surely worth most, under every declared limit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from models.actions.candidates import prepared, undominated
from models.actions.checker import violations
from models.actions.conflicts import ContradictionError, conflicts
from models.actions.rules import Rule, admissible, one_per_place, rules
from models.actions.settings import Limits
from models.actions.solve import GAP, INFEASIBLE, SECONDS, solve


@dataclass(frozen=True, eq=False)
class Plan:
    """Chosen actions and how they were found.

    Attributes:
        rows: The chosen candidates, sorted by store, product and action.
        solver: ``status, objective, bound, gap, seconds, candidates`` (all), ``columns`` (those
            the solver was given), ``rows`` (its constraints).
    """

    rows: pl.DataFrame
    solver: Mapping[str, float | int | str]


def plan(
    candidates: pl.DataFrame,
    limits: Limits,
    *,
    gap: float = GAP,
    seconds: float = SECONDS,
    threads: int = 1,
    objective: str = "value_low",
) -> Plan:
    """Choose the actions of a week: maximise ``objective`` less ``cost``.

    The objective is the lower bound of each action's value, so an action is taken for what it
    surely brings, and a wide interval counts against it.

    Args:
        candidates: Columns of ``candidates.SCHEMA``, of one week.
        limits: What the plan must respect.
        gap: Relative gap to the best possible plan at which to stop.
        seconds: Time at which the solver stops with the best plan it has.
        threads: Of the solver.
        objective: Column of values; another one than ``value_low`` is for comparisons.

    Raises:
        ContradictionError: No plan keeps all limits; it names those that conflict.
        ValueError: Bad candidates, or a required action that is no candidate.
        RuntimeError: The solver failed.
    """
    frame = prepared(candidates)
    allowed = frame.filter(admissible(frame, limits))
    stores = frame["store_id"].unique().to_list()
    used = _useful(allowed, rules(allowed, limits, stores=stores), objective=objective)
    made = rules(used, limits, stores=stores)
    groups = one_per_place(used)
    gains = (used[objective] - used["cost"]).to_numpy()
    found = solve(gains, groups=groups, rules=made, gap=gap, seconds=seconds, threads=threads)
    if found.status == INFEASIBLE:
        raise ContradictionError(conflicts(groups, made, choices=used.height))
    chosen = used[found.chosen]
    broken = violations(chosen, frame, limits)
    if broken:
        raise RuntimeError(
            f"the solver's plan breaks {len(broken)} limit(s), first: {broken[0]}; this is a fault "
            "of models/actions/solve.py"
        )
    return Plan(
        rows=chosen,
        solver={
            "status": found.status,
            "objective": found.objective,
            "bound": found.bound,
            "gap": found.gap,
            "seconds": found.seconds,
            "candidates": frame.height,
            "columns": found.columns,
            "rows": found.rows,
        },
    )


def _useful(frame: pl.DataFrame, made: Sequence[Rule], *, objective: str) -> pl.DataFrame:
    """Candidates that the best plan may hold: those that gain, and those that a limit asks for."""
    asked = np.zeros(frame.height, dtype=bool)
    promised = np.zeros(frame.height, dtype=bool)
    for rule in made:
        if rule.low > 0:
            asked[rule.rows] = True
            if rule.name.startswith("required:"):
                promised[rule.rows] = True
    gains = (frame[objective] - frame["cost"]).to_numpy() > 0
    some = pl.Series(asked | gains)
    part = frame.filter(some)
    return undominated(part, objective=objective, keep=pl.Series(promised).filter(some))
