"""The canary judge over simulated releases, next to Kayenta's rule and a fixed threshold.

Each release is looked at again and again, as often as its canary grows on. A rule's first answer
other than "wait" ends it. *False rollback* is a healthy canary rolled back at any look, also past
the look at which it would have been promoted. Latencies are lognormal, heavy-tailed and
autocorrelated in turn; ``models/release/simulation.py`` draws them.

    python benchmarks/judge.py [--releases 10000] [--requests 20000] [--seed N] [--json FILE]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.arguments import positive
from benchmarks.judge_rivals import fixed_threshold, kayenta
from benchmarks.report import write_result
from models.release.findings import ArmFigures, JudgeSettings, Moments, findings
from models.release.sequences import sample_ratio_p
from models.release.simulation import FAULTS, POINT, SHAPES, failed, figures, traffic

SEED = 20260105
LOOKS = 30
CHUNK = 100
HEALTHY = "healthy"
# The judge as shipped promotes when half a percentage point of errors is excluded; strict, a tenth.
STRICT_ERRORS = 0.001

Flags = NDArray[np.bool_]
Rollback = dict[str, Flags]


def looks_of(points: int) -> NDArray[np.int64]:
    """After how many points each look comes: often at first, then less."""
    return np.unique(np.geomspace(1, points, LOOKS).round().astype(np.int64))


def verdicts(
    canary: ArmFigures, baseline: ArmFigures, settings: JudgeSettings
) -> tuple[Flags, Flags]:
    """Where the judge says ROLLBACK, and where PROMOTE, as ``models.release.judge`` combines."""
    found = findings(canary, baseline, settings).values()
    harm = np.any([f.harm for f in found], axis=0)
    comparable = sample_ratio_p(canary.households, baseline.households) >= settings.sample_ratio_p
    enough = np.minimum(canary.units, baseline.units) >= settings.least_units
    return harm, ~harm & comparable & enough & np.all([f.cleared for f in found], axis=0)


def simulated(
    *, releases: int, points: int, seed: int
) -> Iterator[tuple[str, str, dict[str, tuple[Flags, Flags]]]]:
    """Shape, fault, and per rule where it rolls back and promotes, of (releases, looks)."""
    looks = looks_of(points)
    settings = JudgeSettings()
    strict = replace(settings, errors=settings.errors._replace(harm=STRICT_ERRORS))
    chunks = [min(CHUNK, releases - start) for start in range(0, releases, CHUNK)]
    for number, size in enumerate(track(chunks, console=Console(stderr=True))):
        random = np.random.default_rng([seed, number])
        shape = SHAPES[number % len(SHAPES)]
        canary, baseline = traffic(random, shape=shape, releases=size, points=points)
        theirs = failed(random, baseline.requests, FAULTS[HEALTHY])
        beside = at(figures(random, baseline, errors=theirs, canary=False), looks)
        for name, fault in FAULTS.items():
            slice_ = canary.under(fault)
            ours = failed(random, slice_.requests, fault)
            judged = at(figures(random, slice_, errors=ours, canary=True), looks)
            never = np.zeros((size, len(looks)), dtype=bool)
            pair = (slice_, baseline, (ours, theirs))
            yield (
                shape,
                name,
                {
                    "judge": verdicts(judged, beside, settings),
                    "judge_strict": verdicts(judged, beside, strict),
                    "kayenta": (kayenta(*pair, looks=looks), never),
                    "kayenta_1.2": (kayenta(*pair, looks=looks, allowed_increase=1.2), never),
                    "fixed": (fixed_threshold(*pair, looks=looks), never),
                },
            )


def at(whole: ArmFigures, looks: NDArray[np.int64]) -> ArmFigures:
    """Only the points that are looked at."""

    def picked(value: object) -> object:
        if isinstance(value, Moments):
            return Moments(*(v[:, looks - 1] for v in vars(value).values()))
        return value[:, looks - 1]  # type: ignore[index]

    return ArmFigures(**{name: picked(value) for name, value in vars(whole).items()})  # type: ignore[arg-type]


def summary(rollback: Flags, promote: Flags, looks: NDArray[np.int64]) -> dict[str, float]:
    """What became of releases under one rule."""
    requests = looks * POINT / 2
    first_back, first_on = _first(rollback), _first(promote)
    back = first_back < np.minimum(first_on, len(looks))
    on = first_on < first_back
    found = {
        "rolled_back": float(back.mean()),
        "rolled_back_ever": float(rollback.any(axis=1).mean()),
        "promoted": float(on.mean()),
        "inconclusive": float((~back & ~on).mean()),
    }
    for name, which, firsts in (("rollback", back, first_back), ("promotion", on, first_on)):
        if which.any():
            at_requests = requests[firsts[which]]
            found[f"median_requests_to_{name}"] = float(np.median(at_requests))
            found[f"p95_requests_to_{name}"] = float(np.quantile(at_requests, 0.95))
    return found


def _first(flags: Flags) -> NDArray[np.int64]:
    return np.where(flags.any(axis=1), flags.argmax(axis=1), flags.shape[1])


def collected(*, releases: int, points: int, seed: int) -> dict[str, dict[str, dict[str, float]]]:
    """Rule to fault to what became of it; healthy ones also by shape of latency."""
    rows: dict[tuple[str, str], list[tuple[Flags, Flags]]] = defaultdict(list)
    for shape, fault, rules in simulated(releases=releases, points=points, seed=seed):
        for rule, flags in rules.items():
            rows[rule, fault].append(flags)
            rows[rule, f"{fault} {shape}"].append(flags)
    found: dict[str, dict[str, dict[str, float]]] = defaultdict(dict)
    for (rule, fault), parts in rows.items():
        backs, ons = (np.concatenate(p) for p in zip(*parts, strict=True))
        found[rule][fault] = summary(backs, ons, looks_of(points))
    return found


def show(found: Mapping[str, Mapping[str, Mapping[str, float]]]) -> None:
    table = Table(title="Simulated releases", title_justify="left")
    headings = ("rule", "canary", "rolled back", "ever", "promoted", "median", "p95", "to promote")
    for heading in headings:
        table.add_column(heading, justify="left" if heading in {"rule", "canary"} else "right")
    for rule, faults in found.items():
        for fault in (*FAULTS, *(f"{HEALTHY} {shape}" for shape in SHAPES)):
            row = faults.get(fault, {})
            if not row:
                continue
            to = [
                f"{row[k]:,.0f}" if k in row else "-"
                for k in (
                    "median_requests_to_rollback",
                    "p95_requests_to_rollback",
                    "median_requests_to_promotion",
                )
            ]
            shares = [f"{row[k]:.2%}" for k in ("rolled_back", "rolled_back_ever", "promoted")]
            table.add_row(rule, fault, *shares, *to)
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--releases", type=positive, default=10_000)
    parser.add_argument("--requests", type=positive, default=20_000, help="of each slice")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--json", metavar="FILE")
    given = parser.parse_args()
    started = time.perf_counter()
    found = collected(
        releases=given.releases, points=max(2 * given.requests // POINT, 1), seed=given.seed
    )
    seconds = time.perf_counter() - started
    show(found)
    if given.json:
        ours = found["judge"]
        write_result(
            given.json,
            benchmark="judge",
            figures={
                "releases": given.releases,
                "requests_of_each_slice": given.requests,
                "looks": len(looks_of(max(2 * given.requests // POINT, 1))),
                "seconds_s": round(seconds, 1),
                "false_rollback": ours[HEALTHY]["rolled_back_ever"],
                "rules": found,
            },
            ratios={
                f"false_rollback_over_{rule}": ours[HEALTHY]["rolled_back_ever"]
                / faults[HEALTHY]["rolled_back_ever"]
                for rule, faults in found.items()
                if not rule.startswith("judge") and faults[HEALTHY]["rolled_back_ever"] > 0
            },
        )


if __name__ == "__main__":
    main()
