"""The plan: which partitions would be re-materialised, and why, before anything runs.

A partition is stale when it is missing, when its code or the content of an input week it may see
has changed, or when its drop has. It may become stale when something upstream of it will run; if
that run reproduces the same content, it will not. It is blocked when it failed on exactly these
inputs, or when a week it needs did. Pure: states in, plan out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from statistics import median
from typing import Any, Literal

from assets.table_inputs import admitted, input_versions
from models.calendar import week_ranges
from resources.partition_status import PartitionStatus

Certainty = Literal["stale", "maybe", "blocked"]
Partition = tuple[str, date | None]


@dataclass(frozen=True)
class Node:
    """What the plan has to know of an asset.

    Attributes:
        inputs: Input asset to its window of weeks (see ``assets.table_inputs.admitted``).
        since: First week that is kept, where not the calendar's first.
        together: Assets that one step makes along with it: none of them can run alone.
    """

    asset: str
    inputs: Mapping[str, Mapping[str, Any]]
    code_version: str
    partitioned: bool
    kind: str = "table"
    group: str = ""
    since: date | None = None
    together: tuple[str, ...] = ()

    def weeks(self, calendar: Sequence[date]) -> list[date | None]:
        if not self.partitioned:
            return [None]
        return [w for w in calendar if self.since is None or w >= self.since]


@dataclass(frozen=True)
class Entry:
    """One partition of the plan.

    Attributes:
        fingerprint: Of the code, inputs and last run it was judged by: the same staleness twice
            has the same one, the next change another.
    """

    asset: str
    week: date | None
    certainty: Certainty
    why: str
    rows: int | None = None
    seconds: float | None = None
    fingerprint: str = ""


@dataclass(frozen=True)
class Plan:
    """What would run, in the order of the data flow."""

    entries: Sequence[Entry]
    order: Sequence[str] = field(default_factory=tuple)

    def of(self, certainty: Certainty) -> list[Entry]:
        return [e for e in self.entries if e.certainty == certainty]

    @property
    def fresh(self) -> bool:
        return not self.of("stale")


@dataclass(frozen=True)
class Batch:
    """Assets that one run can make: same weeks, each after what it is made from."""

    assets: tuple[str, ...]
    weeks: tuple[date, date] | None


def make_plan(
    *,
    nodes: Mapping[str, Node],
    statuses: Mapping[Partition, PartitionStatus],
    calendar: Sequence[date],
    observed: Mapping[Partition, str],
    gone: Collection[str] = (),
) -> Plan:
    """Compare what is there with what would be made now.

    Args:
        nodes: By asset, in the order of the data flow.
        statuses: The newest state of each partition.
        calendar: All weeks.
        observed: Content versions of the drops as they lie in the landing folder.
        gone: Assets whose files somebody has removed.
    """
    entries: list[Entry] = []
    state: dict[Partition, Certainty] = {}
    for asset, node in nodes.items():
        weeks = node.weeks(calendar)
        now = input_versions(described=node.inputs, weeks=weeks, statuses=statuses)
        typical = _typical(asset, statuses)
        for week in weeks:
            verdict = _verdict(
                node,
                status=statuses.get((asset, week)),
                inputs=now[week],
                observed=observed.get((asset, week)),
                gone=asset in gone,
                upstream={
                    (i, w): state[i, w]
                    for i, window in node.inputs.items()
                    for w in admitted(window, week, calendar)
                    if (i, w) in state and not _stands(i, w, window, state, statuses)
                },
            )
            if verdict is None:
                continue
            certainty, why = verdict
            state[asset, week] = certainty
            last = statuses.get((asset, week))
            judged = [node.code_version, sorted(now[week].items()), observed.get((asset, week))]
            entries.append(
                Entry(
                    asset=asset,
                    week=week,
                    certainty=certainty,
                    why=why,
                    rows=last.rows if last and last.passed else typical[0],
                    seconds=last.seconds if last and last.passed else typical[1],
                    fingerprint=_digest([*judged, last.run_id if last else None]),
                )
            )
    return Plan(entries=entries, order=tuple(nodes))


def _stands(
    asset: str,
    week: date | None,
    window: Mapping[str, Any],
    state: Mapping[Partition, Certainty],
    statuses: Mapping[Partition, PartitionStatus],
) -> bool:
    """Whether an input that is blocked was made well before, and what it made still serves.

    A champion stays one while its successor fails.
    """
    last = statuses.get((asset, week))
    return bool(window.get("standing") and state[asset, week] == "blocked" and last and last.passed)


def _digest(values: Sequence[object]) -> str:
    return hashlib.sha256(repr(values).encode()).hexdigest()[:16]


def _typical(
    asset: str, statuses: Mapping[Partition, PartitionStatus]
) -> tuple[int | None, float | None]:
    """Rows and seconds of the asset's other weeks, for one that has none yet."""
    known = [s for (a, _), s in statuses.items() if a == asset and s.passed]
    if not known:
        return None, None
    return int(median(s.rows for s in known)), median(s.seconds for s in known)


