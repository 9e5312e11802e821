"""A child that runs a group for each week by itself, as a single-week run of the UI does."""

from __future__ import annotations

import sys

import dagster as dg

from definitions import defs


def main(group: str, weeks: list[str]) -> None:
    selection = dg.AssetSelection.groups(group).resolve(defs.resolve_asset_graph())
    job = defs.resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.get() as instance:
        for week in weeks:
            done = job.execute_in_process(
                instance=instance,
                partition_key=week,
                asset_selection=list(selection),
                raise_on_error=False,
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            )
            if not done.success:
                sys.exit(f"week {week} failed")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
