"""Ending without a failed request: callers are told first, then the server stops.

A server that closes kept connections at once resets whoever is just sending on one. So after
SIGTERM every answer says ``Connection: close`` for a moment, and ``/readyz`` 503, before uvicorn's
own handler stops listening and finishes what runs.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bentos.engine import Engine


def drain_on_sigterm(engine: Engine, seconds: float) -> None:
    """Put the moment before what SIGTERM does now; only where signals arrive, the main thread.

    Args:
        engine: Is ``stopping`` from the signal on.
        seconds: Long enough for every busy connection to ask once more.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    before = signal.getsignal(signal.SIGTERM)
    if not callable(before):
        return
    loop = asyncio.get_running_loop()

    def stop(number: int, frame: FrameType | None) -> None:
        if engine.stopping:
            return
        engine.stopping = True
        loop.call_soon_threadsafe(loop.call_later, seconds, before, number, frame)

    signal.signal(signal.SIGTERM, stop)
