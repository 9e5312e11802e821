"""The demonstration: bring the whole graph up to date on the real year, then ask the service.

``make demo`` runs it. What is up to date stays; figures go to ``reports/demo.json``.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import psutil

from liftgraph import console, graph, show_progress

OFFERS = 5
# Entries of the store's plan that are shown.
PLANNED = 4
REPORTS = ("ranking", "response", "demand", "actions")
_SAMPLE_SECONDS = 0.5


@contextmanager
def peak_memory() -> Iterator[dict[str, float]]:
    """Peak resident memory in MB of this process and all it starts."""
    found = {"mb": 0.0}
    done = threading.Event()
    me = psutil.Process()

    def watch() -> None:
        while not done.is_set():
            total = 0
            for process in [me, *me.children(recursive=True)]:
                try:
                    total += process.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            found["mb"] = max(found["mb"], total / 2**20)
            done.wait(_SAMPLE_SECONDS)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield found
    finally:
        done.set()
        watcher.join()


def ingested(lake: Any) -> dict[str, dict[str, int]]:
    """Per raw table, what became of the rows of the drops."""
    from checks.contracts.quarantine import QUARANTINE
    from checks.contracts.raw import RAW
    from checks.drops import DUPLICATE

    counts = {}
    for contract in RAW:
        loaded = lake.scan(contract).select(pl.len()).collect().item()
        aside = lake.scan(QUARANTINE[contract.table]).select("kind").collect()["kind"]
        duplicates = int((aside == DUPLICATE).sum())
        counts[contract.table.removeprefix("raw.")] = {
            "loaded": loaded,
            "quarantined": aside.len() - duplicates,
            "duplicates_removed": duplicates,
        }
    return counts


def a_household(landing: Path) -> str:
    """A raw household id, as a till would send it: one that shopped in the last week dropped."""
    from resources.landing import drop, read, weeks_dropped

    week = weeks_dropped(landing, "basket_lines")[-1]
    file = drop(landing, "basket_lines", week).files[0]
    lines = read(file, landing=landing, week=week).rows
    busiest = lines.group_by("household_id").len().sort("len", "household_id", descending=True)
    return str(busiest["household_id"][0])


@contextmanager
def a_key() -> Iterator[str]:
    """An API key for the demonstration, good while the block runs."""
    from bentos.settings import ServingSettings
    from resources.api_keys import add_key, revoke_key

    file = ServingSettings().api_keys_file
    key, token = add_key(file, name="demo", scopes=["offers:read"], expires_in=timedelta(hours=1))
    try:
        yield token
    finally:
        revoke_key(file, key.id)


def ask(url: str, request: Mapping[str, Any], *, key: str) -> dict[str, Any]:
    """One real request to the running service."""
    answer = httpx.post(
        f"{url}/rank_offers",
        json=dict(request),
        headers={"Authorization": f"Bearer {key}"},
        timeout=30,
    )
    answer.raise_for_status()
    return answer.json()


def show(reply: Mapping[str, Any], household: str) -> None:
    """The answer, for people."""
    console.print(
        f"\nOffers for household {household}, week of {reply.get('as_of')} "
        f"(model {reply['model_version']}):"
    )
    for offer in reply["offers"]:
        what = " / ".join(str(offer[k]) for k in ("category", "type") if offer.get(k))
        console.print(f"  {offer['rank']}. product {offer['product_id']}  {what}", markup=False)


def a_plan(lake: Any) -> list[dict[str, Any]]:
    """The plan of the store with most entries for the newest week: what to do, or what to test."""
    from checks.contracts.registry import contract_of

    rows = lake.scan(contract_of("actions.plan")).collect()
    newest = rows.filter(pl.col("week_start") == pl.col("week_start").max())
    busiest = newest.group_by("store_id").len().sort("len", "store_id", descending=[True, False])
    shown = ("store_id", "product_id", "week_start", "kind", "action", "category", "evidence")
    figures = ("lift_low", "lift", "lift_high", "cost", "reasons")
    return (
        newest.filter(pl.col("store_id") == (busiest["store_id"][0] if busiest.height else ""))
        .sort("value", "product_id", descending=[True, False])
        .select(*shown, *figures)
        .to_dicts()
    )


def show_plan(plan: Sequence[Mapping[str, Any]]) -> None:
    """A store's plan, for people."""
    if not plan:
        console.print("\nNo action is worth its cost and none is worth a test; see the report.")
        return
    first = plan[0]
    console.print(f"\nPlan of store {first['store_id']}, week of {first['week_start']}:")
    for entry in plan[:PLANNED]:
        console.print(
            f"  {entry['kind']}: {entry['action']} for product {entry['product_id']} "
            f"({entry['category']}), lift {entry['lift']:.1f} units "
            f"({entry['lift_low']:.1f} to {entry['lift_high']:.1f}), cost {entry['cost']:.2f} USD",
            markup=False,
        )


