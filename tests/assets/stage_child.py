"""One stage of the graph in a process of its own, to be killed: ``stage_child.py <stage> [pause]``.

Prints ``ready`` when the work begins and a JSON line when it is done. With ``pause``, it stops in
the middle of a write transaction of that table, after its rows and before the commit, and prints
``paused``. Calendar, folders and source come from the environment.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import dagster as dg

from assets.governance.runner import bring_up_to_date
from resources.lake import Lake
from resources.lake_io import LakeIOManager
from resources.settings import get_settings

PAUSE_SECONDS = 120


def definitions_of(stage: str, settings: Any) -> dg.Definitions:
    """The part of the graph that a stage needs."""
    lake = Lake.of(settings)
    resources = {"settings": settings, "lake": lake, "lake_io": LakeIOManager(lake)}
    if stage == "ingest":
        from assets.landing.drops import DROPS
        from assets.landing.raw import RAW_TABLES

        assets = [*DROPS, *RAW_TABLES]
    else:
        raise ValueError(f"no such stage: {stage}; add it to tests/assets/stage_child.py")
    return dg.Definitions(assets=assets, resources=resources, executor=dg.in_process_executor)


def pause_in_transaction_of(table: str) -> None:
    replace = Lake.replace

    def paused(lake: Lake, connection: Any, contract: Any, *args: Any, **kwargs: Any) -> Any:
        versions = replace(lake, connection, contract, *args, **kwargs)
        if contract.table == table:
            print("paused", flush=True)
            time.sleep(PAUSE_SECONDS)
        return versions

    Lake.replace = paused  # type: ignore[method-assign]


def main() -> None:
    """Bring the stage up to date."""
    stage, *pause = sys.argv[1:]
    settings = get_settings().prepare()
    definitions = definitions_of(stage, settings)
    for table in pause:
        pause_in_transaction_of(table)
    with dg.DagsterInstance.get() as instance:
        print("ready", flush=True)
        outcome = bring_up_to_date(
            definitions, settings=settings, lake=Lake.of(settings), instance=instance
        )
        unfinished = instance.get_runs_count(
            dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING])
        )
    print(
        json.dumps(
            {
                "success": outcome.success,
                "runs": len(outcome.ran),
                "errors": [e for r in outcome.ran for e in r.errors],
                "unfinished": unfinished,
            }
        ),
        flush=True,
    )


if __name__ == "__main__":
    main()
