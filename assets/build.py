"""All assets, checks, jobs, schedules, sensors and resources, put together."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from assets.actions.action_lift import lift_of_actions
from assets.actions.forecasts import forecasts
from assets.actions.plan import action_plan
from assets.evaluation.actions import actions_report
from assets.evaluation.demand import demand_report
from assets.evaluation.ranking import champion, ranking_report
from assets.features.demand_panel import panel
from assets.features.sets import FEATURE_SETS
from assets.governance.automation import (
    automation,
    late_data_schedule,
    parity_job,
    parity_schedule,
    weekly_job,
    weekly_schedule,
)
from assets.governance.maintenance import (
    lake_maintenance,
    maintenance_job,
    maintenance_schedule,
)
from assets.labels.purchases import purchases
from assets.landing.drops import DROPS
from assets.landing.raw import RAW_TABLES
from assets.monitoring.feature_parity import feature_parity
from assets.monitoring.freshness import FRESHNESS
from assets.monitoring.health import HEALTH_SENSORS
from assets.release.candidate import release_candidate
from assets.release.jobs import RELEASE_JOBS, release_aliases
from assets.release.live import release_live
from assets.release.retraining import retrain_job, retraining
from assets.release.review import health_review, review_job, review_schedule
from assets.serving.actions import action_snapshot
from assets.serving.history import online_history
from assets.serving.logs import SERVING_LOGS, service_logs
from assets.serving.offers import bento, online_snapshot, ranked_offers
from assets.training.candidates import candidates
from assets.training.demand import demand_model
from assets.training.examples import offer_examples
from assets.training.offer_ranker import offer_ranker
from assets.training.response import response_examples, response_model, response_report
from assets.warehouse.contracts import mart_contracts
from assets.warehouse.dbt import dbt_resource, warehouse
from resources.lake import Lake
from resources.lake_io import LakeIOManager
from resources.settings import Settings, get_settings


def default_resources(settings: Settings) -> dict[str, Any]:
    lake = Lake.of(settings)
    return {
        "settings": settings,
        "lake": lake,
        "lake_io": LakeIOManager(lake),
        "dbt": dbt_resource(settings),
    }


def build_defs(resource_overrides: Mapping[str, Any] | None = None) -> dg.Definitions:
    """The graph.

    Args:
        resource_overrides: Resources to use in place of the default ones, for tests.
    """
    settings = get_settings().prepare()
    definitions: dg.Definitions = dg.Definitions(
        assets=[
            *DROPS,
            *RAW_TABLES,
            warehouse,
            *FEATURE_SETS,
            purchases,
            candidates,
            offer_examples,
            offer_ranker,
            ranking_report,
            champion,
            response_examples,
            response_model,
            response_report,
            panel,
            demand_model,
            forecasts,
            lift_of_actions,
            demand_report,
            action_plan,
            actions_report,
            bento,
            online_history,
            *SERVING_LOGS,
            feature_parity,
            online_snapshot,
            action_snapshot,
            ranked_offers,
            release_candidate,
            release_live,
            health_review,
            lake_maintenance,
        ],
        asset_checks=[mart_contracts, *FRESHNESS],
        jobs=[weekly_job, parity_job, maintenance_job, *RELEASE_JOBS, retrain_job, review_job],
        schedules=[
            weekly_schedule,
            late_data_schedule,
            parity_schedule,
            maintenance_schedule,
            review_schedule,
        ],
        sensors=[
            *automation(lambda: definitions),
            service_logs,
            release_aliases,
            retraining,
            *HEALTH_SENSORS,
        ],
        resources=default_resources(settings) | dict(resource_overrides or {}),
        executor=dg.in_process_executor,
    )
    return definitions
