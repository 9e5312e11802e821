"""A PostgreSQL server for one test file, where the programs are installed."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def postgres_server(*, user: str, database: str) -> Iterator[Path]:
    """Its socket's folder.

    Args:
        user: Of the database, not of the machine.
        database: Made in it.
    """
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    on_path = shutil.which("postgres")
    if not found and not on_path:
        pytest.skip("no PostgreSQL server programs on this machine")
    programs = found[-1].parent if found else Path(str(on_path)).parent
    # Not pytest's own folder, which nobody but its user may enter.
    place = Path(tempfile.mkdtemp(prefix="liftgraph-pg-"))
    runs_as = None
    if os.geteuid() == 0:
        # The server refuses to run as root.
        names = {p.pw_name for p in pwd.getpwall()}
        runs_as = next((n for n in ("postgres", "nobody") if n in names), None)
        if runs_as is None:
            pytest.skip("a PostgreSQL server cannot run as root, and there is no other user")
        shutil.chown(place, runs_as)

    def run(program: str, *arguments: object) -> None:
        command = [str(programs / program), *map(str, arguments)]
        # Its output is not piped: the server inherits the pipe and would keep it open.
        subprocess.run(command, check=True, user=runs_as, stdout=subprocess.DEVNULL)

    data = place / "data"
    run("initdb", "-D", data, "-U", user, "-A", "trust", "--no-sync")
    run("pg_ctl", "-D", data, "-o", f"-k {place} -c listen_addresses=''", "-l", place / "log", "-w",
        "start")  # fmt: skip
    try:
        run("createdb", "-h", place, "-U", user, database)
        yield place
    finally:
        run("pg_ctl", "-D", data, "-m", "immediate", "stop")
        shutil.rmtree(place, ignore_errors=True)
