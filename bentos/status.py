"""What is running, and what is wrong: the state of an engine as people and machines read it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bentos import metrics
from bentos.arms import Answerer, Serving
from bentos.clock import age_days, utc_now
from bentos.status_schemas import (
    ArmStatus,
    CostStatus,
    GuardStatus,
    ModelStatus,
    SnapshotStatus,
    Status,
)
from models.serving.snapshot import Snapshot

if TYPE_CHECKING:
    from bentos.engine import Engine

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]

_ALL = 100.0
_THOUSAND = 1_000.0


def engine_status(engine: Engine) -> Status:
    """The status of this process, with the figures of all workers where there are several."""
    serving = engine.serving
    samples = metrics.totals()
    decisions = _sum(samples, "liftgraph_decisions_total")
    last = engine.watch.last
    return Status(
        ready=engine.blocking_problem is None,
        problems=_problems(engine),
        bento=engine.bento,
        arm="live",
        release=serving.release if serving else 0,
        model=_model(serving.live if serving else None),
        arms=_arms(serving, samples) if serving else [],
        shadow=engine.shadow.status(),
        guard=GuardStatus(
            trips=int(_sum(samples, "liftgraph_guard_trips_total")),
            last_reason=last.breach.reason if last else None,
            last_model=last.version if last else None,
            last_at=last.at if last else None,
        ),
        cost=CostStatus(
            cpu_seconds_per_1000=_per_thousand(samples, "liftgraph_cpu_seconds", decisions),
            log_bytes_per_1000=_per_thousand(samples, "liftgraph_log_bytes", decisions),
        ),
        snapshot=_snapshot(engine, serving.snapshot) if serving else None,
        auth=engine.settings.serve_auth,
        decisions=engine.decisions,
        fallbacks=dict(engine.fallbacks),
        started_at=engine.started_at,
    )


def report_gauges(engine: Engine) -> None:
    """Tell Prometheus how this process is."""
    serving, now = engine.serving, utc_now()
    engine.metrics.gauges(
        ready=engine.blocking_problem is None,
        release=serving.release if serving else 0,
        canary_percent=serving.percent if serving else 0.0,
        snapshot_age_days=age_days(serving.snapshot.manifest.known_at, now) if serving else 0.0,
        stale=serving is not None and engine.is_stale(serving.snapshot, now),
        problems=len(engine.problems),
        log_failing=engine.log.problem is not None,
    )
    engine.metrics.cost(log_bytes=engine.log.bytes)


def _problems(engine: Engine) -> list[str]:
    problems = list(engine.problems.values())
    if engine.log.problem is not None:
        problems.append(engine.log.problem)
    if engine.fresh is not None and engine.fresh.problem is not None:
        problems.append(engine.fresh.problem)
    serving = engine.serving
    if serving is not None and serving.live is None and "model" not in engine.problems:
        problems.append(
            "no model is packaged: answers are popular products; run `make demo`, or "
            "materialise the serving assets"
        )
    return problems


def _arms(serving: Serving, samples: Samples) -> list[ArmStatus]:
    canary = serving.percent if serving.canary else 0.0
    baseline = min(canary, _ALL - canary)
    rows: list[tuple[str, Answerer | None, float | None]] = [
        ("live", serving.live, _ALL - canary - baseline)
    ]
    if serving.canary is not None:
        rows += [("baseline", serving.live, baseline), ("canary", serving.canary, canary)]
    rows += [("shadow", serving.shadow, None), ("previous", serving.previous, None)]
    return [
        _arm(arm, answerer, percent, samples)
        for arm, answerer, percent in rows
        if answerer is not None or arm == "live"
    ]


def _arm(arm: str, answerer: Answerer | None, percent: float | None, samples: Samples) -> ArmStatus:
    return ArmStatus(
        arm=arm,
        model_version=answerer.model.version if answerer else None,
        model_tag=answerer.model.tag if answerer else None,
        percent=percent,
        decisions=int(_sum(samples, "liftgraph_decisions_total", arm=arm)),
        errors=int(_sum(samples, "liftgraph_decisions_total", arm=arm, error="yes")),
        p50_ms=_quantile_ms(samples, arm, 0.5),
        p99_ms=_quantile_ms(samples, arm, 0.99),
    )


def _model(answerer: Answerer | None) -> ModelStatus | None:
    if answerer is None:
        return None
    model = answerer.model
    return ModelStatus(version=model.version, tag=model.tag, labels=model.labels)


def _snapshot(engine: Engine, snapshot: Snapshot) -> SnapshotStatus:
    manifest, now = snapshot.manifest, utc_now()
    return SnapshotStatus(
        version=manifest.version,
        as_of=manifest.as_of,
        known_at=manifest.known_at,
        data_age_days=age_days(manifest.known_at, now),
        data_snapshot=manifest.data_snapshot,
        feature_set_hash=manifest.feature_set_hash,
        features=len(manifest.feature_names),
        households=manifest.households,
        candidates=manifest.rows,
        stale=engine.is_stale(snapshot, now),
    )


def _sum(samples: Samples, name: str, **labels: str) -> float:
    wanted = set(labels.items())
    return sum(
        value
        for (sample, labelled), value in samples.items()
        if sample == name and wanted <= set(labelled)
    )


def _per_thousand(samples: Samples, name: str, decisions: float) -> float | None:
    return round(_sum(samples, name) / decisions * _THOUSAND, 3) if decisions else None


def _quantile_ms(samples: Samples, arm: str, share: float) -> float | None:
    """The bound under which at least ``share`` of the arm's decisions lie."""
    counts = sorted(
        (float(dict(labels)["le"]), value)
        for (name, labels), value in samples.items()
        if name == "liftgraph_decision_seconds_bucket" and ("arm", arm) in labels
    )
    if not counts or counts[-1][1] == 0:
        return None
    enough = share * counts[-1][1]
    bound = next(le for le, count in counts if count >= enough)
    return round(bound * 1e3, 3) if bound != float("inf") else None
