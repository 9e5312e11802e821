"""The BentoML service: one class, one mounted app, and what a worker process needs to be quick."""

from __future__ import annotations

import functools
import gc
from typing import Any

import bentoml
from starlette.exceptions import HTTPException

from bentos.app import build_app, use_engine
from bentos.child import end_with_parent
from bentos.draining import drain_on_sigterm
from bentos.engine import Engine
from bentos.fresh_features import FreshFeatures
from bentos.metrics import prepare_folder
from bentos.ranker_model import MODEL_NAME, load_ranker
from bentos.settings import ServingSettings

# BentoML arms a timer for each request and forgets it for this long: short keeps them few. The
# service's own limit (LIFTGRAPH_REQUEST_SECONDS) is below it.
TIMEOUT_SECONDS = 15

app = build_app()


@bentoml.asgi_app(app, path="/")
@bentoml.service(
    name="liftgraph",
    workers=ServingSettings().serve_workers,
    traffic={"timeout": TIMEOUT_SECONDS},
    # They label by raw path: whoever asks for unknown paths makes a series each.
    metrics={"enabled": False},
    # The access log and a span per request halve the throughput; the decision log says more.
    logging={"access": {"enabled": False}},
    tracing={"sample_rate": 0.0, "excluded_urls": [".*"]},
)
class LiftGraph:
    """Ranks offers for households."""

    def __init__(self) -> None:
        settings = ServingSettings()
        if bentoml.server_context.worker_index is not None:
            end_with_parent()
            prepare_folder(settings.home / "metrics")
        bento = getattr(LiftGraph, "bento", None)
        self._engine = Engine(
            settings,
            load_model=functools.partial(load_ranker, settings.model_tag or _model_tag(bento)),
            bento=str(bento.tag) if bento is not None else None,
            fresh=FreshFeatures(settings),
        )
        use_engine(app, self._engine)
        if bentoml.server_context.worker_index is not None:
            drain_on_sigterm(self._engine, settings.drain_seconds)
        _settle_garbage_collector()

    def __is_ready__(self) -> bool:
        problem = self._engine.blocking_problem
        if self._engine.stopping:
            problem = "the service is stopping; another one answers, or will"
        if problem is not None:
            # Raised, so that whoever waits for readiness reads why.
            raise HTTPException(status_code=503, detail=problem)
        return True


def _model_tag(bento: Any) -> str:
    """The model the bento was built with; from source, the newest packaged."""
    if bento is not None:
        for model in bento.info.all_models:
            if model.tag.name == MODEL_NAME:
                return str(model.tag)
    return f"{MODEL_NAME}:latest"


def _settle_garbage_collector() -> None:
    """Keep what start-up allocated out of every later collection: they stalled requests 100 ms+."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 1_000)
