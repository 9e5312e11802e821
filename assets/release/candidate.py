"""The packaged champion enters the release ledger, and MLflow's aliases follow it."""

import json
from collections.abc import Mapping
from typing import Any

import dagster as dg

from assets.artifact_asset import Artifact, ArtifactContext, artifact_asset
from assets.lake_asset import Input
from assets.training.offer_ranker import NAME
from checks.contracts.ranking import RANKING_TEAM
from models.release.ledger import Releases
from resources import model_registry
from resources.drift_reference import keep_reference
from resources.model_registry import StoredModel
from resources.packaged_models import PackagedModel, packaged
from resources.release_aliases import follow_ledger
from resources.release_steps import ReleaseDesk
from resources.settings import Settings

ACTOR = "dagster:release.candidate"
# What of a gate is kept as evidence of why a model was released.
_GATE = ("name", "passed", "blocking", "value", "threshold", "reason")


@artifact_asset(
    "release.candidate",
    inputs={"bento": Input("serving.bento", load=False)},
    group="release",
    kinds={"sqlite", "mlflow"},
    owner=RANKING_TEAM,
    description=(
        "The packaged champion in the release ledger: live if it is the first of all, else a "
        "candidate that goes into the shadow. Customers meet it only through a canary."
    ),
)
def release_candidate(context: ArtifactContext) -> Artifact:
    settings = context.settings
    stored = model_registry.champion_model(settings, NAME)
    model = packaged(settings, model_version=stored.version)
    desk = ReleaseDesk.of(settings)
    entered = enter(desk, stored, model, evidence=_evidence(settings, stored))
    keep_reference(settings, stored)
    releases = desk.ledger.releases(desk.name)
    aliases = follow_ledger(settings, releases, name=NAME)
    state = releases.state_of(stored.version)
    return Artifact(
        versions={None: stored.version},
        sizes={None: len(entered)},
        metadata={
            "model_version": stored.version,
            "model_tag": model.tag,
            "state": state,
            "releases": releases.in_words(),
            "aliases": dg.MetadataValue.json(aliases),
        },
    )


def enter(
    desk: ReleaseDesk, stored: StoredModel, model: PackagedModel, *, evidence: Mapping[str, Any]
) -> list[str]:
    """Enter a model that the ledger has not met; one it knows stays where it is.

    Returns:
        The states it went through now.
    """
    releases: Releases = desk.ledger.releases(desk.name)
    if releases.state_of(stored.version) is not None:
        return []
    desk.ledger.append(
        name=desk.name,
        model_version=stored.version,
        model_tag=model.tag,
        to="candidate",
        actor=ACTOR,
        reason="passed its gates and was packaged",
        evidence=evidence,
    )
    if releases.live is None:
        desk.ledger.append(
            name=desk.name,
            model_version=stored.version,
            model_tag=model.tag,
            to="live",
            actor=ACTOR,
            reason="bootstrap: nobody was live before it",
            evidence=evidence,
        )
        return ["candidate", "live"]
    desk.shadow(
        actor=ACTOR,
        reason="a new candidate scores beside the live model before it answers anybody",
        model_version=stored.version,
        evidence=evidence,
    )
    return ["candidate", "shadow"]


def _evidence(settings: Settings, stored: StoredModel) -> dict[str, Any]:
    """Lineage of the model, and its gates as its report has them."""
    path = settings.reports / "ranking" / "metrics.json"
    report = json.loads(path.read_text(encoding="utf-8"))
    if report["lineage"]["model_version"] != stored.version:
        # The champion stands, and a later model's report has taken its place.
        return {"lineage": _lineage(stored.facts), "gates": [], "override": None}
    return {
        "lineage": _lineage(stored.facts),
        "gates": [{k: gate[k] for k in _GATE} for gate in report["gates"]],
        "override": report["override"],
    }


def _lineage(facts: Mapping[str, Any]) -> dict[str, Any]:
    kept = ("data_snapshot", "feature_set_hash", "git_revision", "seed", "maturity_cut")
    return {name: facts[name] for name in kept if name in facts}
