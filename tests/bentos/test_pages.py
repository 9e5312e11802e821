"""The control room and the insight cards in a real browser, against a real service and ledger."""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from bentos.app import build_app, use_engine
from resources.incidents import open_incident
from resources.release_ledger import ReleaseLedger
from tests.bentos import action_world
from tests.bentos.conftest import World, make_world
from tests.chromium import Page, chromium

pytestmark = pytest.mark.slow

FIRST, SECOND = "aaaaaaaaaaaa", "bbbbbbbbbbbb"
GATE = {
    "name": "beats_best_baseline",
    "passed": True,
    "blocking": True,
    "value": 0.02,
    "threshold": 0.0,
    "reason": "ndcg@10 is better by <b>+0.02</b>",
}


@dataclass(frozen=True)
class Served:
    url: str
    world: World
    key: str
    weak_key: str

    @property
    def ledger(self) -> ReleaseLedger:
        return self.world.ledger

    def post(self, path: str, body: dict) -> dict:
        headers = {"Authorization": f"Bearer {self.key}"}
        reply = httpx.post(f"{self.url}{path}", json=body, headers=headers, timeout=30)
        assert reply.status_code == 200, reply.text
        return reply.json()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, model_ubj: Path) -> Iterator[Served]:
    world = make_world(tmp_path_factory.mktemp("pages") / "home", model_ubj)
    world.publish()
    action_world.publish(world.home / "actions")
    ledger = world.ledger
    for version, evidence in ((FIRST, {}), (SECOND, {"gates": [GATE]})):
        tag = f"liftgraph_ranker:{version}"
        common = {"name": "offer_ranker", "model_version": version, "model_tag": tag}
        told = {"actor": "tests", "reason": f"{version} is <i>good</i>", "evidence": evidence}
        ledger.append(**common, **told, to="candidate")
        ledger.append(**common, **told, to="live", forced=version == SECOND)
    open_incident(
        world.home / "incidents", kind="guard-breach", title="Too many errors", evidence={}
    )
    key = world.key("offers:read", "actions:read", "release:write", name="maria")
    weak_key = world.key("offers:read", name="kiosk")
    models = {f"liftgraph_ranker:{v}": world.released(v) for v in (FIRST, SECOND)}
    app = build_app()
    use_engine(app, world.engine(models=models, frame_ancestors="http://127.0.0.1:*"))
    with listening(app) as url:
        yield Served(url=url, world=world, key=key, weak_key=weak_key)


@contextmanager
def listening(app: FastAPI) -> Iterator[str]:
    """The app behind a real server, in a thread of this process."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", lifespan="on"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server ended"
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(timeout=10)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with chromium(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture
def room(served: Served, page: Page) -> Page:
    page.errors.clear()
    page.show()
    page.open(f"{served.url}/")
    return page


def text(page: Page, selector: str = "body") -> str:
    return page.run(f"document.querySelector({json.dumps(selector)}).innerText")


def test_the_room_says_what_runs_why_and_what_was_done(room: Page) -> None:
    said = text(room)
    assert f"{SECOND} is live since" in said
    # Escaped, so it reads as written.
    assert "ndcg@10 is better by <b>+0.02</b>" in said
    assert "Too many errors" in said
    assert "No run has written its checks yet" in said
    assert "2018-01-01" in text(room, "#s-data")
    assert "forced" in text(room, "#s-history")
    assert room.run("document.querySelectorAll('#s-history tbody tr').length") == 5
    assert room.errors == []


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [320, 1280])
def test_it_fits_and_is_readable(room: Page, width: int, dark: bool) -> None:
    room.show(width=width, height=700, dark=dark)
    assert room.run("document.documentElement.scrollWidth") <= width
    for selector in ("body", ".muted", ".state", "#s-history .good", "button.danger", "a[href]"):
        assert contrast(room, selector) >= 4.5, selector


def contrast(page: Page, selector: str) -> float:
    """WCAG 2 contrast of an element's text on the nearest painted ground."""
    return page.run(
        """(() => {
        const light = (c) => c.slice(0, 3).map((v) => (v /= 255) <= .03928 ? v / 12.92
          : ((v + .055) / 1.055) ** 2.4)
          .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
        const parse = (c) => c.match(/[\\d.]+/g).map(Number);
        const e = document.querySelector(SELECTOR);
        let ground = e, colour;
        while ((colour = parse(getComputedStyle(ground).backgroundColor))[3] === 0)
          ground = ground.parentElement;
        const [a, b] = [light(parse(getComputedStyle(e).color)), light(colour)];
        return (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
        })()""".replace("SELECTOR", json.dumps(selector))
    )


