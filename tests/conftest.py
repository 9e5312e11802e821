"""What every test may use: a home of its own, a lake, and the graph of landing and raw.

Nothing a test does may reach the installation of whoever runs it, so the process itself gets a
home that is thrown away, before anything reads the settings.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

_PROCESS_HOME = tempfile.mkdtemp(prefix="liftgraph-tests-")
os.environ["LIFTGRAPH_HOME"] = _PROCESS_HOME
for _name in ("DAGSTER_HOME", "LIFTGRAPH_EVENTS", "LIFTGRAPH_LANDING", "LIFTGRAPH_SOURCE"):
    os.environ.pop(_name, None)

import dagster as dg  # noqa: E402
import hypothesis  # noqa: E402
import pytest  # noqa: E402

from assets.governance.graph import current_plan  # noqa: E402
from assets.governance.plan import Plan  # noqa: E402
from assets.governance.runner import (  # noqa: E402
    RANGE_END,
    RANGE_START,
    Outcome,
    bring_up_to_date,
)
from resources import lake_database  # noqa: E402
from resources.lake import Lake  # noqa: E402
from resources.lake_io import LakeIOManager  # noqa: E402
from resources.settings import PROJECT, Settings, get_settings  # noqa: E402

# A busy machine is no fault of the code: time limits are pytest's, per test.
hypothesis.settings.register_profile("liftgraph", deadline=None)
hypothesis.settings.load_profile("liftgraph")


# The longest chains. Of several test processes one starts the first at once, beside the fast tests,
# and the other compares with what the first has built.
_BUILT = Path("whole_graph/test_built.py")
_KILLED = Path("whole_graph/test_kill_and_resume.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files without a slow test come first, and long ones before short ones."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    alone = "PYTEST_XDIST_WORKER" not in os.environ

    def turn(item: pytest.Item) -> int:
        if item.path.match(str(_BUILT)):
            return 2 if alone else 0
        if item.path.match(str(_KILLED)):
            return 2
        return 3 if item.path in slow else 1

    items.sort(key=turn)


def pytest_sessionfinish() -> None:
    shutil.rmtree(_PROCESS_HOME, ignore_errors=True)


@dataclass(frozen=True)
class Home:
    """An installation of its own."""

    settings: Settings
    environment: dict[str, str]

    @property
    def path(self) -> Path:
        return self.settings.home

    @property
    def landing(self) -> Path:
        return self.settings.landing_dir

    @property
    def lake(self) -> Lake:
        return Lake.of(self.settings)

    def resources(self) -> dict[str, object]:
        return {
            "settings": self.settings,
            "lake": self.lake,
            "lake_io": LakeIOManager(self.lake),
        }

    def definitions(self, *assets: dg.AssetsDefinition) -> dg.Definitions:
        """A graph of ``assets`` on this home; landing and raw by default."""
        if not assets:
            from assets.landing.drops import DROPS
            from assets.landing.raw import RAW_TABLES

            assets = (*DROPS, *RAW_TABLES)
        return dg.Definitions(
            assets=list(assets),
            resources=self.resources(),
            executor=dg.in_process_executor,
        )

    def materialize(
        self,
        *assets: dg.AssetsDefinition,
        instance: dg.DagsterInstance,
        weeks: Sequence[date] = (),
        select: Sequence[dg.AssetsDefinition] | None = None,
    ) -> dg.ExecuteInProcessResult:
        """Run assets over the range of ``weeks``, as one run of the UI does; it may fail."""
        tags = {RANGE_START: str(weeks[0]), RANGE_END: str(weeks[-1])} if weeks else {}
        return dg.materialize(
            list(assets),
            selection=list(select) if select else None,
            resources=self.resources(),
            instance=instance,
            tags=tags,
            raise_on_error=False,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )

    def run(
        self,
        definitions: dg.Definitions,
        *,
        instance: dg.DagsterInstance,
        only: Sequence[str] | None = None,
    ) -> Outcome:
        """Bring ``definitions``, or only some of its assets, up to date."""
        return bring_up_to_date(
            definitions, settings=self.settings, lake=self.lake, instance=instance, only=only
        )

    def plan(self, definitions: dg.Definitions) -> Plan:
        """What would run now."""
        return current_plan(definitions, settings=self.settings, lake=self.lake)


@pytest.fixture
def make_home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Home]]:
    """Makes an installation in a folder; further settings by name."""
    made: list[Home] = []

    def make(path: Path, **settings: str) -> Home:
        environment = {
            "LIFTGRAPH_HOME": str(path),
            "LIFTGRAPH_LANDING": str(path / "landing"),
            "LIFTGRAPH_REPORTS": str(path / "reports"),
            "LIFTGRAPH_SOURCE": "own",
            "LIFTGRAPH_THREADS": "2",
            "DAGSTER_HOME": str(path / "dagster"),
            "LIFTGRAPH_EVENTS": str(path / "dagster" / "events"),
            "BENTOML_HOME": str(path / "bentoml"),
        } | {f"LIFTGRAPH_{name.upper()}": value for name, value in settings.items()}
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        get_settings.cache_clear()
        home = Home(settings=get_settings().prepare(), environment=environment)
        made.append(home)
        return home

    yield make
    for home in made:
        lake_database.close(home.lake)
    get_settings.cache_clear()


@pytest.fixture
def home(tmp_path: Path, make_home: Callable[..., Home]) -> Home:
    """An installation of its own, whose retailer sends its own drops."""
    return make_home(tmp_path / "home")


@pytest.fixture
def lake(home: Home) -> Lake:
    return home.lake


@pytest.fixture(scope="session")
def new_dagster_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Dagster's databases, made once: their migrations take longer than most tests."""
    place = tmp_path_factory.mktemp("new-dagster-home") / "dagster"
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("DAGSTER_HOME", str(place))
        environment.setenv("LIFTGRAPH_EVENTS", str(place / "events"))
        place.mkdir()
        shutil.copyfile(PROJECT / "dagster.yaml", place / "dagster.yaml")
        with dg.DagsterInstance.get() as made:
            made.get_runs()
    return place


@pytest.fixture
def instance(home: Home, new_dagster_home: Path) -> Iterator[dg.DagsterInstance]:
    """The Dagster instance of ``home``, with the storages that users run."""
    shutil.copytree(new_dagster_home, home.settings.dagster_home, dirs_exist_ok=True)
    with dg.DagsterInstance.get() as made:
        yield made


def assets_of(*tables: str) -> list[dg.AssetsDefinition]:
    """Landing and raw assets of some tables."""
    from assets.landing.drops import DROPS
    from assets.landing.raw import RAW_TABLES

    keys = {f"landing.{t}" for t in tables} | {f"raw.{t}" for t in tables}
    return [a for a in (*DROPS, *RAW_TABLES) if keys & {".".join(k.path) for k in a.keys}]


def failure_of(result: dg.ExecuteInProcessResult) -> str:
    """What the failed step of a run said; its causes, outermost first."""
    (failed,) = [e for e in result.all_events if e.event_type_value == "STEP_FAILURE"]
    data = failed.step_failure_data
    said = []
    if data.user_failure_data and data.user_failure_data.description:
        said.append(data.user_failure_data.description)
    error = data.error
    while error is not None:
        said.append(error.message)
        error = error.cause
    return "\n".join(said)
