"""A child that swaps the ranker for one that learned the opposite, and asks for a champion."""

from __future__ import annotations

import hashlib
import json

import dagster as dg
import polars as pl

from checks.contracts.ranking import OFFER_EXAMPLES
from definitions import defs
from models.ranking import xgboost_ranker
from models.ranking.inputs import FEATURES
from resources import model_registry
from resources.lake import Lake
from resources.settings import get_settings


def main() -> None:
    settings = get_settings().prepare()
    trained = model_registry.latest_model(settings, "offer_ranker")
    rows = (
        Lake.of(settings)
        .scan(OFFER_EXAMPLES)
        .sort("as_of", "household_id", "product_id")
        .with_columns((1 - pl.col("label")).cast(pl.Int8).alias("label"))
        .collect()
    )
    model = xgboost_ranker.train(rows, features=FEATURES.names, rounds=10, seed=1)
    model_registry.store_model(
        settings,
        name="offer_ranker",
        version=hashlib.sha256(model).hexdigest()[:12],
        model=model,
        facts=trained.facts,
    )
    with dg.DagsterInstance.get() as instance:
        done = defs.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=instance,
            asset_selection=[
                dg.AssetKey(["evaluation", "ranking"]),
                dg.AssetKey(["models", "champion"]),
                dg.AssetKey(["serving", "online_snapshot"]),
            ],
            raise_on_error=False,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
    gates = {e.check_name: e.passed for e in done.get_asset_check_evaluations()}
    made = [
        ".".join(e.asset_key.path)
        for e in done.get_asset_materialization_events()
        if e.asset_key is not None
    ]
    tags = {}
    if "models.champion" in made:
        champion = model_registry.client(settings).get_model_version_by_alias(
            "offer_ranker", model_registry.CHAMPION
        )
        tags = dict(champion.tags)
    said = {"success": done.success, "gates": gates, "made": made, "champion_tags": tags}
    print(json.dumps(said))


if __name__ == "__main__":
    main()
