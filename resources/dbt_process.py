"""How dbt is started: its environment, the guarded executable, and its manifest.

dbt writes the lake from a process of its own (``dbt_guard`` says under which guards); nothing here
needs Dagster. Everything the child must know goes into the launcher that starts it, so the
environment of this process stays as it is and two lakes can be used side by side.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from resources import dbt_guard

PROJECT_DIR = Path(__file__).resolve().parent.parent / "dbt"
MANIFEST = "manifest.json"
# dbt reuses this file to parse only what changed; Dagster copies it into every invocation.
PARTIAL_PARSE = "partial_parse.msgpack"

# Unit tests judge the SQL, not the data: they run with the test suite, not with every build.
BUILD_ARGS = ("build", "--exclude-resource-type", "unit_test")

_DERIVED = frozenset({"target", "logs", "dbt_packages"})
_STAMP = ".sources.sha256"
_PARSE_TIMEOUT_S = 300


@contextmanager
def not_in_this_process() -> Iterator[None]:
    """Import ``dagster_dbt`` as where dbt is not installed, which it allows for.

    It needs the names of some statuses, and would load all of dbt for them: two seconds of every
    command, while dbt itself runs in a process of its own.
    """
    if "dbt" in sys.modules or "dagster_dbt" in sys.modules:
        yield
        return
    sys.modules["dbt"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        sys.modules.pop("dbt", None)


def extension_file(name: str) -> Path:
    """The file of a DuckDB extension that its Python package brings along.

    dbt loads it by path, so neither the network nor the user's extension folder matters.

    Raises:
        FileNotFoundError: The package is not installed, or for another DuckDB release.
    """
    import duckdb

    package = f"duckdb_extension_{name}"
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(
            f"the DuckDB extension {name} is not installed; install the package "
            f"{package.replace('_', '-')}=={duckdb.__version__}"
        )
    folder = Path(next(iter(spec.submodule_search_locations)))
    file = folder / "extensions" / f"v{duckdb.__version__}" / f"{name}.duckdb_extension"
    if not file.exists():
        raise FileNotFoundError(
            f"{package} has no build for DuckDB {duckdb.__version__} ({file}); install "
            f"{package.replace('_', '-')}=={duckdb.__version__}"
        )
    return file


def dbt_environment(
    *,
    catalog: str,
    data_path: str,
    lock_path: Path | None,
    temp_directory: Path,
    threads: int = 2,
    memory_limit: str = "2GB",
    time_zone: str = "America/New_York",
    lock_timeout_s: float = dbt_guard.DEFAULT_LOCK_TIMEOUT_S,
) -> dict[str, str]:
    """The variables that ``dbt/profiles.yml`` and the guard read.

    Args:
        catalog: What follows ``ducklake:`` in ATTACH: ``sqlite:<file>`` or ``postgres:<dsn>``.
        data_path: Folder or object-store prefix of the lake's Parquet files.
        lock_path: The writers' lock; ``None`` for PostgreSQL, whose catalog holds it.
        temp_directory: Where DuckDB spills what does not fit in memory.
        threads: Threads of the child's DuckDB.
        memory_limit: What the child's DuckDB may hold, e.g. ``2GB``.
        time_zone: Business time zone: when a week starts.
        lock_timeout_s: Seconds to wait for another writer.

    Raises:
        ValueError: The catalog is neither SQLite nor PostgreSQL.
        FileNotFoundError: A DuckDB extension package is missing.
    """
    kind = catalog.partition(":")[0]
    if kind not in {"sqlite", "postgres"}:
        raise ValueError(
            f"the lake's catalog is {catalog!r}; it must start with 'sqlite:' or 'postgres:'"
        )
    return {
        "LIFTGRAPH_DBT_TARGET": kind,
        "LIFTGRAPH_DBT_CATALOG": catalog,
        "LIFTGRAPH_DBT_DATA": data_path,
        "LIFTGRAPH_DBT_DUCKLAKE": str(extension_file("ducklake")),
        "LIFTGRAPH_DBT_SCANNER": str(extension_file(f"{kind}_scanner")),
        "LIFTGRAPH_DBT_THREADS": str(threads),
        "LIFTGRAPH_DBT_MEMORY": memory_limit,
        "LIFTGRAPH_DBT_TEMP": str(temp_directory),
        "LIFTGRAPH_DBT_TIME_ZONE": time_zone,
        dbt_guard.LOCK: str(lock_path or (catalog if kind == "postgres" else "")),
        dbt_guard.LOCK_TIMEOUT: str(lock_timeout_s),
        "DBT_PROFILES_DIR": str(PROJECT_DIR),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        "DBT_VERSION_CHECK": "false",
        "DO_NOT_TRACK": "1",
    }


def guarded_executable(folder: Path, environment: Mapping[str, str]) -> Path:
    """Write the launcher that Dagster (or a person) starts in place of ``dbt``.

    A shell script, as a path with spaces, or longer than the kernel reads after ``#!``, breaks a
    Python shebang. It replaces itself by the interpreter that runs this process, so the process
    that was started is the process that runs dbt.

    Args:
        folder: Where to write ``dbt``; made if missing.
        environment: From ``dbt_environment``; wins over what the starter has set.

    Returns:
        Path of the executable, for ``DbtCliResource(dbt_executable=...)``.
    """
    exports = "\n".join(
        f"export {name}={shlex.quote(value)}" for name, value in sorted(environment.items())
    )
    command = shlex.join([sys.executable, "-P", str(Path(dbt_guard.__file__).resolve())])
    script = (
        "#!/bin/sh\n"
        "# Written by resources/dbt_process.py: dbt for this lake, guarded.\n"
        f'{exports}\nexport LIFTGRAPH_DBT_PARENT="$PPID"\nexec {command} "$@"\n'
    )
    launcher = folder / "dbt"
    if launcher.exists() and launcher.read_text() == script:
        return launcher
    folder.mkdir(parents=True, exist_ok=True)
    # Written aside and moved into place: another process may be starting the old one.
    descriptor, name = tempfile.mkstemp(dir=folder, prefix=".dbt.")
    with os.fdopen(descriptor, "w") as file:
        file.write(script)
    # For its owner alone: a catalog's address may hold a password.
    Path(name).chmod(0o700)
    Path(name).replace(launcher)
    return launcher


def manifest_path(
    *,
    environment: Mapping[str, str],
    project_dir: Path = PROJECT_DIR,
) -> Path:
    """The project's manifest, parsed anew only if a file of the project changed.

    Safe when several processes ask at once: one parses, the others wait, and a manifest is only
    ever seen whole.

    Args:
        environment: From ``dbt_environment``; of any home, as the parse is the same for all.
        project_dir: The dbt project.

    Returns:
        ``<project_dir>/target/manifest.json``.

    Raises:
        RuntimeError: dbt cannot parse the project; the message is dbt's.
    """
    target = project_dir / "target"
    target.mkdir(exist_ok=True)
    manifest = target / MANIFEST
    digest = _digest(project_dir)
    if _is_current(target, digest):
        return manifest
    with FileLock(target / ".parse.lock"):
        if not _is_current(target, digest):
            _parse(project_dir=project_dir, target=target, environment=environment)
            (target / _STAMP).write_text(_stamp(target, digest))
    return manifest


def _is_current(target: Path, digest: str) -> bool:
    """Whether the last parse is of these sources, and its files are those that it left.

    A dbt that somebody starts by hand leaves a parse that no guarded build takes.
    """
    stamp = target / _STAMP
    return (
        (target / MANIFEST).exists()
        and stamp.exists()
        and stamp.read_text() == _stamp(target, digest)
    )


def _stamp(target: Path, digest: str) -> str:
    parsed = target / PARTIAL_PARSE
    held = hashlib.sha256(parsed.read_bytes()).hexdigest() if parsed.exists() else "none"
    return f"{digest} {held}"


def _digest(project_dir: Path) -> str:
    """Of every source file of the project, and of the dbt that reads them."""
    digest = hashlib.sha256(repr(dbt_guard.CONNECTION_KEYS).encode())
    for package in ("dbt-core", "dbt-duckdb"):
        digest.update(importlib.metadata.version(package).encode())
    for path in sorted(project_dir.rglob("*")):
        relative = path.relative_to(project_dir)
        if path.is_file() and relative.parts[0] not in _DERIVED and path.suffix in {".sql", ".yml"}:
            digest.update(str(relative).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _parse(*, project_dir: Path, target: Path, environment: Mapping[str, str]) -> None:
    with tempfile.TemporaryDirectory(dir=target, prefix=".parse.") as scratch:
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-P", dbt_guard.__file__, "parse", "--quiet"],
            cwd=project_dir,
            env={
                **os.environ,
                **environment,
                "DBT_PROJECT_DIR": str(project_dir),
                "DBT_PROFILES_DIR": str(project_dir),
                "DBT_TARGET_PATH": scratch,
                "DBT_LOG_PATH": scratch,
            },
            capture_output=True,
            text=True,
            timeout=_PARSE_TIMEOUT_S,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(
                f"dbt cannot parse {project_dir}; mend what it names and run again:\n"
                f"{done.stdout}{done.stderr}"
            )
        for name in (PARTIAL_PARSE, MANIFEST):
            (Path(scratch) / name).replace(target / name)
