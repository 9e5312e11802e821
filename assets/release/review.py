"""The release health review: each release on its day and a week later, as a report."""

import hashlib
import json
from datetime import UTC, datetime, timedelta

import dagster as dg
import polars as pl

from assets.artifact_asset import Artifact, ArtifactContext, artifact_asset
from assets.lake_asset import Input
from assets.release.retraining import due
from checks.contracts.ranking import RANKING_TEAM
from models.release.health import BEFORE, COLUMNS, REVIEWS, Incident, reviews
from models.release.ledger import Event
from models.release.report import document, render_html
from resources.incidents import list_incidents
from resources.logged_decisions import logged_decisions
from resources.release_reviews import keep_review, kept_reviews
from resources.release_steps import ReleaseDesk
from resources.report_files import write_report
from resources.settings import Settings

# What the longest review reads.
_SPAN = max(REVIEWS.values()) + BEFORE + timedelta(days=1)


@artifact_asset(
    "release.health_review",
    inputs={"candidate": Input("release.candidate", load=False, standing=True)},
    group="release",
    kinds={"jinja"},
    owner=RANKING_TEAM,
    description=(
        "Each release on the day it went live and a week later: Unhealthy, Guardrails failing, No "
        "data, Ready or Released, and why; `reports/release/` for people and machines."
    ),
)
def health_review(context: ArtifactContext) -> Artifact:
    settings, now = context.settings, datetime.now(UTC).replace(tzinfo=None)
    desk = ReleaseDesk.of(settings)
    events = desk.ledger.events(desk.name)
    logged = logged_decisions(desk.decisions, columns=COLUMNS, since=now - _SPAN)
    found_now = reviews(
        events, logged.filter(pl.col("kind") == "decision"), _incidents(settings, events), now=now
    )
    folder = settings.home / "release_reviews"
    for review in found_now:
        if review.complete:
            keep_review(folder, review.as_dict())
    kept = {(r["released_at"], r["review"]): r for r in kept_reviews(folder)}
    current = [r.as_dict() for r in found_now]
    found = document(
        events,
        desk.ledger.releases(desk.name),
        reviews=[kept.get((r["released_at"], r["review"]), r) for r in current],
        verdict=desk.verdict_so_far(events),
        retraining={k: getattr(due(settings), k) for k in ("retrain", "trigger", "reason")},
        now=now,
    )
    text = json.dumps(found, indent=1)
    page = write_report(settings.reports / "release", page=render_html(found), figures=text)
    newest = found["reviews"][0]["released_at"] if found["reviews"] else ""
    shown = {
        r["review"]: f"{r['health']}: {r['reason']}"
        for r in found["reviews"]
        if r["released_at"] == newest
    }
    return Artifact(
        versions={None: hashlib.sha256(text.encode()).hexdigest()[:12]},
        sizes={None: len(found["reviews"])},
        metadata={"report": dg.MetadataValue.path(str(page))} | shown,
    )


def _incidents(settings: Settings, events: list[Event]) -> list[Incident]:
    versions = {e.model_tag: e.model_version for e in events}
    return [
        Incident(
            at=datetime.fromisoformat(i["opened_at"]),
            title=i["title"],
            model_version=i["evidence"].get("model_version")
            or versions.get(i["evidence"].get("model_tag")),
        )
        for i in list_incidents(settings.incidents_dir)
    ]


review_job = dg.define_asset_job(
    "release_review",
    selection=dg.AssetSelection.assets(health_review),
    description="Review the health of the releases, and write the report.",
)
review_schedule = dg.ScheduleDefinition(
    name="release_review_schedule",
    job=review_job,
    cron_schedule="0 7 * * *",
    execution_timezone="America/New_York",
    description="Every morning: the releases of the last week, reviewed.",
)