def main() -> None:
    from assets.governance.runner import bring_up_to_date
    from bentos.server import serve
    from resources import partition_status

    started = time.perf_counter()
    show_progress()
    with peak_memory() as memory, graph() as (settings, lake, defs, instance):
        outcome = bring_up_to_date(defs, settings=settings, lake=lake, instance=instance)
        graph_seconds = time.perf_counter() - started
        if not outcome.success:
            report_failure(outcome)
            sys.exit(1)
        bento = partition_status.current(lake, ["serving.bento"])["serving.bento", None]
        console.print(f"{graph_seconds:6.1f} s  starting the service: {bento.data_version}")
        household = a_household(settings.landing_dir)
        request = {"household_id": household, "k": OFFERS}
        serving = time.perf_counter()
        with a_key() as key, serve(bento.data_version, home=settings.home) as url:
            reply = ask(url, request, key=key)
        stages = outcome.stages() | {"serve": round(time.perf_counter() - serving, 2)}
        result = {
            "rows": ingested(lake),
            "stages": stages,
            "graph_s": round(graph_seconds, 2),
            "wall_s": round(time.perf_counter() - started, 2),
            "peak_rss_mb": round(memory["mb"], 1),
            "snapshot_id": lake.snapshot_id(),
            "model_version": reply["model_version"],
            "request": request,
            "reply": reply,
            "plan": a_plan(lake),
        }
    target = settings.reports / "demo.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(".demo.json.part")
    unfinished.write_text(json.dumps(result, indent=1, default=_text), encoding="utf-8")
    unfinished.replace(target)
    show(reply, household)
    show_plan(result["plan"])
    reports = ", ".join(str(settings.reports / name / "index.html") for name in REPORTS)
    console.print(
        f"\nDone in {result['wall_s']:.0f} s, at most {result['peak_rss_mb']:,.0f} MB. "
        f"The figures are in {target}, the reports in {reports}.\n"
        "Next: `make dev` opens the graph, `make serve` the service (`python -m liftgraph keys add "
        "NAME --scope offers:read` makes a key for it), `make plan` says what a changed drop would "
        "re-materialise.",
        markup=False,
    )


def report_failure(outcome: Any) -> None:
    """Say what failed and what to do next."""
    for ran in outcome.ran:
        for error in ran.errors:
            console.print(f"failed: {error}", style="bold red", markup=False)
    blocked = outcome.plan.of("blocked") if outcome.plan else []
    for entry in blocked[:5]:
        console.print(f"blocked: {entry.asset} {entry.week or ''}: {entry.why}", markup=False)
    console.print(
        "Mend what is named above and say `make demo` again: what is done stays done. "
        "`make plan` lists what is left, `make dev` shows the failed run."
    )


def _text(value: object) -> str:
    if isinstance(value, date | Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


if __name__ == "__main__":
    main()
