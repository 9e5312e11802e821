"""Runs the guarded dbt many times and pays its imports once.

Started as a script by ``tiny_lake``: reads one JSON request per line (arguments, environment,
output file), forks a process that runs ``dbt_guard.main`` as its launcher would, and answers with
the exit code. Only imports that start no thread are made before the fork: a thread's locks would
stay locked in the child.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from pathlib import Path

import dbt.cli.main  # noqa: F401 - imported for the forks

from resources import dbt_guard


def run(*, arguments: list[str], environment: dict[str, str], output: str) -> int:
    """Exit code of one dbt in a process of its own."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 1
    try:
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        os.environ.update(environment)
        os.environ.pop("LIFTGRAPH_DBT_PARENT", None)
        dbt_guard.main(arguments)
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    except BaseException:  # noqa: BLE001 - a fork must never return into the loop below
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def threads() -> int:
    """Threads of this process, those of native libraries included where the system tells."""
    tasks = Path("/proc/self/task")
    return len(list(tasks.iterdir())) if tasks.exists() else threading.active_count()


def serve() -> None:
    if threads() != 1:
        sys.exit(f"{threads()} threads run before the fork: an import has started one")
    for line in sys.stdin:
        code = run(**json.loads(line))
        sys.stdout.write(f"{code}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
