"""Code versions that nobody has to remember to raise.

The version of an asset is a hash of its function, of the functions beside it that it calls, of the
modules of its package that it uses, and of every ``models`` and ``checks`` module that these reach,
with the templates they name, docstrings and comments left out. So an edit makes stale what it can
change, and nothing else.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import dataclasses
import hashlib
import importlib.util
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

_ROOMS = ("models", "checks")
# Contracts say what a table holds, not how it is made; each asset hashes its own contract.
_NOT_CODE = "checks.contracts"


def code_version(function: Callable, *, extra: Iterable[str] = ()) -> str:
    """Version of an asset's function with all that it reaches in the pure rooms.

    Its own module is read as text too: a decorator asks while what stands below the function does
    not exist yet.

    Args:
        function: The asset's function.
        extra: Further text the result depends on, such as the contract's schema.
    """
    package = function.__module__
    modules: set[str] = set()
    trees: dict[str, str] = {}
    waiting: list[Any] = [function]
    while waiting:
        piece = _piece(waiting.pop(), package)
        if piece is None or piece.name in trees:
            continue
        trees[piece.name] = piece.text
        targets = piece.targets
        if piece.own:
            waiting += sorted(piece.names)
            targets = [*targets, *_imported(package, piece.names)]
        for target in targets:
            home = target.__name__ if isinstance(target, ModuleType) else _module_of(target)
            if home and (_is_ours(home) or _is_beside(home, package)):
                modules |= _closure(home)
            elif inspect.isfunction(target) and home == package:
                # A function beside the asset's own does part of its work.
                waiting.append(target)
    digest = hashlib.sha256()
    for name in sorted(trees):
        digest.update(trees[name].encode())
    for module in sorted(modules):
        digest.update(f"{module}:{_module_hash(module)}".encode())
    for text in extra:
        digest.update(text.encode())
    return digest.hexdigest()[:12]


@dataclasses.dataclass(frozen=True)
class _Piece:
    """Code that a version is made of.

    Attributes:
        name: Of the function, class or constant, its module's before it.
        text: Normalised.
        names: Names it reads.
        targets: What some of them stand for.
        own: Whether it stands in the asset's own module.
    """

    name: str
    text: str
    names: set[str]
    targets: list[object]
    own: bool


def _piece(each: Any, package: str) -> _Piece | None:
    """A function, or what a name of the asset's own module stands for; None for other names."""
    if isinstance(each, str):
        found = _own_names(package).get(each)
        if found is None:
            return None
        return _Piece(f"{package}.{each}", _normalised(found), _read_names(found), [], own=True)
    function = inspect.unwrap(each)
    text, names = _text_and_names(function)
    return _Piece(
        name=f"{function.__module__}.{function.__qualname__}",
        text=text,
        names=names,
        targets=_reached(function, names),
        own=function.__module__ == package,
    )


def _text_and_names(function: Any) -> tuple[str, set[str]]:
    """A function's code, normalised, and the names in it."""
    if function.__name__ == "<lambda>":
        # The source of a lambda is the line around it, which need not be whole.
        code = function.__code__
        return _bytecode(code), {*code.co_names, *code.co_freevars}
    tree = _undecorated(ast.parse(textwrap.dedent(inspect.getsource(function))))
    return _normalised(tree), _read_names(tree)


def _read_names(tree: ast.AST) -> set[str]:
    """Names that a piece of code reads and does not bind itself; annotations change no row."""
    bound: set[str] = set()
    read: set[str] = set()
    for node in ast.walk(_without_annotations(tree)):
        if isinstance(node, ast.Name):
            (read if isinstance(node.ctx, ast.Load) else bound).add(node.id)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
    return read - bound


def _without_annotations(tree: ast.AST) -> ast.AST:
    bare = copy.deepcopy(tree)
    for node in ast.walk(bare):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
        elif isinstance(node, ast.arg):
            node.annotation = None
    return bare


@cache
def _own_names(module: str) -> Mapping[str, ast.Module]:
    """What a module defines at its top level, by name."""
    tree = _source(module)
    found: dict[str, ast.Module] = {}
    for statement in copy.deepcopy(tree).body if tree else ():
        piece = ast.Module([statement], type_ignores=[])
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            found[statement.name] = _undecorated(piece)
        elif isinstance(statement, ast.Assign | ast.AnnAssign):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            for target in targets:
                found |= {n.id: piece for n in ast.walk(target) if isinstance(n, ast.Name)}
    return found


