"""A closed-loop HTTP client that costs little: keep-alive connections, one request each at a time.

One thread and one selector, because the client shares the processor with what it measures.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import numpy as np

_CHUNK = 1 << 18
_RECONNECT_SECONDS = 0.02
_HEAD_END = b"\r\n\r\n"


@dataclass
class Result:
    """What a run saw.

    Attributes:
        latencies_ms: Of each answer, in order of arrival.
        statuses: Status to how many.
        seconds: Wall time.
        broken: Requests whose connection ended without an answer.
    """

    latencies_ms: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)
    seconds: float = 0.0
    broken: int = 0

    @property
    def per_second(self) -> float:
        return len(self.latencies_ms) / self.seconds

    def quantile(self, share: float) -> float:
        return float(np.quantile(self.latencies_ms, share))

    @property
    def server_errors(self) -> int:
        return sum(n for status, n in self.statuses.items() if status >= 500)  # noqa: PLR2004

    @property
    def failed(self) -> int:
        """Answers that are no 200, and requests without one."""
        return self.broken + sum(n for status, n in self.statuses.items() if status != 200)  # noqa: PLR2004

    def add(self, other: Result) -> None:
        self.latencies_ms += other.latencies_ms
        self.seconds += other.seconds
        self.broken += other.broken
        for status, n in other.statuses.items():
            self.statuses[status] = self.statuses.get(status, 0) + n


def request(path: str, body: bytes, *, key: str | None = None) -> bytes:
    """The bytes of a POST."""
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: localhost",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    ]
    if key is not None:
        lines.append(f"Authorization: Bearer {key}")
    return "\r\n".join(lines).encode() + _HEAD_END + body


class _Connection:
    """One request on its way."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.address = address
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = b""
        self.started = 0.0

    def send(self, data: bytes) -> None:
        self.received = b""
        self.started = time.perf_counter()
        self.socket.sendall(data)

    def read(self) -> tuple[int, bytes] | None:
        """Status and body once the answer is whole.

        Raises:
            ConnectionError: The server closed the connection.
        """
        chunk = self.socket.recv(_CHUNK)
        if not chunk:
            raise ConnectionResetError("closed by the server")
        self.received += chunk
        end = self.received.find(_HEAD_END)
        if end < 0:
            return None
        head = self.received[:end].lower()
        at = head.find(b"content-length:")
        stop = head.find(b"\r\n", at)
        length = int(head[at + 15 : stop if stop >= 0 else len(head)])
        body = self.received[end + 4 :]
        return (int(head[9:12]), body) if len(body) >= length else None


def run(  # noqa: C901 - one loop, and the three things that can happen in it
    url: str,
    requests: Sequence[bytes],
    *,
    count: int | None = None,
    concurrency: int = 1,
    seen: Callable[[int, int, bytes], None] | None = None,
    until: Callable[[], bool] | None = None,
) -> Result:
    """Ask in a closed loop.

    Args:
        url: Of the server.
        requests: Whole requests, in turn, over and over.
        count: How many to send; default until ``until``.
        concurrency: Connections.
        seen: Called with each answer: place in ``requests``, status, body.
        until: Whether to send no more.
    """
    parts = urlsplit(url)
    address = (parts.hostname or "127.0.0.1", parts.port or 80)
    result = Result()
    places = _places(len(requests), count, until)
    began = time.perf_counter()
    with selectors.DefaultSelector() as selector:

        def ask(connection: _Connection) -> None:
            place = next(places, None)
            if place is None:
                selector.unregister(connection.socket)
                connection.socket.close()
                return
            try:
                connection.send(requests[place])
            except ConnectionError:
                replace(connection)
                return
            selector.modify(connection.socket, selectors.EVENT_READ, (connection, place))

        def replace(connection: _Connection) -> None:
            result.broken += 1
            selector.unregister(connection.socket)
            connection.socket.close()
            fresh = _connect(address)
            selector.register(fresh.socket, selectors.EVENT_READ, (fresh, -1))
            ask(fresh)

        for _ in range(concurrency):
            connection = _connect(address)
            selector.register(connection.socket, selectors.EVENT_READ, (connection, -1))
            ask(connection)
        while selector.get_map():
            for event, _ in selector.select():
                connection, place = event.data
                try:
                    answer = connection.read()
                except ConnectionError:
                    replace(connection)
                    continue
                if answer is None:
                    continue
                result.latencies_ms.append((time.perf_counter() - connection.started) * 1e3)
                status, body = answer
                result.statuses[status] = result.statuses.get(status, 0) + 1
                if seen is not None:
                    seen(place, status, body)
                ask(connection)
    result.seconds = time.perf_counter() - began
    return result


def _connect(address: tuple[str, int]) -> _Connection:
    """Try until somebody listens: a killed worker is replaced in seconds."""
    deadline = time.monotonic() + 60.0
    while True:
        try:
            return _Connection(address)
        except ConnectionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_RECONNECT_SECONDS)


def _places(length: int, count: int | None, until: Callable[[], bool] | None) -> Iterator[int]:
    sent = 0
    while (count is None or sent < count) and not (until is not None and until()):
        yield sent % length
        sent += 1
