"""The plan: what is stale, what may become so, what is blocked, and in which runs it is mended."""

from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.governance.plan import Batch, Node, Plan, batches, make_plan
from assets.partitions import calendar
from assets.table_inputs import input_versions
from models.calendar import ONE_WEEK, weeks_between
from resources.partition_status import PartitionStatus

# `input_versions` looks at the whole calendar, so the plan is made over all of it.
WEEKS = calendar()
FIRST, SECOND, THIRD, FOURTH = WEEKS[:4]
SAME = {"start": 0, "end": 0}
PAST = {"start": -520, "end": -1}

DROPS = Node("landing.sales", {}, "code-1", partitioned=True, kind="drop")
RAW = Node("raw.sales", {"landing.sales": SAME}, "code-1", partitioned=True)
FEATURES = Node("features.sales", {"raw.sales": PAST}, "code-1", partitioned=True)
MODEL = Node("models.ranker", {"features.sales": {}}, "code-1", partitioned=False, kind="artifact")
NODES = {n.asset: n for n in (DROPS, RAW, FEATURES, MODEL)}

Key = tuple[str, date | None]
Statuses = dict[Key, PartitionStatus]


def status(asset: str, week: date | None, **changes: Any) -> PartitionStatus:
    values: dict[str, Any] = {
        "asset": asset,
        "week": week,
        "status": "passed",
        "rows": 10,
        "data_version": f"{asset}@{week}",
        "contract_version": 1,
        "code_version": "code-1",
        "inputs": {},
        "run_id": "run-1",
        "seconds": 2.0,
    }
    return PartitionStatus(**(values | changes))


def made(nodes: dict[str, Node] = NODES) -> Statuses:
    """A graph that is wholly up to date."""
    statuses: Statuses = {}
    for node in nodes.values():
        inputs = input_versions(described=node.inputs, weeks=node.weeks(WEEKS), statuses=statuses)
        for week in node.weeks(WEEKS):
            statuses[node.asset, week] = status(node.asset, week, inputs=inputs[week])
    return statuses


def observed(statuses: Statuses, **changes: str) -> dict[Key, str]:
    """Drops as they lie there: as they were taken, but for some weeks."""
    found = {k: s.data_version for k, s in statuses.items() if k[0] == "landing.sales"}
    return found | {("landing.sales", date.fromisoformat(w)): v for w, v in changes.items()}


def plan_of(
    statuses: Statuses,
    *,
    nodes: dict[str, Node] = NODES,
    seen: dict[Key, str] | None = None,
) -> Plan:
    return make_plan(
        nodes=nodes,
        statuses=statuses,
        calendar=WEEKS,
        observed=observed(statuses) if seen is None else seen,
    )


def weeks_of(plan: Plan, certainty: str, asset: str) -> list[date | None]:
    return [e.week for e in plan.entries if (e.certainty, e.asset) == (certainty, asset)]


def test_what_was_never_made_is_stale() -> None:
    plan = plan_of({}, seen={})
    assert len(plan.of("stale")) == len(plan.entries) == 3 * len(WEEKS) + 1
    assert {e.why for e in plan.entries} == {"never made"}
    assert not plan.fresh


def test_a_graph_that_is_up_to_date_has_an_empty_plan() -> None:
    plan = plan_of(made())
    assert plan.entries == []
    assert plan.fresh
    assert batches(plan, NODES) == []


def test_a_changed_file_makes_its_own_week_stale_and_what_admits_it_perhaps() -> None:
    statuses = made()
    plan = plan_of(statuses, seen=observed(statuses, **{str(SECOND): "other"}))
    assert [(e.asset, e.week, e.why) for e in plan.of("stale")] == [
        ("landing.sales", SECOND, "the drop was changed")
    ]
    assert weeks_of(plan, "maybe", "raw.sales") == [SECOND]
    assert weeks_of(plan, "maybe", "features.sales") == WEEKS[2:]
    assert weeks_of(plan, "maybe", "models.ranker") == [None]
    assert batches(plan, NODES) == [Batch(("landing.sales",), (SECOND, SECOND))]


def test_a_first_file_is_an_arrival() -> None:
    statuses = made()
    statuses["landing.sales", THIRD] = status("landing.sales", THIRD, data_version="empty")
    plan = plan_of(statuses, seen=observed(statuses, **{str(THIRD): "v1"}))
    assert plan.of("stale")[0].why == "a drop arrived"


def test_the_same_content_after_a_rerun_stops_there() -> None:
    statuses = made()
    # Landing ran again and found another file, raw ran again and holds the same rows.
    statuses["landing.sales", SECOND] = status("landing.sales", SECOND, data_version="other")
    plan = plan_of(statuses)
    assert weeks_of(plan, "stale", "raw.sales") == [SECOND]
    inputs = input_versions(described=RAW.inputs, weeks=[SECOND], statuses=statuses)[SECOND]
    statuses["raw.sales", SECOND] = replace(statuses["raw.sales", SECOND], inputs=inputs)
    assert plan_of(statuses).entries == []


