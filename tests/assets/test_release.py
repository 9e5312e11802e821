"""How models enter the ledger, and that a retraining that fails leaves it as it was."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from assets.release.candidate import enter, release_candidate
from assets.release.jobs import RELEASE_JOBS
from assets.release.retraining import STEPS, retrain_job
from resources.model_registry import StoredModel
from resources.packaged_models import PackagedModel, packaged
from resources.release_steps import RANKER, ReleaseDesk
from tests.conftest import Home, failure_of

SILENT = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def entered(desk: ReleaseDesk, version: str) -> list[str]:
    stored = StoredModel(version=version, folder=Path(version), facts={})
    model = PackagedModel(tag=f"liftgraph_ranker:{version}", labels={"model_version": version})
    return enter(desk, stored, model, evidence={"lineage": {"data_snapshot": "7"}})


def test_the_first_is_live_and_the_next_go_into_the_shadow(home: Home) -> None:
    desk = ReleaseDesk.of(home.settings)
    assert entered(desk, "a") == ["candidate", "live"]
    assert entered(desk, "a") == []
    assert entered(desk, "b") == ["candidate", "shadow"]
    assert entered(desk, "c") == ["candidate", "shadow"]
    releases = desk.ledger.releases(RANKER)
    assert releases.states == {"a": "live", "b": "retired", "c": "shadow"}
    # Who was rolled back stays out, however often it is packaged again.
    desk.rollback(actor="ann", reason="bad", model_version="c")
    assert entered(desk, "c") == []
    assert desk.ledger.events(RANKER)[-1].state == "rolled_back"


@pytest.mark.parametrize("failing", ["models.offer_ranker", "evaluation.ranking", "serving.bento"])
def test_a_fault_while_retraining_leaves_the_champion_serving(home: Home, failing: str) -> None:
    """Training itself fails, a gate blocks, or packaging fails."""
    desk = ReleaseDesk.of(home.settings)
    entered(desk, "a")
    before = desk.ledger.events()
    ran: list[str] = []

    def step(name: str, after: str | None) -> dg.AssetsDefinition:
        gated = name == "evaluation.ranking"
        key = dg.AssetKey(name.split("."))

        @dg.asset(
            key=key,
            deps=[dg.AssetKey(after.split("."))] if after else [],
            check_specs=[dg.AssetCheckSpec("gate", asset=key, blocking=True)] if gated else [],
        )
        def made():
            ran.append(name)
            if name == failing and not gated:
                raise ValueError("no memory left")
            if gated:
                yield dg.AssetCheckResult(check_name="gate", passed=name != failing)
            yield dg.MaterializeResult()

        return made

    steps = [step(s, a) for s, a in zip(STEPS[:-1], (None, *STEPS[:-2]), strict=True)]
    definitions = dg.Definitions(
        assets=[*steps, release_candidate],
        jobs=[retrain_job],
        resources=home.resources(),
        executor=dg.in_process_executor,
    )
    done = definitions.resolve_job_def("retrain").execute_in_process(
        run_config=SILENT, raise_on_error=False
    )
    assert not done.success
    assert ran == list(STEPS[: STEPS.index(failing) + 1])
    assert desk.ledger.events() == before
    assert desk.ledger.releases(RANKER).live.model_version == "a"


def test_jobs_take_the_steps_and_say_why_they_cannot(home: Home) -> None:
    entered(ReleaseDesk.of(home.settings), "a")
    assert [job.name for job in RELEASE_JOBS] == ["shadow", "canary", "promote", "rollback"]
    job = RELEASE_JOBS[3]
    done = job.execute_in_process(
        resources=home.resources(),
        run_config=SILENT | {"ops": {"take_rollback_step": {"config": {"reason": "it looks odd"}}}},
        raise_on_error=False,
    )
    assert not done.success
    assert "there is no canary and no shadow to end" in failure_of(done)


def test_a_packaged_model_is_found_by_its_version(home: Home) -> None:
    store = home.settings.bentoml_home / "models" / "liftgraph_ranker"
    for name, version in (("one", "a"), ("two", "a"), ("three", "b")):
        (store / name).mkdir(parents=True)
        (store / name / "model.yaml").write_text(
            f"name: liftgraph_ranker\nversion: {name}\nlabels:\n  model_version: {version}\n"
        )
    (store / "latest").write_text("one")
    assert packaged(home.settings, model_version="a").tag == "liftgraph_ranker:one"
    assert packaged(home.settings, model_version="b").tag == "liftgraph_ranker:three"
    with pytest.raises(FileNotFoundError, match="c is not packaged"):
        packaged(home.settings, model_version="c")
