"""The closed-loop client, against a real server: every request once, and what breaks is counted."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from benchmarks.serving_client import request, run


class Echo(BaseHTTPRequestHandler):
    """Answers with the body, in two pieces; hangs up on ``hang up``, fails on ``fail``."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if body == b"hang up":
            self.close_connection = True
            return
        self.send_response(500 if body == b"fail" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:2])
        self.wfile.flush()
        self.wfile.write(body[2:])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("concurrency", [1, 4])
def test_every_request_is_answered_once(url: str, concurrency: int) -> None:
    bodies = [str(i).encode() * 3 for i in range(10)]
    seen: Counter[tuple[int, bytes]] = Counter()
    result = run(
        url,
        [request("/", body) for body in bodies],
        count=25,
        concurrency=concurrency,
        seen=lambda place, status, body: seen.update([(place, body)]),
    )
    assert sum(seen.values()) == len(result.latencies_ms) == 25
    assert all(body == bodies[place] for place, body in seen)
    assert {place: n for (place, _), n in seen.items()} == {i: 3 - (i >= 5) for i in range(10)}
    assert (result.failed, result.statuses) == (0, {200: 25})
    assert result.per_second > 0
    assert result.quantile(0.0) <= result.quantile(0.99)


def test_failures_and_broken_connections_are_counted(url: str) -> None:
    asked = [request("/", body) for body in (b"good", b"fail", b"hang up", b"good")]
    result = run(url, asked, count=8, concurrency=1)
    assert result.statuses == {200: 4, 500: 2}
    assert (result.broken, result.server_errors, result.failed) == (2, 2, 4)
