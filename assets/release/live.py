"""The live model, as the ledger says: what batch scores must come from."""

import dagster as dg

from assets.artifact_asset import Artifact, ArtifactContext, artifact_asset
from assets.lake_asset import Input
from checks.contracts.ranking import RANKING_TEAM
from resources.live_model import live_model
from resources.release_steps import RANKER

LIVE = "release.live"


@artifact_asset(
    LIVE,
    inputs={"candidate": Input("release.candidate", load=False, standing=True)},
    group="release",
    kinds={"sqlite"},
    owner=RANKING_TEAM,
    description=(
        "The model that answers customers. It changes by a promotion or a rollback, outside of the "
        "graph, so it is compared with the ledger like a drop with its files."
    ),
    kind="drop",
)
def release_live(context: ArtifactContext) -> Artifact:
    stored = live_model(context.settings, RANKER)
    return Artifact(
        versions={None: stored.version},
        metadata={
            "model_version": stored.version,
            "path": dg.MetadataValue.path(str(stored.path)),
        },
    )
