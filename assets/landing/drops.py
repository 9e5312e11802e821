"""Weekly drops, one asset per table: laid down by the source's adapter, or by you."""

from __future__ import annotations

import dagster as dg

from assets.artifact_asset import Artifact, ArtifactContext, artifact_asset
from checks.contracts.raw import DATA_TEAM, RAW
from resources import landing
from resources.sources import complete_journey


def _drop_asset(table: str) -> dg.AssetsDefinition:
    @artifact_asset(
        f"landing.{table}",
        group="landing",
        kinds={"parquet", "file"},
        owner=DATA_TEAM,
        description=(
            f"Files of `{table}` as the retailer sent them, a folder per week "
            f"(`landing/{table}/<Monday>/`). The bundled year is laid down where it is missing; "
            "files of your own are taken as they lie there."
        ),
        partitioned=True,
        kind="drop",
    )
    def drops(context: ArtifactContext) -> Artifact:
        written = []
        if context.settings.source == "complete_journey":
            written = complete_journey.lay_down(
                context.settings.landing_dir,
                table=table,
                weeks=context.weeks,
                time_zone=context.settings.time_zone,
            )
        drops = [landing.drop(context.settings.landing_dir, table, w) for w in context.weeks]
        return Artifact(
            versions={d.week: d.version for d in drops},
            sizes={d.week: len(d.files) for d in drops},
            metadata={
                "files": sum(len(d.files) for d in drops),
                "bytes": sum(d.size for d in drops),
                "laid_down": len(written),
                "folder": dg.MetadataValue.path(str(context.settings.landing_dir / table)),
                "weeks_without_a_drop": [str(d.week) for d in drops if not d.files],
            },
        )

    return drops


DROPS = [_drop_asset(c.table.removeprefix("raw.")) for c in RAW]
