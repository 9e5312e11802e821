"""A process that works on a run until somebody kills it: ``slow_run.py <file to touch>``.

The run holds its lock as every run of this project does; its only asset says that it has started
by touching the file, and then sleeps.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import dagster as dg

from resources import run_reaper
from resources.settings import get_settings

SLEEP_SECONDS = 120


@dg.asset
def slow(context) -> None:
    settings = get_settings()
    run_reaper.hold(settings, context.run_id)
    staged = settings.lake_dir / "staging" / context.run_id
    staged.mkdir(parents=True)
    (staged / "0000.parquet").write_bytes(b"half")
    Path(sys.argv[1]).write_text(context.run_id, encoding="utf-8")
    time.sleep(SLEEP_SECONDS)


def main() -> None:
    """Run the asset on the instance of this home."""
    get_settings().prepare()
    with dg.DagsterInstance.get() as instance:
        dg.materialize([slow], instance=instance)


if __name__ == "__main__":
    main()
