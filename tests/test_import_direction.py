"""Rooms and their doors: imports run one way, and no room is a junk drawer.

models <- checks <- resources <- assets <- definitions; bentos may see models, checks, resources.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
# Room to the rooms it may import; itself always. `definitions`, `liftgraph`, `benchmarks` and
# `tests` stand outside and may import all.
MAY_IMPORT = {
    "models": set(),
    "checks": {"models"},
    "resources": {"models", "checks"},
    "assets": {"models", "checks", "resources"},
    "bentos": {"models", "checks", "resources"},
}
OUTSIDE = {"definitions", "liftgraph", "benchmarks", "tests", "bentos", "assets"}
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "shared"}
# What pure functions must not touch: the orchestrator, the lake, files by the network, settings.
NOT_IN_MODELS = {
    "dagster",
    "bentoml",
    "mlflow",
    "duckdb",
    "sqlite3",
    "sqlalchemy",
    "requests",
    "httpx",
    "filelock",
    "pydantic_settings",
}


def modules_of(room: str) -> list[Path]:
    return sorted((PROJECT / room).rglob("*.py"))


def imports_of(path: Path) -> Iterator[tuple[int, str]]:
    """Line and top-level package of each import, wherever in the file it stands."""
    package = path.relative_to(PROJECT).parts[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), filename=str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name.split(".")[0]
        elif isinstance(node, ast.ImportFrom):
            # A relative import stays in its room, unless it climbs out of it.
            depth = len(path.relative_to(PROJECT).parts) - 1
            if node.level > depth:
                yield node.lineno, "<outside>"
            elif node.level:
                yield node.lineno, package
            else:
                yield node.lineno, (node.module or "").split(".")[0]


def violations(room: str) -> list[str]:
    rooms = set(MAY_IMPORT) | OUTSIDE | {"<outside>"}
    return [
        f"{path.relative_to(PROJECT)}:{line} imports {name}"
        for path in modules_of(room)
        for line, name in imports_of(path)
        if name in rooms and name != room and name not in MAY_IMPORT[room]
    ]


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_imports_run_one_way(room: str) -> None:
    assert modules_of(room), f"{room}/ is gone"
    assert violations(room) == []


def test_models_are_pure() -> None:
    impure = [
        f"{path.relative_to(PROJECT)}:{line} imports {name}"
        for path in modules_of("models")
        for line, name in imports_of(path)
        if name in NOT_IN_MODELS
    ]
    assert impure == []


def test_the_rule_finds_what_it_forbids(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Imports inside functions and of sub-modules count as well."""
    (tmp_path / "checks").mkdir()
    (tmp_path / "checks" / "bad.py").write_text(
        "import polars\ndef f():\n    from resources.lake import Lake\n    import assets.build\n",
        encoding="utf-8",
    )
    monkeypatch.setattr("tests.test_import_direction.PROJECT", tmp_path)
    assert violations("checks") == [
        "checks/bad.py:3 imports resources",
        "checks/bad.py:4 imports assets",
    ]


def test_dbt_is_never_a_package() -> None:
    """It would shadow the `dbt` that runs it."""
    assert not (PROJECT / "dbt" / "__init__.py").exists()


def test_no_module_is_named_for_nothing() -> None:
    named = [
        str(path.relative_to(PROJECT))
        for room in [*MAY_IMPORT, "benchmarks", "tests", "dbt"]
        for path in modules_of(room)
        if path.stem in FORBIDDEN_NAMES or path.parent.name in FORBIDDEN_NAMES
    ]
    assert named == []


def test_every_module_says_what_belongs_in_it() -> None:
    silent = [
        str(path.relative_to(PROJECT))
        for room in MAY_IMPORT
        for path in modules_of(room)
        if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert silent == []
