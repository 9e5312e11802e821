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
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

_ROOMS = ("models", "checks")
# Contracts say what a table holds, not how it is made; each asset hashes its own contract.
_NOT_CODE = "checks.contracts"
# `assets.room.module`: what stands higher is how assets are made, not what they do.
_ASSET_DEPTH = 2


def code_version(function: Callable, *, extra: Iterable[str] = ()) -> str:
    """Version of an asset's function with all that it reaches in the pure rooms.

    Its own module is read as text too: a decorator asks while what stands below the function does
    not exist yet.

    Args:
        function: The asset's function.
        extra: Further text the result depends on, such as the contract's schema.
    """
    modules: set[str] = set()
    trees: dict[str, str] = {}
    waiting: list[Any] = [function]
    while waiting:
        piece = _piece(waiting.pop())
        if piece is None or piece.name in trees:
            continue
        trees[piece.name] = piece.text
        waiting += [(piece.module, name) for name in sorted(piece.names)]
        for target in [*piece.targets, *_imported_modules(piece.module, piece.names)]:
            home = target.__name__ if isinstance(target, ModuleType) else _module_of(target)
            if home and (_is_ours(home) or _is_beside(home, function.__module__)):
                modules |= _closure(home)
            elif inspect.isfunction(target) and home == function.__module__:
                # A function beside the asset's own does part of its work.
                waiting.append(target)
        waiting += _imported_names(piece.module, piece.names)
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
        module: Where it stands.
        name: Of the function, class or constant, its module's before it.
        text: Normalised.
        names: Names it reads.
        targets: What some of them stand for, where that is known already.
    """

    module: str
    name: str
    text: str
    names: set[str]
    targets: list[object]


def _piece(each: Any) -> _Piece | None:
    """A function, or a module and a name of it; None for a name that it does not define."""
    if isinstance(each, tuple):
        return _named_piece(*each)
    function = inspect.unwrap(each)
    text, names = _text_and_names(function)
    name = function.__qualname__
    if name.endswith("<lambda>"):
        # A module's lambdas have one name.
        name += hashlib.sha256(text.encode()).hexdigest()
    return _Piece(
        module=function.__module__,
        name=f"{function.__module__}.{name}",
        text=text,
        names=names,
        targets=_reached(function, names),
    )


@cache
def _named_piece(module: str, name: str) -> _Piece | None:
    found = _own_names(module).get(name)
    if found is None:
        return None
    return _Piece(module, f"{module}.{name}", _normalised(found), _read_names(found), [])


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
    for node in _without_annotations(tree):
        if isinstance(node, ast.Name):
            (read if isinstance(node.ctx, ast.Load) else bound).add(node.id)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
    return read - bound


def _without_annotations(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node, but not those of a function's or an argument's annotation."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        for part, value in ast.iter_fields(node):
            if part == "returns" or (part == "annotation" and isinstance(node, ast.arg)):
                continue
            held = value if isinstance(value, list) else [value]
            waiting += [each for each in held if isinstance(each, ast.AST)]


@cache
def _own_names(module: str) -> Mapping[str, ast.Module]:
    """What a module defines at its top level, by name."""
    tree = _source(module)
    found: dict[str, ast.Module] = {}
    for statement in tree.body if tree else ():
        piece = ast.Module([statement], type_ignores=[])
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            found[statement.name] = _undecorated(piece)
        elif isinstance(statement, ast.Assign | ast.AnnAssign):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            for target in targets:
                found |= {n.id: piece for n in ast.walk(target) if isinstance(n, ast.Name)}
    return found


def _from_imports(module: str, names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Module and attribute behind the names that a module took by ``from ... import``."""
    tree = _source(module)
    wanted = set(names)
    for statement in tree.body if tree else ():
        if isinstance(statement, ast.ImportFrom) and statement.module and not statement.level:
            for alias in statement.names:
                if (alias.asname or alias.name) in wanted:
                    yield statement.module, alias.name


def _imported_modules(module: str, names: Iterable[str]) -> list[ModuleType]:
    """Modules of the pure rooms that some names of a module were imported from, or are."""
    found: set[str] = set()
    for source, name in _from_imports(module, names):
        if _is_ours(source) or source in _ROOMS:
            inner = f"{source}.{name}"
            found.add(inner if _is_module(inner) else source)
    return [sys.modules[name] for name in sorted(found) if name in sys.modules]


def _imported_names(module: str, names: Iterable[str]) -> list[tuple[str, str]]:
    """What some names of a module are in another module of assets: its function does the work."""
    return sorted(
        (source, name)
        for source, name in _from_imports(module, names)
        if source.startswith("assets.") and source.count(".") == _ASSET_DEPTH
    )


def _bytecode(code: CodeType) -> str:
    # A code object inside another shows where it lies, which differs from process to process.
    constants = [_bytecode(c) if isinstance(c, CodeType) else _told(c) for c in code.co_consts]
    return repr((code.co_code, code.co_names, code.co_varnames, constants))


def _told(constant: object) -> str:
    # The order of a set differs from process to process.
    if isinstance(constant, frozenset):
        return repr(sorted(map(repr, constant)))
    return repr(constant)


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
        # Its module is hashed with its decorators.
        first = copy.copy(first)
        first.decorator_list = []
    return ast.Module([first, *tree.body[1:]], type_ignores=[])


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
        waiting += [m for m in _imports(name) if _is_ours(m)]
    return frozenset(seen)


@cache
def _imports(module: str) -> frozenset[str]:
    tree = _source(module)
    found: set[str] = set()
    for node in ast.walk(tree) if tree else ():
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
    return frozenset(found)


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
