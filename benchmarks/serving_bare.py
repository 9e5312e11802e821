"""What the service is measured against: FastAPI and nothing else, MLflow's server, a bare call.

As a program it is the FastAPI app: ``python -m benchmarks.serving_bare MODEL MATRICES.npy PORT``.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel

from bentos.server import ServerError
from resources import telemetry
from resources.settings import PROJECT

_READY_SECONDS = 180.0
_K = 10


class Asked(BaseModel):
    """A request to the bare app."""

    household_id: str
    k: int = _K


def fastapi_app(model: Path, matrices: Path) -> Any:
    """Body in, scores of the household's matrix, the ten best out: no more."""
    import orjson
    import xgboost as xgb
    from fastapi import FastAPI
    from starlette.responses import Response

    booster = xgb.Booster({"nthread": 1}, model_file=model)
    booster.set_param({"nthread": 1})
    features = np.load(matrices, mmap_mode="r")
    app = FastAPI()

    @app.post("/rank_offers")
    async def rank_offers(body: Asked) -> Response:
        rows = features[int(body.household_id, 16)]
        scores = booster.inplace_predict(rows, validate_features=False)
        order = np.argsort(-scores, kind="stable")[: body.k]
        offers = [
            {"rank": rank, "product": i, "score": score}
            for rank, (i, score) in enumerate(
                zip(order.tolist(), scores[order].tolist(), strict=True), start=1
            )
        ]
        return Response(orjson.dumps({"offers": offers}), media_type="application/json")

    return app


@contextmanager
def fastapi(model: Path, matrices: Sequence[np.ndarray]) -> Iterator[str]:
    """Serve the bare app with uvicorn, uvloop and httptools, one worker."""
    with tempfile.TemporaryDirectory(prefix="liftgraph-bare-") as folder:
        file = Path(folder) / "matrices.npy"
        np.save(file, np.stack(matrices))
        port = _free_port()
        command = [sys.executable, "-m", "benchmarks.serving_bare", str(model), str(file)]
        with _child([*command, str(port)], port=port, log=Path(folder) / "log") as url:
            yield url


@contextmanager
def mlflow(model: Path, *, workers: int) -> Iterator[str]:
    """Serve the same booster by ``mlflow models serve``."""
    import mlflow.xgboost
    import xgboost as xgb

    with tempfile.TemporaryDirectory(prefix="liftgraph-mlflow-") as folder:
        stored = Path(folder) / "model"
        mlflow.xgboost.save_model(xgb.Booster(model_file=model), path=stored, model_format="ubj")
        port = _free_port()
        command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(stored)]
        command += ["--env-manager", "local", "--port", str(port), "--host", "127.0.0.1"]
        command += ["--workers", str(workers)]
        with _child(command, port=port, log=Path(folder) / "log") as url:
            yield url


def calls_per_second(
    model: Path, matrices: Sequence[np.ndarray], *, count: int, callers: int
) -> float:
    """Bare ``inplace_predict``, as so many threads call it."""
    import xgboost as xgb

    booster = xgb.Booster({"nthread": 1}, model_file=model)
    booster.set_param({"nthread": 1})

    def call(n: int) -> None:
        for i in range(n):
            booster.inplace_predict(matrices[i % len(matrices)], validate_features=False)

    call(len(matrices))
    started = time.perf_counter()
    with ThreadPoolExecutor(callers) as pool:
        list(pool.map(call, [count // callers] * callers))
    return count / (time.perf_counter() - started)


@contextmanager
def _child(command: list[str], *, port: int, log: Path) -> Iterator[str]:
    environment = {
        **os.environ,
        **telemetry.OFF,
        "OMP_NUM_THREADS": "1",
        # MLflow starts uvicorn by name.
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    with log.open("wb") as output:
        child = subprocess.Popen(
            command,
            cwd=PROJECT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait(child, port, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        for deadly in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, deadly)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(timeout=10)


def _wait(child: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline and child.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise ServerError(f"it did not listen: {log.read_text(errors='replace')[-2000:]}")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def main(model: str, matrices: str, port: str) -> None:
    import uvicorn

    uvicorn.run(
        fastapi_app(Path(model), Path(matrices)),
        port=int(port),
        access_log=False,
        log_level="warning",
        loop="uvloop",
        http="httptools",
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
