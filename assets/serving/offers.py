"""Serving: the bento, the snapshot it looks up, and the same ranking for every household."""

import json
import subprocess
import sys
from pathlib import Path

import dagster as dg
import polars as pl

from assets.artifact_asset import Artifact, ArtifactContext, artifact_asset
from assets.evaluation.systems import probabilities
from assets.lake_asset import Input, TableContext, lake_asset
from assets.partitions import SAME_WEEK
from assets.training.offer_ranker import NAME, ranker_feature_hash
from assets.training.weeks import COMING, PROTOCOL
from checks.contracts.ranking import MAX_RANK, RANKED_OFFERS, RANKING_TEAM
from models import xgboost_booster
from models.calendar import start_of_week
from models.ranking import xgboost_ranker
from models.ranking.candidates import SOURCES
from models.ranking.dataset import examples
from models.ranking.inputs import FEATURES, GLOBAL_ORDER
from models.ranking.newcomer import popular_products
from models.ranking.offers import ranked_offers as rank_scored
from models.ranking.reasons import explained
from models.serving.snapshot import snapshot_arrays
from resources import model_registry, service_code
from resources.live_model import live_model
from resources.online_snapshot import (
    SnapshotMissingError,
    content_version,
    current_version,
    write_snapshot,
)
from resources.settings import PROJECT

# Offers stored per household and week; a request may ask for up to 100.
OFFERS = 20
_PACKAGING_TIMEOUT_S = 300


@lake_asset(
    RANKED_OFFERS,
    inputs={
        "candidates": Input("ranking.candidates", weeks=SAME_WEEK),
        "household": Input("features.household", weeks=SAME_WEEK),
        "product": Input("features.product", weeks=SAME_WEEK),
        "household_product": Input("features.household_product", weeks=SAME_WEEK),
        "live": Input("release.live", load=False, standing=True),
    },
    group="serving",
    kinds={"xgboost", "ducklake"},
    weeks_per_chunk=3,
    # What is offered. Earlier weeks, after those the model learned from, are there as soon as
    # somebody backfills them; a week's reasons take twelve seconds.
    since=PROTOCOL.coming,
)
def ranked_offers(
    context: TableContext,
    candidates: pl.LazyFrame,
    household: pl.LazyFrame,
    product: pl.LazyFrame,
    household_product: pl.LazyFrame,
) -> pl.DataFrame:
    # Not the newest champion: that one may still be in the shadow.
    stored = live_model(context.settings, NAME)
    rows = examples(
        candidates,
        household=household,
        product=product,
        household_product=household_product,
        features=FEATURES,
    )
    booster = xgboost_booster.load(stored.read())
    scored = rows.select("household_id", "product_id", "as_of", "known_at", "source").with_columns(
        xgboost_ranker.score_frame(booster, rows).alias("score")
    )
    context.metadata["model_version"] = stored.version
    return explained(
        rank_scored(scored, k=OFFERS, model_version=stored.version),
        rows,
        booster=booster,
        probability=probabilities(stored),
    )


@artifact_asset(
    "serving.bento",
    inputs={"champion": Input("models.champion", load=False, standing=True)},
    group="serving",
    kinds={"bentoml", "xgboost"},
    owner=RANKING_TEAM,
    description=(
        "The champion and the service's code, packaged by `bentoml build` and labelled with model, "
        "data snapshot, feature-set hash and git revision."
    ),
    depends_on=[service_code.digest()],
)
def bento(context: ArtifactContext) -> Artifact:
    stored = model_registry.champion_model(context.settings, NAME)
    labels = {
        key: str(stored.facts[key])
        for key in ("model_version", "data_snapshot", "feature_set_hash", "git_revision")
    }
    # A process of its own: assets do not import the service, and BentoML's imports stay out.
    done = subprocess.run(  # noqa: S603
        [
            sys.executable,
            "-m",
            "bentos.packaging",
            str(stored.path),
            *(f"--label={key}={value}" for key, value in labels.items()),
        ],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=_PACKAGING_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        raise dg.Failure(
            f"packaging model {stored.version} failed: {done.stderr.strip()[-2000:]}",
            allow_retries=False,
        )
    packaged = json.loads(done.stdout.strip().splitlines()[-1])
    return Artifact(
        versions={None: packaged["bento"]},
        metadata={"bento": packaged["bento"], "model": packaged["model"]} | labels,
    )


@artifact_asset(
    "serving.online_snapshot",
    inputs={
        "candidates": Input("ranking.candidates", weeks=COMING),
        "household": Input("features.household", weeks=COMING),
        "product": Input("features.product", weeks=COMING),
        "household_product": Input("features.household_product", weeks=COMING),
        "products": Input("marts.dim_product"),
        "lines": Input("marts.fct_basket_line"),
        # Written first, so that a service that takes up the snapshot finds its history.
        "history": Input("serving.online_history", load=False),
        "champion": Input("models.champion", load=False, standing=True),
    },
    group="serving",
    kinds={"numpy"},
    owner=RANKING_TEAM,
    description=(
        "Candidates and features of the coming week, laid out for memory-mapped lookup; the "
        "running service swaps to it atomically."
    ),
)
def online_snapshot(
    context: ArtifactContext,
    candidates: pl.LazyFrame,
    household: pl.LazyFrame,
    product: pl.LazyFrame,
    household_product: pl.LazyFrame,
    products: pl.LazyFrame,
    lines: pl.LazyFrame,
) -> Artifact:
    settings = context.settings
    as_of = start_of_week(PROTOCOL.coming, time_zone=settings.time_zone)
    # Where the last drops are missing the features are older than their as-of.
    newest = lines.filter(pl.col("known_at") <= as_of).select(pl.col("known_at").max()).collect()
    rows = examples(
        candidates,
        household=household,
        product=product,
        household_product=household_product,
        features=FEATURES,
    )
    arrays, names = snapshot_arrays(
        rows,
        popular=popular_products(
            product,
            known=household.select("as_of", "known_at").head(1),
            household=household,
            household_product=household_product,
            order=GLOBAL_ORDER,
            features=FEATURES,
            limit=MAX_RANK,
        ),
        feature_names=FEATURES.names,
        sources=SOURCES,
        products=products.sort("product_id", "week_start")
        .group_by("product_id", maintain_order=True)
        .agg(pl.col("category", "type").last())
        .collect(),
    )
    manifest = write_snapshot(
        settings.online_dir,
        arrays,
        names,
        as_of=PROTOCOL.coming,
        known_at=newest.item() or as_of,
        data_snapshot=str(context.lake.snapshot_id()),
        # Of the code that made these rows: a champion of other features refuses them.
        feature_set_hash=ranker_feature_hash(),
        history=_history(settings.online_history_dir),
    )
    return Artifact(
        versions={None: content_version(manifest)},
        sizes={None: rows.height},
        metadata={
            "version": manifest.version,
            "as_of": str(PROTOCOL.coming),
            "households": rows["household_id"].n_unique(),
            "rows": rows.height,
            "folder": dg.MetadataValue.path(str(settings.online_dir)),
        },
    )


def _history(root: Path) -> str:
    """The history in use; without one the service answers, and does not count events."""
    try:
        return current_version(root)
    except SnapshotMissingError:
        return ""