def _verdict(
    node: Node,
    *,
    status: PartitionStatus | None,
    inputs: Mapping[str, str],
    observed: str | None,
    gone: bool,
    upstream: Mapping[Partition, Certainty],
) -> tuple[Certainty, str] | None:
    blocked = sorted({f"{a} {w or ''}".strip() for (a, w), c in upstream.items() if c == "blocked"})
    if blocked:
        return "blocked", "waits for " + _some(blocked)
    own = _own_reason(node, status=status, inputs=inputs, observed=observed)
    if own is None and gone:
        own = "its files are gone"
    if own is None:
        coming = sorted({a for (a, _), c in upstream.items() if c in {"stale", "maybe"}})
        return ("maybe", "if it changes: " + _some(coming)) if coming else None
    if status is not None and not status.passed and own == "failed":
        return "blocked", f"failed on the same inputs: {status.reason}"
    return "stale", own


def _own_reason(
    node: Node,
    *,
    status: PartitionStatus | None,
    inputs: Mapping[str, str],
    observed: str | None,
) -> str | None:
    if status is None:
        return "never made"
    if node.kind == "drop":
        if observed is None or observed == status.data_version:
            return None
        return "a drop arrived" if status.data_version == "empty" else "the drop was changed"
    if status.code_version != node.code_version:
        return "its code changed"
    changed = sorted(a for a, v in inputs.items() if status.inputs.get(a) != v)
    if changed:
        return "changed: " + _some(changed)
    return None if status.passed else "failed"


def _some(names: Sequence[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _weeks_to_run(
    plan: Plan, nodes: Mapping[str, Node], excluding: frozenset[Partition]
) -> dict[str, list[date | None]]:
    """What is stale by asset, without what was tried and what is made from that."""
    weeks_of: dict[str, list[date | None]] = {}
    held: dict[str, list[date | None]] = {}
    for entry in plan.of("stale"):
        waits = any(
            set(admitted(window, entry.week, [w for w in held[i] if w])) & set(held[i])
            for i, window in nodes[entry.asset].inputs.items()
            if i in held and not window.get("standing")
        )
        place = held if waits or (entry.asset, entry.week) in excluding else weeks_of
        place.setdefault(entry.asset, []).append(entry.week)
    for asset in list(weeks_of):
        for other in nodes[asset].together:
            weeks_of[other] = list({*weeks_of[asset], *weeks_of.get(other, [])})
    return weeks_of


def batches(
    plan: Plan, nodes: Mapping[str, Node], *, excluding: frozenset[Partition] = frozenset()
) -> list[Batch]:
    """Runs to do next: everything surely stale whose inputs are settled or in the same wave.

    What only may be stale waits until its inputs have run: their content may turn out the same.

    Args:
        plan: Of now.
        nodes: By asset, in the order of the data flow.
        excluding: Partitions already tried without success; what is made from one of them waits.
    """
    weeks_of = _weeks_to_run(plan, nodes, excluding)
    unsettled = {e.asset for e in plan.of("maybe")}
    found: list[Batch] = []
    place: dict[str, int] = {}
    for asset in plan.order:
        weeks = weeks_of.get(asset)
        if not weeks:
            continue
        inputs = nodes[asset].inputs
        if any(i in unsettled for i in inputs):
            unsettled.add(asset)
            continue
        after = max((place[i] for i in inputs if i in place), default=-1)
        dated = [w for w in weeks if w is not None]
        ranges: list[tuple[date, date] | None] = [*week_ranges(dated)] or [None]
        if nodes[asset].kind == "view" and dated:
            # A view has no rows of its own to redo: one statement covers all its weeks.
            ranges = [(min(dated), max(dated))]
        for weeks_range in ranges:
            same = [i for i, b in enumerate(found) if b.weeks == weeks_range and i >= after]
            if same:
                i = same[0]
                found[i] = Batch((*found[i].assets, asset), weeks_range)
            else:
                found.append(Batch((asset,), weeks_range))
                i = len(found) - 1
            place[asset] = max(place.get(asset, -1), i)
    return found
