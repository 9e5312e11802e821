"""The ledger on SQLite and, where it is installed, on PostgreSQL: append-only, one winner."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from models.release.ledger import IllegalTransitionError
from resources.release_ledger import LedgerDamagedError, ReleaseLedger
from resources.settings import PROJECT
from tests.resources.postgres_server import postgres_server

NAME = "offer_ranker"
WHY = {"name": NAME, "actor": "ann", "reason": "because"}
WRITERS = 6


@pytest.fixture(
    scope="module",
    params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)],
)
def address(request: pytest.FixtureRequest, tmp_path_factory) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path_factory.mktemp('ledger') / 'releases.db'}"
        return
    if importlib.util.find_spec("psycopg2") is None:
        pytest.skip("the `postgres` extra is not installed")
    with postgres_server(user="ledger", database="releases") as socket:
        yield f"postgresql://ledger@/releases?host={socket}"


@pytest.fixture
def ledger(address: str) -> Iterator[ReleaseLedger]:
    """An empty one: nothing can be deleted, so its table is dropped."""
    made = ReleaseLedger(address)
    yield made
    with made._engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE release_events")
    made.close()


def to(ledger: ReleaseLedger, version: str, state, **more):
    return ledger.append(model_version=version, model_tag=f"t:{version}", to=state, **WHY | more)


def with_canary(ledger: ReleaseLedger) -> None:
    for version, state, percent in (
        ("a", "candidate", None),
        ("a", "live", None),
        ("b", "candidate", None),
        ("b", "shadow", None),
        ("b", "canary", 5),
    ):
        to(ledger, version, state, percent=percent)


def test_a_release_is_written_as_it_was_taken(ledger: ReleaseLedger) -> None:
    assert (ledger.head(), ledger.events()) == (0, [])
    with_canary(ledger)
    evidence = {"verdict": "PROMOTE", "figures": {"errors": 0.001}}
    event = to(ledger, "b", "live", evidence=evidence, seen=5)
    assert (event.id, event.previous, event.forced, event.evidence) == (
        7,
        "canary",
        False,
        evidence,
    )
    assert [e.state for e in ledger.events(NAME, since=5)] == ["retired", "live"]
    assert ledger.events(NAME)[-1] == event
    assert ledger.events("demand") == []
    now = ledger.releases(NAME)
    assert (now.live.model_tag, now.previous_live.model_version, now.head) == ("t:b", "a", 7)
    assert [e.model_version for e in ledger.rollback(**WHY, model_version="b")] == ["b", "a"]
    assert (ledger.head(), ledger.verify()) == (9, 9)


def test_what_may_not_be_leaves_nothing_behind(ledger: ReleaseLedger) -> None:
    with_canary(ledger)
    with pytest.raises(IllegalTransitionError, match="live a, canary b at 5 %, shadow nobody"):
        to(ledger, "b", "live")
    with pytest.raises(IllegalTransitionError, match="went on from event 4 to 5"):
        to(ledger, "b", "canary", percent=25, seen=4)
    with pytest.raises(IllegalTransitionError, match="actor and a reason"):
        ledger.rollback(name=NAME, actor="", reason="x")
    with pytest.raises(ValueError, match="JSON"):
        to(ledger, "b", "canary", percent=25, evidence={"p": float("nan")})
    assert ledger.head() == 5


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE release_events SET reason = 'nicer' WHERE id = 1",
        "DELETE FROM release_events WHERE id = 5",
        "INSERT OR REPLACE INTO release_events SELECT * FROM release_events WHERE id = 1",
        "TRUNCATE release_events",
    ],
)
def test_the_database_refuses_to_change_the_past(ledger: ReleaseLedger, statement: str) -> None:
    with_canary(ledger)
    own = {"TRUNCATE": "postgresql", "INSERT": "sqlite"}.get(statement.split(maxsplit=1)[0])
    if own and not ledger.url.startswith(own):
        pytest.skip(f"{own} only")
    with (
        pytest.raises(sa.exc.DBAPIError, match="append-only"),
        ledger._engine.begin() as connection,
    ):
        connection.exec_driver_sql(statement)
    assert ledger.verify() == 5


def test_a_past_changed_behind_its_back_shows(ledger: ReleaseLedger) -> None:
    with_canary(ledger)
    with ledger._engine.begin() as connection:
        if ledger.url.startswith("sqlite"):
            connection.exec_driver_sql("DROP TRIGGER release_events_no_update")
        else:
            connection.exec_driver_sql("DROP TRIGGER release_events_no_change ON release_events")
        connection.exec_driver_sql("UPDATE release_events SET actor = 'bob' WHERE id = 3")
    with pytest.raises(LedgerDamagedError, match="event 3"):
        ledger.verify()


RACER = """
import json, sys
from models.release.ledger import IllegalTransitionError
from resources.release_ledger import ReleaseLedger
ledger = ReleaseLedger(sys.argv[1])
me = sys.argv[2]
def tried(**step):
    try:
        event = ledger.append(name="offer_ranker", actor=me, reason="race", **step)
        return ["won", event.id]
    except IllegalTransitionError as error:
        return ["lost", str(error)]
ledger.head()
print("ready", flush=True)
sys.stdin.readline()
b = {"model_version": "b", "model_tag": "t:b"}
found = [tried(to="live", evidence={"verdict": "PROMOTE"}, **b)]
found += [tried(model_version=f"{me}-{n}", model_tag="t", to="candidate") for n in range(5)]
print(json.dumps(found), flush=True)
"""


@pytest.mark.slow
def test_of_many_processes_that_promote_one_wins(ledger: ReleaseLedger) -> None:
    with_canary(ledger)
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, ledger.url, f"racer{n}"],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for n in range(WRITERS)
    ]
    for racer in racers:
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        racer.stdin.write("go\n")
        racer.stdin.flush()
    results = [json.loads(racer.communicate()[0].splitlines()[-1]) for racer in racers]
    promotions = [r[0] for r in results]
    assert [outcome for outcome, _ in promotions].count("won") == 1
    for outcome, said in promotions:
        if outcome == "lost":
            assert "b is live and cannot become live. Now: live b, canary nobody" in said
    # The other steps get in each other's way nowhere.
    assert all(outcome == "won" for r in results for outcome, _ in r[1:])
    assert ledger.head() == ledger.verify() == 5 + 2 + 5 * WRITERS
    assert ledger.releases(NAME).live.model_version == "b"


def test_opening_is_cheap_and_light() -> None:
    """The service polls it: no graph, registry or frames come with it."""
    code = (
        "import sys, resources.release_ledger; "
        "print({'mlflow', 'dagster', 'polars', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


def test_the_folder_of_a_new_ledger_is_made(tmp_path: Path) -> None:
    assert ReleaseLedger(f"sqlite:///{tmp_path / 'new' / 'releases.db'}").head() == 0
