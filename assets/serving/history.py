"""Serving: what the service recomputes a household from when an event arrives."""

from pathlib import Path

import dagster as dg
import polars as pl

from assets.artifact_asset import Artifact, ArtifactContext, artifact_asset
from assets.lake_asset import FixedWeeks, Input
from assets.training.offer_ranker import ranker_feature_hash
from assets.training.weeks import COMING, PROTOCOL
from checks.contracts.ranking import RANKING_TEAM
from models.calendar import ONE_WEEK, start_of_week
from models.ranking.candidates import WINDOW
from models.ranking.proposals import Known
from models.ranking.week_facts import week_facts
from resources.online_history import write_history
from resources.online_snapshot import SnapshotError, current_manifest

# As the candidates of the coming week see them.
_YEAR = FixedWeeks(PROTOCOL.coming - WINDOW, PROTOCOL.coming - ONE_WEEK)


@artifact_asset(
    "serving.online_history",
    inputs={
        "household": Input("features.household", weeks=COMING),
        "household_product": Input("features.household_product", weeks=COMING),
        "household_store": Input("features.household_store", weeks=COMING),
        "household_type": Input("features.household_type", weeks=COMING),
        "product": Input("features.product", weeks=COMING),
        "store_product": Input("features.store_product", weeks=COMING),
        "lines": Input("marts.fct_basket_line", weeks=_YEAR),
        "products": Input("marts.dim_product"),
        "plan": Input("marts.fct_promotion", weeks=COMING),
        "campaigns": Input("marts.dim_campaign"),
        "targets": Input("marts.fct_campaign_target"),
        "coupons": Input("marts.fct_coupon_product"),
    },
    group="serving",
    kinds={"polars", "numpy"},
    owner=RANKING_TEAM,
    description=(
        "Every household's year of basket lines and the coming week's facts, memory-mapped by the "
        "service, which recomputes a household's candidates and features from them when an event "
        "arrives. Written before the snapshot that it belongs to."
    ),
)
def online_history(context: ArtifactContext, **known: pl.LazyFrame) -> Artifact:
    settings = context.settings
    instant = start_of_week(PROTOCOL.coming, time_zone=settings.time_zone)
    newest = known["lines"].filter(pl.col("known_at") <= instant).select(pl.col("known_at").max())
    manifest = write_history(
        settings.online_history_dir,
        week_facts(
            Known(**known), as_of=PROTOCOL.coming, instant=instant, time_zone=settings.time_zone
        ),
        known_at=newest.collect().item() or instant,
        data_snapshot=str(context.lake.snapshot_id()),
        feature_set_hash=ranker_feature_hash(),
        named=_named_by_the_snapshot(settings.online_dir),
    )
    return Artifact(
        versions={None: manifest.version},
        sizes={None: manifest.lines},
        metadata={
            "version": manifest.version,
            "as_of": str(manifest.as_of),
            "households": manifest.households,
            "lines": manifest.lines,
            "folder": dg.MetadataValue.path(str(settings.online_history_dir)),
        },
    )


def _named_by_the_snapshot(root: Path) -> list[str]:
    """The history of the snapshot in use, which services may have to open again."""
    try:
        return [current_manifest(root).history]
    except SnapshotError:
        # There is none yet, or one that the service refuses as well.
        return []