def test_landmarks_labels_and_the_order_of_the_keyboard(room: Page) -> None:
    assert room.run("['header','main','footer'].every(t => document.querySelector(t))")
    unnamed = "[...document.querySelectorAll('section')].filter(s => !document.getElementById("
    unnamed += "s.getAttribute('aria-labelledby'))).length"
    assert room.run(unnamed) == 0
    fields = "[...document.querySelectorAll('input,select,textarea')]"
    assert room.run(f"{fields}.every(f => f.labels.length === 1)")
    assert room.run("document.querySelector('[role=status]').getAttribute('aria-live')") == "polite"
    seen = []
    for _ in range(8):
        room.tab()
        seen.append(room.run("document.activeElement.id || document.activeElement.textContent"))
    assert seen[0] == "Skip to what is running"
    assert seen[1:5] == ["who", "reason", "key", "ask"]
    assert seen[5:8] == ["Status", "OpenAPI", "Metrics"]


def test_without_script_it_reads_whole(room: Page, served: Served) -> None:
    room.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        room.open(f"{served.url}/?without-script")
        said = text(room)
    finally:
        room.call("Emulation.setScriptExecutionDisabled", value=False)
    assert f"{SECOND} is live since" in said
    assert "curl -X POST" in said
    assert room.run("document.getElementById('back').hidden")


def fill(page: Page, *, reason: str, key: str) -> None:
    for field, value in (("reason", reason), ("key", key)):
        page.run(f"document.getElementById('{field}').value = ''")
        page.run(f"document.getElementById('{field}').focus()")
        page.type(value)


def test_a_rollback_needs_a_reason_and_a_key_with_the_scope(room: Page, served: Served) -> None:
    before = served.ledger.head()
    fill(room, reason=" ", key=served.key)
    room.run("document.getElementById('ask').click()")
    assert "Say why" in text(room, "#outcome")
    assert room.run("document.activeElement.id") == "reason"
    fill(room, reason="looks odd", key=served.weak_key)
    room.run("document.getElementById('ask').click()")
    assert room.run("document.getElementById('sure').open")
    room.run("document.getElementById('yes').click()")
    room.until("document.getElementById('outcome').innerText.includes('Not rolled back')")
    assert "release:write" in text(room, "#outcome")
    assert served.ledger.head() == before


def test_cards_open_by_link_alone_and_in_a_frame(served: Served, page: Page) -> None:
    page.errors.clear()
    link = served.post("/insights/links", {"store_id": "s1"})["url"]
    page.show(width=400)
    page.open(served.url + link)
    said = text(page)
    assert "Store s1, week of 2018-01-01" in said
    assert "display and mailer" in said
    assert page.run("document.querySelectorAll('svg[role=img]').length") == 2
    assert page.run("document.documentElement.scrollWidth") <= 400
    assert page.errors == []
    changed = httpx.get(served.url + link.replace("/s1", "/s2"))
    assert (changed.status_code, "does not open" in changed.text) == (403, True)
    with framing(served.url + link) as outside:
        page.open(outside)
        page.until("document.querySelector('iframe').contentWindow.length === 0")
        frames = page.call("Page.getFrameTree")["frameTree"]["childFrames"]
        assert frames[0]["frame"]["url"].startswith(served.url)
        assert page.errors == []


def test_a_household_card_holds_no_raw_id(served: Served, page: Page) -> None:
    link = served.post("/insights/links", {"household_id": "2", "seconds": 60})["url"]
    assert "/households/" in link
    assert not link.split("?")[0].endswith("/2")
    page.open(served.url + link)
    assert "What this household is likely to want" in text(page)
    assert page.run("document.querySelectorAll('main ol > li').length") == 8
    line = json.loads(served.world.log_lines()[-1])
    assert line["context"] == {"channel": "insight_card"}


class framing:  # noqa: N801 - reads as a verb
    """A page of somebody else's that embeds a card."""

    def __init__(self, card: str) -> None:
        body = f'<!doctype html><title>tool</title><iframe src="{card}"></iframe>'.encode()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200 if self.path == "/" else 204)
                self.send_header("Content-Type", "text/html")
                self.end_headers()
                self.wfile.write(body if self.path == "/" else b"")

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def __enter__(self) -> str:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self._server.server_port}/"

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def test_a_rollback_by_the_page_is_a_rollback(room: Page, served: Served) -> None:
    """Last: it changes who is live."""
    fill(room, reason="offers look odd in store 367", key=served.key)
    room.run("document.getElementById('key').focus()")
    room.enter()
    room.until("document.getElementById('sure').open")
    assert f"{FIRST} is live again" in text(room, "#sure")
    # The harmless answer has the focus; the other is one key away.
    assert room.run("document.activeElement.id") == "no"
    room.run("document.getElementById('yes').click()")
    room.until("document.getElementById('outcome').innerText.startsWith('Done')")
    assert f"{FIRST} is live" in text(room, "#outcome")
    releases = served.ledger.releases("offer_ranker")
    assert releases.live is not None
    assert releases.live.model_version == FIRST
    last = served.ledger.events("offer_ranker")[-1]
    assert last.actor == "maria"
    assert "offers look odd in store 367" in last.reason
    room.until(f"document.getElementById('s-why').innerText.includes('{FIRST} is live since')")
    room.until(f"fetch('/status').then(r => r.json()).then(s => s.model.version === '{FIRST}')")
    assert served.key not in room.run("document.documentElement.outerHTML")
    assert room.errors == []
