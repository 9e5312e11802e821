"""Running the service: as a child for tests and the demo, or in the foreground.

``python -m bentos.server`` serves the newest bento until interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from bentos.packaging import BENTO_NAME
from bentos.settings import ServingSettings
from resources import telemetry
from resources.settings import PROJECT

LATEST = f"{BENTO_NAME}:latest"
HOST = "127.0.0.1"
# A cold start imports xgboost and polars: about 4 s here, more on a busy machine.
READY_TIMEOUT_SECONDS = 120.0
STOP_TIMEOUT_SECONDS = 15.0
POLL_SECONDS = 0.1
PROBE_TIMEOUT_SECONDS = 2.0
LOG_TAIL_LINES = 30
_CHILD = Path(__file__).with_name("child.py")


class ServerError(RuntimeError):
    """The server did not become ready; the message holds its own words."""


@dataclass(frozen=True)
class RunningServer:
    """A server in a child process.

    Attributes:
        url: Base address, without a slash at the end.
        process: The child; its process group is its own.
        log: Where its output goes.
    """

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def stop(self, timeout_seconds: float = STOP_TIMEOUT_SECONDS) -> int:
        """End it gracefully, by force after the timeout; returns the exit code."""
        if self.process.poll() is None:
            # BentoML's supervisor passes the signal on; its workers finish their requests.
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=timeout_seconds)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        return self.process.wait()


@contextlib.contextmanager
def serve(
    bento: str = LATEST,
    *,
    home: Path,
    port: int | None = None,
    bentoml_home: Path | None = None,
    timeout_seconds: float = READY_TIMEOUT_SECONDS,
    environment: Mapping[str, str] | None = None,
) -> Iterator[str]:
    """Serve while the block runs.

    The child ends with this process, or with the thread that entered the block.

    Args:
        bento: Tag of a bento, or ``bentos.service:LiftGraph`` to run from source.
        home: liftgraph's home: snapshots, key, decision log.
        port: Where to listen; default any free port.
        bentoml_home: BentoML's stores; default ``<home>/bentoml``.
        timeout_seconds: How long it may take until it is ready.
        environment: Added to this process's environment.

    Yields:
        The base URL.

    Raises:
        ServerError: Not ready in time, or ended before; with the reason and the log's tail.
    """
    server = start(
        bento,
        home=home,
        port=port,
        bentoml_home=bentoml_home,
        environment=environment,
    )
    try:
        wait_until_ready(server, timeout_seconds=timeout_seconds)
        yield server.url
    finally:
        server.stop()


def start(
    bento: str = LATEST,
    *,
    home: Path,
    port: int | None = None,
    bentoml_home: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> RunningServer:
    """Start the server without waiting; the caller stops it. Arguments as for ``serve``."""
    home = home.absolute()
    chosen = port or _free_port()
    log = home / "logs" / f"serve-{chosen}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(_CHILD), str(os.getpid()), *_command(bento, HOST, chosen)]
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our own program, no shell
            command,
            # A bento carries its own code; run elsewhere, it cannot borrow from the project.
            cwd=PROJECT if ":" in bento and "." in bento.split(":", maxsplit=1)[0] else home,
            env={
                **os.environ,
                **_environment(home, bentoml_home or home / "bentoml"),
                **(environment or {}),
            },
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return RunningServer(url=f"http://{HOST}:{chosen}", process=process, log=log)


def wait_until_ready(
    server: RunningServer, *, timeout_seconds: float = READY_TIMEOUT_SECONDS
) -> None:
    """Return when ``/readyz`` answers 200.

    Raises:
        ServerError: It ended, or was not ready in time.
    """
    deadline = time.monotonic() + timeout_seconds
    answer = "nothing answered"
    while time.monotonic() < deadline:
        code = server.process.poll()
        if code is not None:
            raise ServerError(f"the server ended with exit code {code}; {_tail(server.log)}")
        ready, answer = _probe(f"{server.url}/readyz")
        if ready:
            return
        time.sleep(POLL_SECONDS)
    raise ServerError(
        f"the server was not ready within {timeout_seconds:g} s: {answer}; {_tail(server.log)}"
    )


def _probe(url: str) -> tuple[bool, str]:
    try:
        with urllib.request.urlopen(url, timeout=PROBE_TIMEOUT_SECONDS) as reply:  # noqa: S310
            return reply.status == HTTPStatus.OK, f"/readyz answered {reply.status}"
    except urllib.error.HTTPError as error:
        return False, f"/readyz answered {error.code}: {error.read().decode(errors='replace')}"
    except OSError as error:
        return False, f"/readyz did not answer ({error})"


def _command(bento: str, host: str, port: int) -> list[str]:
    bentoml = [sys.executable, "-m", "bentoml", "serve", bento]
    return [*bentoml, "--host", host, "--port", str(port)]


def _environment(home: Path, bentoml_home: Path) -> dict[str, str]:
    return {
        **telemetry.OFF,
        "LIFTGRAPH_HOME": str(home),
        "BENTOML_HOME": str(bentoml_home.absolute()),
        # A request has too few rows to share among threads, and idle ones still cost wake-ups.
        "OMP_NUM_THREADS": "1",
        "POLARS_MAX_THREADS": "1",
        "PYTHONUNBUFFERED": "1",
    }


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        return int(listener.getsockname()[1])


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
    return f"the end of {log}:\n" + "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="bentos.server", description=__doc__)
    parser.add_argument("bento", nargs="?", default=LATEST, help=f"default {LATEST}")
    parser.add_argument("--port", type=int, help="default LIFTGRAPH_SERVE_PORT or 3000")
    parser.add_argument("--host", help="default LIFTGRAPH_SERVE_HOST or 127.0.0.1")
    given = parser.parse_args(arguments)
    settings = ServingSettings()
    port, host = given.port or settings.serve_port, given.host or settings.serve_host
    home = settings.home.absolute()
    store = settings.bentoml_home / "bentos" / BENTO_NAME / "latest"
    if given.bento == LATEST and not store.exists():
        sys.exit(f"there is no bento to serve ({store} does not exist): run `make demo` first")
    os.environ.update(_environment(home, settings.bentoml_home))
    print(f"liftgraph on http://{host}:{port} (Ctrl+C stops it); {given.bento}", flush=True)
    if settings.serve_auth == "on" and not settings.api_keys_file.exists():
        print("no API key yet: `python -m liftgraph keys add NAME --scope offers:read`", flush=True)
    os.chdir(home)
    command = _command(given.bento, host, port)
    os.execv(command[0], command)  # noqa: S606 - becomes the server, so that signals reach it


if __name__ == "__main__":
    main()