def test_new_content_moves_on_to_what_sees_it() -> None:
    statuses = made()
    changed = replace(statuses["raw.sales", SECOND], data_version="other")
    statuses["raw.sales", SECOND] = changed
    plan = plan_of(statuses)
    assert weeks_of(plan, "stale", "features.sales") == WEEKS[2:]
    assert plan.of("stale")[0].why == "changed: raw.sales"
    assert weeks_of(plan, "maybe", "models.ranker") == [None]


def test_changed_code_makes_every_week_of_its_asset_stale() -> None:
    nodes = NODES | {"features.sales": replace(FEATURES, code_version="code-2")}
    plan = plan_of(made(), nodes=nodes)
    assert {(e.asset, e.why) for e in plan.of("stale")} == {("features.sales", "its code changed")}
    assert weeks_of(plan, "stale", "features.sales") == WEEKS
    assert {e.asset for e in plan.of("maybe")} == {"models.ranker"}


def test_changed_code_of_the_landing_does_not_touch_its_files() -> None:
    nodes = NODES | {"landing.sales": replace(DROPS, code_version="code-2")}
    assert plan_of(made(), nodes=nodes).entries == []


def test_a_failed_week_blocks_itself_and_only_what_admits_it() -> None:
    statuses = made()
    failed = replace(statuses["raw.sales", THIRD], status="failed", reason="units are negative")
    statuses["raw.sales", THIRD] = failed
    plan = plan_of(statuses)
    assert plan.of("stale") == []
    assert weeks_of(plan, "blocked", "raw.sales") == [THIRD]
    assert weeks_of(plan, "blocked", "features.sales") == WEEKS[3:]
    assert weeks_of(plan, "blocked", "models.ranker") == [None]
    reasons = {e.asset: e.why for e in plan.of("blocked")}
    assert reasons["raw.sales"] == "failed on the same inputs: units are negative"
    assert reasons["features.sales"] == f"waits for raw.sales {THIRD}"
    assert batches(plan, NODES) == []


def test_a_champion_stands_while_its_successor_fails() -> None:
    report = Node("evaluation.ranker", {"models.ranker": {}}, "code-1", partitioned=False)
    champion = Node("models.champion", {report.asset: {}}, "code-1", partitioned=False)
    offers = Node(
        "ranking.offers",
        {champion.asset: {"standing": True}, "features.sales": {"start": 0, "end": 0}},
        "code-1",
        partitioned=True,
    )
    nodes = {**NODES, **{n.asset: n for n in (report, champion, offers)}}
    statuses = made(nodes)
    failed = replace(statuses[report.asset, None], status="failed", reason="gate")
    statuses[report.asset, None] = failed
    del statuses["ranking.offers", THIRD]
    plan = plan_of(statuses, nodes=nodes)
    assert weeks_of(plan, "blocked", "models.champion") == [None]
    assert weeks_of(plan, "stale", "ranking.offers") == [THIRD]
    assert weeks_of(plan, "blocked", "ranking.offers") == []
    assert [b.assets for b in batches(plan, nodes)] == [("ranking.offers",)]
    # One that was never registered cannot stand in for anything.
    del statuses["models.champion", None]
    plan = plan_of(statuses, nodes=nodes)
    assert weeks_of(plan, "stale", "ranking.offers") == []
    assert len(weeks_of(plan, "blocked", "ranking.offers")) == len(WEEKS)


def test_a_failed_week_runs_again_when_its_input_or_code_has_changed() -> None:
    statuses = made()
    failed = replace(statuses["raw.sales", THIRD], status="failed", reason="bad")
    statuses["raw.sales", THIRD] = failed
    mended = statuses | {
        ("landing.sales", THIRD): status("landing.sales", THIRD, data_version="mended")
    }
    assert weeks_of(plan_of(mended), "stale", "raw.sales") == [THIRD]
    nodes = NODES | {"raw.sales": replace(RAW, code_version="code-2")}
    assert weeks_of(plan_of(statuses, nodes=nodes), "stale", "raw.sales") == WEEKS


def test_weeks_before_an_asset_is_kept_are_not_made() -> None:
    nodes = NODES | {"features.sales": replace(FEATURES, since=FOURTH)}
    plan = plan_of({}, nodes=nodes, seen={})
    assert weeks_of(plan, "stale", "features.sales") == WEEKS[3:]


def test_rows_and_seconds_are_those_of_last_time_or_typical() -> None:
    statuses = made()
    del statuses["raw.sales", SECOND]
    statuses["raw.sales", FIRST] = replace(statuses["raw.sales", FIRST], rows=99, code_version="x")
    entries = {(e.asset, e.week): e for e in plan_of(statuses).of("stale")}
    assert (entries["raw.sales", FIRST].rows, entries["raw.sales", SECOND].rows) == (99, 10)
    assert entries["raw.sales", SECOND].seconds == 2.0
    never = plan_of({}, seen={}).entries[0]
    assert (never.rows, never.seconds) == (None, None)


