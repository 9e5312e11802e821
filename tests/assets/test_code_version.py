"""Code versions: an edit makes stale what it can change, and nothing else."""

import importlib
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from assets.governance import code_version as module
from assets.governance.code_version import code_version

PROJECT = Path(__file__).parents[2]


class Synthetic:
    """Modules under ``models.synthetic_code`` and one of assets, written to a temporary folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, name: str, code: str) -> None:
        path = self.root / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(code), encoding="utf-8")

    def load(self, name: str) -> ModuleType:
        """Import the modules anew, as another process would."""
        for known in [m for m in sys.modules if "synthetic" in m]:
            del sys.modules[known]
        for cached in vars(module).values():
            if hasattr(cached, "cache_clear"):
                cached.cache_clear()
        importlib.invalidate_caches()
        return importlib.import_module(name)

    def version(self, function: str = "asset") -> str:
        return code_version(getattr(self.load("synthetic_assets"), function))


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Synthetic]:
    import models

    sources = Synthetic(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    # A sub-package of the project's own `models`, whose files lie elsewhere.
    monkeypatch.setattr(models, "__path__", [*models.__path__, str(tmp_path / "models_part")])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for name, body in {
        "models_part/synthetic/__init__": "",
        "models_part/synthetic/used": """
            from models.synthetic.deeper import helper

            def work(x):
                "What it does."
                # why
                return helper(x) + 1

            def other(x):
                return x
            """,
        "models_part/synthetic/deeper": "def helper(x):\n    return x * 2\n",
        "models_part/synthetic/unused": "def work(x):\n    return x\n",
        "models_part/synthetic/by_module": "def work(x):\n    return x\n",
        "synthetic_assets": """
            from models.synthetic import by_module
            from models.synthetic.used import work
            from models.synthetic.unused import work as nobody_calls_this

            LIMIT = 3

            def mend(x):
                return x + LIMIT

            def asset(context):
                "A table."
                return mend(work(1))

            def through_a_module(context):
                return by_module.work(1)

            def alone(context):
                return 1

            def factory(function):
                def made(context):
                    return function(1)
                return made

            from_a_factory = factory(work)
            """,
    }.items():
        sources.write(name, body)
    yield sources
    for known in [m for m in sys.modules if "synthetic" in m]:
        del sys.modules[known]


def edit(code: Synthetic, name: str, old: str, new: str) -> None:
    path = code.root / f"{name}.py"
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")


def moved(code: Synthetic, change: Callable[[], None]) -> set[str]:
    """Functions whose version a change moves."""
    names = ("asset", "through_a_module", "alone", "from_a_factory")
    before = {n: code.version(n) for n in names}
    change()
    return {n for n in names if code.version(n) != before[n]}


USED, DEEPER = "models_part/synthetic/used", "models_part/synthetic/deeper"


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        (USED, "helper(x) + 1", "helper(x) + 2", {"asset", "from_a_factory"}),
        (DEEPER, "x * 2", "x * 3", {"asset", "from_a_factory"}),
        ("models_part/synthetic/by_module", "return x", "return -x", {"through_a_module"}),
        ("synthetic_assets", "x + LIMIT", "x - LIMIT", {"asset"}),
        ("synthetic_assets", "LIMIT = 3", "LIMIT = 4", {"asset"}),
        ("synthetic_assets", "return 1\n", "return 2\n", {"alone"}),
        # Told people, not machines.
        (USED, "What it does.", "What it does, said better.", set()),
        (USED, "# why", "# the reason why", set()),
        (USED, "def work(x):", "def  work( x ):", set()),
        ("synthetic_assets", '"A table."', '"A table of things."', set()),
        # Imported by the module, used by no asset.
        ("models_part/synthetic/unused", "return x", "return -x", set()),
    ],
)
def test_an_edit_moves_the_versions_of_what_it_can_change(
    code: Synthetic, file: str, old: str, new: str, expected: set[str]
) -> None:
    assert moved(code, lambda: edit(code, file, old, new)) == expected


def test_what_the_result_depends_on_besides_is_part_of_the_version(code: Synthetic) -> None:
    function = code.load("synthetic_assets").asset
    assert code_version(function) == code_version(function)
    assert len({code_version(function, extra=e) for e in ([], ["a"], ["b"])}) == 3


def test_a_decorator_tells_of_owners_and_groups_and_moves_nothing(code: Synthetic) -> None:
    decorated = """
        def note(**options):
            return lambda function: function

        @note(owner="{owner}")
        def asset(context):
            return 1
        """
    code.write("synthetic_assets", decorated.format(owner="one"))
    before = code.version()
    code.write("synthetic_assets", decorated.format(owner="another"))
    assert code.version() == before


def test_what_stands_below_a_decorated_asset_counts_as_what_stands_above(code: Synthetic) -> None:
    source = """
        from assets.governance.code_version import code_version
        from models.synthetic.limits import FIRST, SECOND

        def versioned(function):
            function.version = code_version(function)
            return function

        @versioned
        def asset(context, other):
            return below(1) + other

        def below(x):
            return deeper(x) + STEP + FIRST

        def deeper(x):
            return x + {inside}

        STEP = {step}

        @versioned
        def other(context):
            return {unrelated} + SECOND
        """
    plain = {"inside": 1, "step": 2, "unrelated": 3}
    code.write("models_part/synthetic/limits", "FIRST = 1\nSECOND = 2\n")

    def versions(**changed: int) -> tuple[str, str]:
        code.write("synthetic_assets", source.format(**(plain | changed)))
        loaded = code.load("synthetic_assets")
        return loaded.asset.version, loaded.other.version

    first, second = versions()
    assert versions() == (first, second)
    for name in ("inside", "step"):
        moved_first, moved_second = versions(**{name: 7})
        assert moved_first != first
        assert moved_second == second
    moved_first, moved_second = versions(unrelated=7)
    assert moved_first == first
    assert moved_second != second
    code.write("models_part/synthetic/limits", "FIRST = 3\nSECOND = 2\n")
    assert versions()[0] != first


def test_lambdas_and_variables_assigned_later_are_no_trouble(code: Synthetic) -> None:
    source = """
        def factory(function):
            def made(context):
                return function(1) + later
            version_now = __import__("assets.governance.code_version", fromlist=["code_version"])
            made.version = version_now.code_version(made)
            later = 1
            return made

        asset = factory(lambda x: sum(y {sign} x for y in range(3)))
        """
    code.write("synthetic_assets", source.format(sign="+"))
    before = code.load("synthetic_assets").asset.version
    code.write("synthetic_assets", source.format(sign="-"))
    assert code.load("synthetic_assets").asset.version != before


@pytest.mark.slow
def test_versions_are_the_same_in_every_process() -> None:
    """Else every start would find everything stale."""
    script = """
        from assets.governance.code_version import code_version
        from assets.landing.raw import RAW_TABLES
        from assets.lake_asset import CODE_KEY
        print(sorted((str(k), a.metadata_by_key[k][CODE_KEY]) for a in RAW_TABLES for k in a.keys))
        print(code_version(lambda x: [y for y in x]))
        print(code_version(lambda x: x in {"alpha", "beta", "gamma"}))
        """
    found = {
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", textwrap.dedent(script)],
            cwd=PROJECT,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(PROJECT), "LIFTGRAPH_HOME": "/nowhere"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1


def test_modules_of_its_package_and_templates_they_name_count(code: Synthetic) -> None:
    for name, body in {
        "synthetic_room/__init__": "",
        "synthetic_room/pages/__init__": "",
        "synthetic_room/pages/report": """
            from synthetic_room.pages import beside

            def asset(context):
                return beside.render(1)
            """,
        "synthetic_room/pages/beside": """
            PAGE = "page.html.j2"

            def render(x):
                return x
            """,
    }.items():
        code.write(name, body)
    template = code.root / "synthetic_room" / "pages" / "templates" / "page.html.j2"
    template.parent.mkdir()
    template.write_text("one")

    def version() -> str:
        return code_version(code.load("synthetic_room.pages.report").asset)

    versions = [version()]
    edit(code, "synthetic_room/pages/beside", "return x", "return -x")
    versions.append(version())
    template.write_text("other")
    versions.append(version())
    assert len(set(versions)) == 3


def test_what_another_room_of_assets_does_for_it_counts() -> None:
    from assets.governance.code_version import _from_imports, _imported_names

    names = {"probabilities", "ranker_feature_hash", "lake_asset", "start_of_week"}
    assert _imported_names("assets.serving.offers", names) == [
        ("assets.evaluation.systems", "probabilities"),
        ("assets.training.offer_ranker", "ranker_feature_hash"),
    ]
    assert ("assets.lake_asset", "lake_asset") in list(
        _from_imports("assets.serving.offers", names)
    )
