"""What the control room says over ASGI: headers, what is missing, and what is damaged."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from datetime import timedelta

import pytest
from starlette.testclient import TestClient

from bentos.app import build_app, use_engine
from bentos.clock import utc_now
from bentos.pages import ago
from bentos.signed_links import sign
from tests.bentos import action_world
from tests.bentos.conftest import World


@pytest.fixture
def client(world: World) -> Iterator[TestClient]:
    app = build_app()
    use_engine(app, world.engine())
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def test_only_its_own_style_and_script_may_run(client: TestClient) -> None:
    reply = client.get("/")
    policy = reply.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    for tag in ("style", "script"):
        (inside,) = re.findall(f"<{tag}>(.*?)</{tag}>", reply.text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert "frame-ancestors 'none'" in policy
    assert reply.headers["x-frame-options"] == "DENY"
    assert not re.search(r"(src|href)=\"https?:", reply.text)
    assert " style=" not in reply.text
    assert " onclick=" not in reply.text


def test_what_is_missing_is_said_with_its_remedy(client: TestClient) -> None:
    said = client.get("/").text
    assert "Not ready: requests are refused" in said
    for remedy in (
        "run `make demo`",
        "materialise serving.action_snapshot",
        "No run has written its checks yet",
        "The release ledger is empty",
        "Nothing can be rolled back",
    ):
        assert remedy in said, remedy


def test_what_is_damaged_is_said_and_the_page_stays(world: World) -> None:
    world.publish()
    (world.home / "incidents").mkdir()
    (world.home / "folder").mkdir()
    (world.home / "incidents" / "1.json").write_text("{")
    (world.home / "health.json").write_text("[]")
    app = build_app()
    use_engine(app, world.engine(release_url=f"sqlite:///{world.home}/folder"))
    with TestClient(app) as client:
        reply = client.get("/")
    assert reply.status_code == 200
    assert "the release ledger cannot be read" in reply.text
    assert "incidents cannot be read" in reply.text
    assert "health.json cannot be read" in reply.text


def test_cards_open_by_their_own_link_only_and_not_for_ever(
    client: TestClient, world: World
) -> None:
    action_world.publish(world.home / "actions")
    path = "/insights/stores/s1"
    soon, past = (utc_now() + timedelta(minutes=m) for m in (1, -1))
    good = sign(world.settings, path, soon)
    opened = client.get(f"{path}?{good}")
    assert opened.status_code == 200
    assert "frame-ancestors 'self'" in opened.headers["content-security-policy"]
    assert "x-frame-options" not in opened.headers
    assert "script-src 'none'" in opened.headers["content-security-policy"]
    for refused in (
        path,
        f"/insights/stores/s2?{good}",
        f"{path}?{sign(world.settings, path, past)}",
        f"{path}?{good[:-1]}",
    ):
        reply = client.get(refused)
        assert reply.status_code == 403
        assert "/insights/links" in reply.text


def test_a_link_needs_the_scope_of_what_it_shows(client: TestClient, world: World) -> None:
    world.publish()
    key = world.key("offers:read", name="offers")
    header = {"Authorization": f"Bearer {key}"}
    client.app.state.gate.refresh()  # type: ignore[attr-defined]
    asked = {"household_id": "1"}
    assert client.post("/insights/links", json=asked, headers=header).status_code == 200
    assert (
        client.post("/insights/links", json={"store_id": "s1"}, headers=header).status_code == 403
    )
    assert client.post("/insights/links", json=asked).status_code == 401
    both = {"household_id": "1", "store_id": "s1"}
    assert client.post("/insights/links", json=both, headers=header).status_code == 422


def test_an_unknown_store_has_a_card_that_says_so(client: TestClient, world: World) -> None:
    action_world.publish(world.home / "actions")
    path = "/insights/stores/<b>"
    query = sign(world.settings, path, utc_now() + timedelta(minutes=1))
    reply = client.get(f"/insights/stores/%3Cb%3E?{query}")
    assert reply.status_code == 200
    assert "no plan or forecast knows this store" in reply.text
    assert "<b>" not in reply.text


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(5, "5 seconds ago"), (600, "10 minutes ago"), (9000, "2 hours ago"), (864000, "10 days ago")],
)
def test_ago(seconds: int, said: str) -> None:
    now = utc_now()
    assert ago(now - timedelta(seconds=seconds), now) == said
