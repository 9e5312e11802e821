"""The real thing: a bento is built, served by its own process, asked, swapped, and stopped."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from bentos.packaging import Packaged, PackagingError, package
from bentos.schemas import RankOffersReply
from bentos.server import RunningServer, ServerError, serve, start, wait_until_ready
from tests.bentos.conftest import (
    KEY,
    LABELS,
    World,
    best_first,
    make_world,
    train_probabilities,
)

pytestmark = pytest.mark.slow

# The first child compiles the libraries it imports, beside whatever else runs.
READY_SECONDS = 150.0
STOP_SECONDS = 20.0
SWAPS = 12
TOP = 4


@pytest.fixture(scope="module")
def served_world(tmp_path_factory: pytest.TempPathFactory, model_ubj: Path) -> World:
    return make_world(tmp_path_factory.mktemp("served") / "home", model_ubj)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, model_ubj: Path) -> Path:
    """The folder of a model, as training stores it."""
    folder = tmp_path_factory.mktemp("trained")
    shutil.copyfile(model_ubj, folder / "model.ubj")
    train_probabilities(folder)
    return folder / "model.ubj"


@pytest.fixture(scope="module")
def packaged(served_world: World, trained: Path, bytecode_cache: None) -> Packaged:
    return package(trained, LABELS, bentoml_home=served_world.settings.bentoml_home)


@pytest.fixture(scope="module")
def server(served_world: World, packaged: Packaged) -> Iterator[RunningServer]:
    served_world.publish()
    running = start(
        packaged.bento,
        home=served_world.home,
        environment={
            "LIFTGRAPH_SNAPSHOT_POLL_SECONDS": "0.05",
            "LIFTGRAPH_SERVE_WORKERS": "2",
        },
    )
    try:
        wait_until_ready(running, timeout_seconds=READY_SECONDS)
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module")
def key(served_world: World) -> dict[str, str]:
    return {"Authorization": f"Bearer {served_world.key('offers:read', rate_per_second=1e6)}"}


@pytest.fixture(scope="module")
def client(server: RunningServer, key: dict[str, str]) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=30, headers=key) as client:
        yield client


def reason_it_is_not_ready(running: RunningServer) -> str:
    """What ``/readyz`` says once the worker is up."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        try:
            wait_until_ready(running, timeout_seconds=1)
        except ServerError as error:
            if "/readyz answered 503" in str(error):
                return str(error)
    return "it never answered"


def workers_of(running: RunningServer) -> list[int]:
    children = psutil.Process(running.process.pid).children(recursive=True)
    return [c.pid for c in children if any("_bentoml_impl.worker" in a for a in c.cmdline())]


