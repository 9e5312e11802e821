"""The Python client: typed answers, problems raised, busy services asked again."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from pydantic import ValidationError
from starlette.testclient import TestClient

from bentos.app import build_app, use_engine
from bentos.client import Client, ServiceError
from tests.bentos.conftest import World, best_first


@pytest.fixture
def http(world: World) -> Iterator[TestClient]:
    world.publish()
    app = build_app()
    use_engine(app, world.engine())
    with TestClient(app) as http:
        yield http


@pytest.fixture
def client(world: World, http: TestClient) -> Client:
    return Client("", key=world.key("offers:read", "release:write"), http=http)


def test_typed_offers_status_and_releases(client: Client, world: World) -> None:
    reply = client.rank_offers("2", k=4, context={"channel": "app"})
    assert [offer.product_id for offer in reply.offers] == best_first(2)[:4]
    assert len(client.rank_offers("2").offers) == 10
    assert client.status().ready
    world.step("aaaaaaaaaaaa", "live")
    world.step("bbbbbbbbbbbb", "candidate")
    done = client.release("shadow", reason="a first look", model_version="bbbbbbbbbbbb")
    assert done.events[0].state == "shadow"
    shown = client.releases()
    assert shown.shadow is not None
    assert shown.shadow.model_version == "bbbbbbbbbbbb"


def test_problems_are_raised_with_their_remedy(client: Client, http: TestClient) -> None:
    with pytest.raises(ServiceError, match=r"No good API key.*keys add") as raised:
        Client("", key="lg_0_0", http=http).rank_offers("1")
    assert raised.value.problem.status == 401
    with pytest.raises(ServiceError) as raised:
        client.release("promote", reason="too early")
    assert raised.value.problem.status == 409
    with pytest.raises(ValidationError):
        client.rank_offers("")


def flaky(answers: list[httpx.Response | Exception], asked: list[str]) -> httpx.Client:
    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return httpx.Client(base_url="http://test", transport=httpx.MockTransport(handler))


def test_busy_and_broken_connections_are_tried_again(client: Client) -> None:
    good = client.rank_offers("1").model_dump_json()
    asked: list[str] = []
    answers: list[httpx.Response | Exception] = [
        httpx.Response(503, headers={"Retry-After": "0"}, text="no problem form"),
        httpx.ConnectError("refused"),
        httpx.Response(429, headers={"Retry-After": "0"}),
        httpx.Response(200, text=good),
    ]
    with Client("", http=flaky(answers, asked)) as busy:
        assert busy.rank_offers("1").offers
    assert len(asked) == 4


def test_it_gives_up_and_never_takes_a_step_twice() -> None:
    asked: list[str] = []
    refused = [httpx.Response(503, headers={"Retry-After": "0"}) for _ in range(9)]
    with Client("", http=flaky([*refused], asked), attempts=3) as client:
        with pytest.raises(ServiceError, match="503"):
            client.rank_offers("1")
        assert len(asked) == 3
        with pytest.raises(ServiceError):
            client.release("rollback", reason="bad")
        assert len(asked) == 4