def test_a_fingerprint_is_the_same_until_something_changes() -> None:
    statuses = made()

    def fingerprint(version: str, run_id: str = "run-1") -> str:
        known = statuses | {
            ("landing.sales", SECOND): replace(statuses["landing.sales", SECOND], run_id=run_id)
        }
        (entry,) = plan_of(known, seen=observed(known, **{str(SECOND): version})).of("stale")
        return entry.fingerprint

    assert fingerprint("v2") == fingerprint("v2")
    # Corrected once more, or corrected back and again: another request each time.
    assert len({fingerprint("v2"), fingerprint("v3"), fingerprint("v2", "run-2")}) == 3


# -- batches -------------------------------------------------------------------------------------


def test_one_run_makes_everything_that_was_never_made() -> None:
    plan = plan_of({}, seen={})
    assert batches(plan, NODES) == [
        Batch(("landing.sales", "raw.sales", "features.sales"), (WEEKS[0], WEEKS[-1])),
        Batch(("models.ranker",), None),
    ]


def test_weeks_apart_are_runs_apart() -> None:
    statuses = made()
    for week in (FIRST, SECOND, FOURTH):
        del statuses["raw.sales", week]
    nodes = {"landing.sales": DROPS, "raw.sales": RAW}
    assert batches(plan_of(statuses, nodes=nodes), nodes) == [
        Batch(("raw.sales",), (FIRST, SECOND)),
        Batch(("raw.sales",), (FOURTH, FOURTH)),
    ]


def test_what_was_tried_and_what_is_made_from_it_waits() -> None:
    plan = plan_of({}, seen={})
    tried = frozenset({("raw.sales", THIRD)})
    found = batches(plan, NODES, excluding=tried)
    covered = partitions(found)
    assert ("raw.sales", THIRD) not in covered
    assert ("raw.sales", FOURTH) in covered
    assert {w for a, w in covered if a == "features.sales"} == set(WEEKS[:3])
    assert ("models.ranker", None) not in covered


def test_tables_of_one_step_are_never_parted() -> None:
    """Whatever the gaps between their weeks, and even if only one of them is stale."""
    aside = replace(RAW, asset="quarantine.sales", together=("raw.sales",))
    nodes = {
        "landing.sales": DROPS,
        "quarantine.sales": aside,
        "raw.sales": replace(RAW, together=("quarantine.sales",)),
    }
    statuses = made(nodes)
    for asset, week in (("raw.sales", FIRST), ("raw.sales", THIRD), ("quarantine.sales", FIRST)):
        del statuses[asset, week]
    both = ("quarantine.sales", "raw.sales")
    assert batches(plan_of(statuses, nodes=nodes), nodes) == [
        Batch(both, (FIRST, FIRST)),
        Batch(both, (THIRD, THIRD)),
    ]


def partitions(found: list[Batch]) -> list[Key]:
    return [
        (asset, week)
        for batch in found
        for asset in batch.assets
        for week in (weeks_between(*batch.weeks) if batch.weeks else [None])
    ]


@given(
    missing=st.sets(st.tuples(st.sampled_from([*NODES]), st.integers(0, 6)), max_size=12),
    failed=st.sets(st.integers(0, 6), max_size=2),
)
@settings(max_examples=40, deadline=None)
def test_batches_hold_only_what_is_stale_and_each_after_what_it_is_made_from(
    missing: set[tuple[str, int]], failed: set[int]
) -> None:
    statuses = made()
    for asset, number in missing:
        statuses.pop((asset, None if asset == "models.ranker" else WEEKS[number]), None)
    for number in failed:
        key = ("raw.sales", WEEKS[number])
        if key in statuses:
            statuses[key] = replace(statuses[key], status="failed")
    plan = plan_of(statuses)
    found = batches(plan, NODES)
    stale = {(e.asset, e.week) for e in plan.of("stale")}
    blocked = {(e.asset, e.week) for e in plan.of("blocked")}
    covered = partitions(found)
    assert len(covered) == len(set(covered)), "nothing is made twice"
    assert set(covered) <= stale
    assert not set(covered) & blocked
    for place, batch in enumerate(found):
        for asset in batch.assets:
            for upstream in NODES[asset].inputs:
                later = [b for b in found[place + 1 :] if upstream in b.assets]
                assert later == [], f"{upstream} runs after {asset}"
                if upstream in batch.assets:
                    assert batch.assets.index(upstream) < batch.assets.index(asset)
    if stale:
        assert found, "something can always be done"


@pytest.mark.parametrize("weeks", [1, 5, 54])
def test_contiguous_weeks_are_one_run(weeks: int) -> None:
    statuses = made()
    for week in WEEKS[:weeks]:
        del statuses["features.sales", week]
    nodes = {a: n for a, n in NODES.items() if a != "models.ranker"}
    found = batches(plan_of(statuses, nodes=nodes), nodes)
    assert found == [Batch(("features.sales",), (FIRST, FIRST + (weeks - 1) * ONE_WEEK))]