def listening(url: str) -> bool:
    host, port = url.removeprefix("http://").split(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def test_packaging_again_builds_nothing(
    served_world: World, trained: Path, packaged: Packaged
) -> None:
    store = served_world.settings.bentoml_home
    name, version = packaged.bento.split(":")
    latest = store / "bentos" / name / "latest"
    assert latest.read_text() == version
    latest.write_text("another")
    again = package(trained, LABELS, bentoml_home=store)
    assert packaged.built
    assert not again.built
    assert (again.bento, again.model) == (packaged.bento, packaged.model)
    assert latest.read_text() == version
    assert [p.name for p in (store / "bentos" / name).iterdir() if p.is_dir()] == [version]


def test_the_bento_holds_the_service_its_model_and_nothing_else(
    served_world: World, trained: Path, packaged: Packaged
) -> None:
    store = served_world.settings.bentoml_home
    bento = store / "bentos" / packaged.bento.replace(":", "/")
    rooms = {path.name for path in (bento / "src").iterdir()}
    assert rooms <= {"bentos", "models", "resources", "bentofile.yaml"}
    assert not list(bento.rglob("*.pkl"))
    described = (bento / "bento.yaml").read_text()
    assert packaged.model in described
    for name, value in LABELS.items():
        assert f"{name}: " in described
        assert value in described
    model = store / "models" / packaged.model.replace(":", "/")
    for file in ("model.ubj", "classifier.ubj", "calibration.json"):
        assert (model / file).read_bytes() == (trained.parent / file).read_bytes()


def test_a_model_without_its_labels_is_not_packaged(tmp_path: Path, bytecode_cache: None) -> None:
    labels = {name: value for name, value in LABELS.items() if name != "git_revision"}
    with pytest.raises(PackagingError, match=r"label\(s\) git_revision are missing"):
        package(b"any", labels, bentoml_home=tmp_path)


def test_a_real_request_is_answered_and_logged(
    client: httpx.Client, served_world: World, packaged: Packaged
) -> None:
    reply = client.post("/rank_offers", json={"household_id": "2", "k": TOP})
    assert reply.status_code == 200
    answer = RankOffersReply.model_validate_json(reply.content)
    assert [o.product_id for o in answer.offers] == best_first(2)[:TOP]
    assert answer.fallback is None
    assert all(o.probability is not None and o.reasons for o in answer.offers)
    logged = [json.loads(line) for line in served_world.log_lines()]
    (decision,) = [d for d in logged if d["request_id"] == answer.request_id]
    assert decision["ranking"] == best_first(2)[:TOP]
    assert (decision["bento"], decision["model_tag"]) == (packaged.bento, packaged.model)

    unknown = client.post("/rank_offers", json={"household_id": "stranger"}).json()
    assert unknown["fallback"] == "unknown_household"
    assert unknown["offers"][0]["product_id"] == "popular-b"
    invalid = client.post("/rank_offers", json={"household_id": "2", "k": 101})
    assert invalid.status_code == 422
    assert invalid.json()["errors"][0]["field"] == "k"


def test_bentomls_own_pages_and_ours_share_the_root(
    client: httpx.Client, packaged: Packaged
) -> None:
    assert client.get("/livez").status_code == 200
    assert client.get("/readyz").status_code == 200
    metrics = client.get("/metrics").text
    assert 'liftgraph_decisions_total{arm="live",error="no",fallback="none"}' in metrics
    assert "bentoml_" not in metrics
    assert client.get("/").text.startswith("<!doctype html>")
    assert "/rank_offers" in client.get("/openapi.json").json()["paths"]
    assert client.get("/docs.json").status_code == 404
    status = client.get("/status").json()
    assert status["ready"]
    assert status["bento"] == packaged.bento
    assert status["model"]["labels"] == LABELS


def test_no_answer_mixes_two_snapshots_while_they_are_swapped(
    client: httpx.Client, served_world: World
) -> None:
    shift_of = {served_world.publish(shift=s).version: s for s in range(SWAPS)}
    seen: set[str] = set()
    done = threading.Event()

    def swap() -> None:
        for shift in range(SWAPS):
            served_world.publish(shift=shift)
            time.sleep(0.1)
        done.set()

    swapper = threading.Thread(target=swap)
    swapper.start()
    while not done.is_set():
        reply = client.post("/rank_offers", json={"household_id": "1", "k": TOP})
        assert reply.status_code == 200
        answer = reply.json()
        shift = shift_of[answer["snapshot_version"]]
        assert [o["product_id"] for o in answer["offers"]] == best_first(1, shift)[:TOP]
        seen.add(answer["snapshot_version"])
    swapper.join()
    assert len(seen) > 1


def test_the_log_holds_no_raw_id(
    client: httpx.Client, served_world: World, server: RunningServer
) -> None:
    raw_id = "raw-household-4711"
    assert client.post("/rank_offers", json={"household_id": raw_id}).status_code == 200
    assert raw_id.encode() not in b"".join(served_world.log_lines())
    assert raw_id not in server.log.read_text()
    assert KEY not in server.log.read_text()


def test_every_worker_answers_and_a_killed_one_loses_no_decision(
    server: RunningServer, served_world: World, key: dict[str, str]
) -> None:
    workers = workers_of(server)
    assert len(workers) == 2
    answered: list[str] = []
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            try:
                # A connection of its own each time, so that both workers are met.
                reply = httpx.post(
                    f"{server.url}/rank_offers", json={"household_id": "1"}, headers=key
                )
            except httpx.TransportError:
                continue
            assert reply.status_code == 200
            answered.append(reply.json()["request_id"])

    thread = threading.Thread(target=ask)
    thread.start()
    time.sleep(0.3)
    os.kill(workers[0], signal.SIGKILL)
    time.sleep(0.7)
    done.set()
    thread.join()
    logged = [json.loads(line) for line in served_world.log_lines()]
    ids = Counter(d["request_id"] for d in logged if d["kind"] == "decision")
    assert answered
    assert {ids[i] for i in answered} == {1}


def test_sigterm_under_load_fails_no_request_and_stops_all_processes(
    server: RunningServer, key: dict[str, str], served_world: World
) -> None:
    # The last test of this server: the module's fixture then finds it stopped.
    family = [server.process.pid, *(p.pid for p in psutil.Process(server.process.pid).children())]
    assert len(family) > 1
    broken: list[str] = []
    told: list[str] = []
    asking: set[int] = set()

    def ask() -> None:
        with httpx.Client(base_url=server.url, headers=key, timeout=STOP_SECONDS) as client:
            while True:
                try:
                    reply = client.post("/rank_offers", json={"household_id": "2", "k": TOP})
                except httpx.TransportError as error:
                    broken.append(repr(error))
                    return
                assert reply.status_code == 200
                asking.add(threading.get_ident())
                if reply.headers.get("connection") == "close":
                    told.append(reply.json()["request_id"])
                    return

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    while len(asking) < len(threads) and not broken:
        time.sleep(0.05)
    server.process.send_signal(signal.SIGTERM)
    for thread in threads:
        thread.join(timeout=STOP_SECONDS)
    assert server.process.wait(timeout=STOP_SECONDS) == 0
    assert broken == []
    assert len(told) == 4
    assert [pid for pid in family if psutil.pid_exists(pid)] == []
    assert not listening(server.url)
    assert "cleanup finalized" in server.log.read_text()
    # Nothing is left open, and every line is whole.
    files = sorted((served_world.home / "decisions").iterdir())
    assert [f.name for f in files if not f.name.endswith(".jsonl")] == []


def test_from_source_it_waits_for_a_snapshot_and_dies_with_its_supervisor(
    world: World, packaged: Packaged, served_world: World
) -> None:
    running = start(
        "bentos.service:LiftGraph",
        home=world.home,
        bentoml_home=served_world.settings.bentoml_home,
    )
    try:
        reason = reason_it_is_not_ready(running)
        assert "no online snapshot" in reason
        assert "run `make demo`" in reason
        key = {"Authorization": f"Bearer {world.key('offers:read')}"}
        asked = httpx.post(f"{running.url}/rank_offers", json={"household_id": "1"}, headers=key)
        assert asked.status_code == 503
        world.publish()
        wait_until_ready(running, timeout_seconds=STOP_SECONDS)
        status = httpx.get(f"{running.url}/status").json()
        assert status["bento"] is None
        assert status["model"]["tag"] == packaged.model

        workers = psutil.Process(running.process.pid).children(recursive=True)
        assert workers
        running.process.kill()
        running.process.wait()
        _, alive = psutil.wait_procs(workers, timeout=STOP_SECONDS)
        assert alive == []
    finally:
        running.stop()


def test_a_bento_that_is_not_there_shows_the_log(
    tmp_path: Path, world: World, bytecode_cache: None
) -> None:
    with (
        pytest.raises(ServerError, match=r"ended with exit code(.|\n)*liftgraph"),
        serve("liftgraph:nothere", home=world.home, timeout_seconds=READY_SECONDS),
    ):
        pytest.fail("a server without a bento was ready")
