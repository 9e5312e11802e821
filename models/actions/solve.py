"""The multiple-choice knapsack as HiGHS solves it: choices that exclude each other, under rules.

Maximise the gain of what is chosen, at most one of each group, every rule's sum within its bounds
(Kellerer, Pferschy and Pisinger 2004, "Knapsack Problems", chapter 11). ``elastic`` rules may be
broken at a price instead (Chinneck 2008, "Feasibility and Infeasibility in Optimization").
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.actions.rules import Rule

# A third of what is promised of a plan: the rest is for the bound's own rounding.
GAP = 1e-3
SECONDS = 50.0
# Tighter than the default, so that what is rounded to 0 and 1 keeps the rules.
TOLERANCE = 1e-9
# Below it an excess is rounding.
LEAST_EXCESS = 1e-7
TAKEN = 0.5
# HiGHS's word for a feasible point.
FEASIBLE = 2

OPTIMAL, INFEASIBLE, STOPPED = "optimal", "infeasible", "stopped"


@dataclass(frozen=True, eq=False)
class Solution:
    """What the solver found.

    Attributes:
        status: ``optimal`` (within the gap), ``infeasible``, or ``stopped`` by the clock.
        chosen: Places of the chosen, ascending; empty if there is none.
        excess: By rule, how far its sum lies outside its bounds (``elastic`` only).
        objective: Gain of the chosen.
        bound: No choice gains more.
        gap: ``(bound - objective) / |objective|``.
        seconds: Wall clock.
        columns: Choices that the solver was given.
        rows: Its constraints.
    """

    status: str
    chosen: np.ndarray
    excess: np.ndarray
    objective: float
    bound: float
    gap: float
    seconds: float
    columns: int
    rows: int


def solve(
    gains: np.ndarray,
    *,
    groups: Sequence[np.ndarray],
    rules: Sequence[Rule],
    elastic: Sequence[int] = (),
    gap: float = GAP,
    seconds: float = SECONDS,
    threads: int = 1,
) -> Solution:
    """Choose.

    Args:
        gains: Of each choice.
        groups: Choices of which at most one is taken.
        rules: What the chosen must keep.
        elastic: Places of rules to break as little as possible instead of gaining; the others
            hold. Gains are then ignored.
        gap: Relative gap at which to stop.
        seconds: Time at which to stop.
        threads: Of the solver; the result does not depend on it.

    Raises:
        RuntimeError: The solver failed, or found nothing before the time was over.
    """
    started = time.perf_counter()
    if not len(gains):
        return _without_choices(rules, elastic=elastic, started=started)
    import highspy

    # Its threads are shared by the process: their number can change only when none runs.
    highspy.Highs.resetGlobalScheduler(True)  # noqa: FBT003
    model = highspy.Highs()
    for name, value in {
        "output_flag": False,
        "threads": threads,
        "random_seed": 1,
        "mip_rel_gap": gap,
        "mip_abs_gap": 1e-9,
        "mip_feasibility_tolerance": TOLERANCE,
        "primal_feasibility_tolerance": TOLERANCE,
        "time_limit": float(seconds),
    }.items():
        model.setOptionValue(name, value)
    model.passModel(_program(gains, groups=groups, rules=rules, elastic=elastic))
    model.run()
    status = model.getModelStatus()
    info = model.getInfo()
    rows = len(groups) + len(rules)
    if status == highspy.HighsModelStatus.kInfeasible:
        return Solution(
            INFEASIBLE,
            np.zeros(0, dtype=np.int64),
            np.zeros(len(rules)),
            np.nan,
            np.nan,
            np.nan,
            time.perf_counter() - started,
            len(gains),
            rows,
        )
    stopped = status == highspy.HighsModelStatus.kTimeLimit
    if info.primal_solution_status != FEASIBLE or not (
        stopped or status == highspy.HighsModelStatus.kOptimal
    ):
        raise RuntimeError(
            f"HiGHS ended with {model.modelStatusToString(status)} after {seconds:.0f} s on "
            f"{len(gains):,} choices; allow more time or plan fewer products"
        )
    values = np.asarray(model.getSolution().col_value)
    chosen = np.flatnonzero(values[: len(gains)] > TAKEN)
    objective = float(gains[chosen].sum())
    bound = -float(info.mip_dual_bound)
    excess = np.zeros(len(rules))
    if elastic:
        slack = values[len(gains) :].reshape(2, -1).sum(axis=0)
        excess[list(elastic)] = np.where(slack > LEAST_EXCESS, slack, 0.0)
        objective = -float(info.objective_function_value)
    return Solution(
        status=STOPPED if stopped else OPTIMAL,
        chosen=chosen,
        excess=excess,
        objective=objective,
        bound=bound,
        gap=max(bound - objective, 0.0) / max(abs(objective), 1e-9),
        seconds=time.perf_counter() - started,
        columns=len(gains),
        rows=rows,
    )


def _program(
    gains: np.ndarray,
    *,
    groups: Sequence[np.ndarray],
    rules: Sequence[Rule],
    elastic: Sequence[int],
) -> Any:
    import highspy

    n, m = len(gains), len(groups) + len(rules)
    extra = 2 * len(elastic)
    program = highspy.HighsLp()
    program.num_col_, program.num_row_ = n + extra, m
    # HiGHS minimises.
    cost = np.zeros(n + extra)
    if elastic:
        cost[n:] = 1.0
    else:
        cost[:n] = -gains
    program.col_cost_ = cost
    program.col_lower_ = np.zeros(n + extra)
    program.col_upper_ = np.r_[np.ones(n), np.full(extra, np.inf)]
    program.integrality_ = [highspy.HighsVarType.kInteger] * n + [
        highspy.HighsVarType.kContinuous
    ] * extra
    program.row_lower_ = np.r_[np.full(len(groups), -np.inf), [r.low or -np.inf for r in rules]]
    program.row_upper_ = np.r_[np.ones(len(groups)), [r.high for r in rules]]
    slack = {rule: place for place, rule in enumerate(elastic)}
    index: list[np.ndarray] = list(groups)
    value: list[np.ndarray] = [np.ones(len(g)) for g in groups]
    for i, rule in enumerate(rules):
        counted = np.flatnonzero(rule.weights)
        columns, weights = rule.rows[counted], rule.weights[counted]
        if i in slack:
            # What is lacking, and what is too much.
            columns = np.r_[columns, n + slack[i], n + len(elastic) + slack[i]]
            weights = np.r_[weights, 1.0, -1.0]
        index.append(columns)
        value.append(weights)
    matrix = program.a_matrix_
    matrix.format_ = highspy.MatrixFormat.kRowwise
    matrix.start_ = np.r_[0, np.cumsum([len(i) for i in index])].astype(np.int32)
    matrix.index_ = np.concatenate(index).astype(np.int32) if index else np.zeros(0, np.int32)
    matrix.value_ = np.concatenate(value) if value else np.zeros(0)
    return program


def _without_choices(rules: Sequence[Rule], *, elastic: Sequence[int], started: float) -> Solution:
    lacking = np.array([rule.low for rule in rules])
    hard = np.delete(lacking, list(elastic))
    return Solution(
        status=INFEASIBLE if hard.any() else OPTIMAL,
        chosen=np.zeros(0, dtype=np.int64),
        excess=lacking,
        objective=0.0,
        bound=0.0,
        gap=0.0,
        seconds=time.perf_counter() - started,
        columns=0,
        rows=len(rules),
    )