def _imported(module: str, names: Iterable[str]) -> list[ModuleType]:
    """Modules that some names of a module were imported from, or are."""
    tree = _source(module)
    wanted = set(names)
    found: set[str] = set()
    for statement in tree.body if tree else ():
        if isinstance(statement, ast.ImportFrom) and statement.module and not statement.level:
            for alias in statement.names:
                if (alias.asname or alias.name) in wanted:
                    inner = f"{statement.module}.{alias.name}"
                    known = _is_ours(inner) and _is_module(inner)
                    found.add(inner if known else statement.module)
    return [sys.modules[name] for name in sorted(found) if name in sys.modules]


def _bytecode(code: CodeType) -> str:
    # A code object inside another shows where it lies, which differs from process to process.
    constants = [_bytecode(c) if isinstance(c, CodeType) else repr(c) for c in code.co_consts]
    return repr((code.co_code, code.co_names, code.co_varnames, constants))


def _reached(function: Any, names: set[str]) -> list[object]:
    """What a function's names stand for: globals, and what a factory closed over."""
    known = dict(function.__globals__)
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    for name, cell in cells:
        # A variable that is assigned after its function has no value yet.
        with contextlib.suppress(ValueError):
            known[name] = cell.cell_contents
    targets = [known[n] for n in sorted(names) if n in known]
    for target in list(targets):
        if dataclasses.is_dataclass(target) and not isinstance(target, type):
            values = [getattr(target, f.name) for f in dataclasses.fields(target)]
            targets += [v for v in values if inspect.isfunction(v)]
    return targets


def _undecorated(tree: ast.Module) -> ast.Module:
    """A function without its decorator: owners, groups and descriptions change no row."""
    first = tree.body[0]
    if isinstance(first, ast.FunctionDef):
        first.decorator_list = []
    return tree


def _module_of(target: object) -> str | None:
    return getattr(target, "__module__", None)


def _is_ours(module: str) -> bool:
    return module.split(".", maxsplit=1)[0] in _ROOMS and not module.startswith(_NOT_CODE)


def _is_beside(module: str, asset: str) -> bool:
    """Whether a module lies in the package of an asset's, which does part of its work."""
    package = asset.rpartition(".")[0]
    return "." in package and module != asset and module.rpartition(".")[0] == package


@cache
def _source(module: str) -> ast.Module | None:
    loaded = sys.modules.get(module)
    origin = getattr(loaded, "__file__", None)
    if origin is None:
        # A program given as text has neither a file nor a spec.
        spec = None if module == "__main__" else importlib.util.find_spec(module)
        origin = spec.origin if spec else None
    if origin is None or not Path(origin).is_file():
        return None
    return ast.parse(Path(origin).read_text(encoding="utf-8"))


@cache
def _module_hash(module: str) -> str:
    tree = _source(module)
    if tree is None:
        return ""
    digest = hashlib.sha256(_normalised(tree).encode())
    for template in _templates(module, tree):
        digest.update(template.read_bytes())
    return digest.hexdigest()


def _templates(module: str, tree: ast.Module) -> list[Path]:
    """Files of the ``templates`` folder beside a module that it names."""
    named = {
        n.value
        for n in ast.walk(tree)
        if isinstance(n, ast.Constant) and isinstance(n.value, str) and n.value.endswith(".j2")
    }
    spec = importlib.util.find_spec(module) if named else None
    folder = Path(spec.origin).parent / "templates" if spec and spec.origin else None
    return sorted(folder / n for n in named if (folder / n).is_file()) if folder else []


@cache
def _closure(module: str) -> frozenset[str]:
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        tree = _source(name)
        if tree is not None:
            waiting += [m for m in _imports(tree) if _is_ours(m)]
    return frozenset(seen)


def _imports(tree: ast.Module) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
            # `from models.features import windows` names a module, not an attribute.
            if node.module.split(".")[0] in _ROOMS:
                found |= {
                    f"{node.module}.{alias.name}"
                    for alias in node.names
                    if _is_module(f"{node.module}.{alias.name}")
                }
    return found


@cache
def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _normalised(tree: ast.Module) -> str:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if (
            isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef)
            and body
            and isinstance(body[0], ast.Expr)
            and isinstance(body[0].value, ast.Constant)
            and isinstance(body[0].value.value, str)
        ):
            node.body = body[1:] or [ast.Pass()]
    return ast.dump(tree, annotate_fields=False)
