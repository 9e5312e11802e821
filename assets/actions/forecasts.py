"""Forecasts of the coming weeks, one and four weeks ahead."""

import json

import polars as pl

from assets.features.demand_panel import YEAR_AND_WEEK
from assets.lake_asset import Input, TableContext, lake_asset
from assets.training.demand import NAME
from assets.training.weeks import PROTOCOL
from checks.contracts.demand import DEMAND_FORECASTS, DEMAND_PANEL
from models.calendar import start_of_week
from models.demand.dispersion import Dispersion
from models.demand.forecast import as_stored, forecast_horizons
from models.demand.protocol import HORIZONS
from models.demand.training import DISPERSION_FILE, model_file
from resources import model_registry
from resources.model_registry import StoredModel


def dispersions(stored: StoredModel) -> dict[int, Dispersion]:
    """Horizon to the scatter of sales around its forecasts."""
    found = json.loads(stored.file(DISPERSION_FILE).read_text(encoding="utf-8"))
    return {int(horizon): Dispersion(**values) for horizon, values in found.items()}


def boosters(stored: StoredModel) -> dict[int, bytes]:
    """Horizon to its model."""
    return {h: stored.file(model_file(h)).read_bytes() for h in HORIZONS}


@lake_asset(
    DEMAND_FORECASTS,
    inputs={
        "panel": Input(DEMAND_PANEL.table, weeks=YEAR_AND_WEEK),
        "model": Input(f"models.{NAME}", load=False),
    },
    group="demand",
    kinds={"xgboost", "ducklake"},
    weeks_per_chunk=1,
    # Earlier weeks are there as soon as somebody backfills them.
    since=PROTOCOL.coming,
)
def forecasts(context: TableContext, panel: pl.LazyFrame) -> pl.DataFrame:
    stored = model_registry.latest_model(context.settings, NAME)
    known, zone = panel.collect(), context.settings.time_zone
    context.metadata["model_version"] = stored.version
    made = [
        as_stored(
            forecast_horizons(
                # Sales of the week itself are not known at its start.
                known.filter(pl.col("week_start") <= week),
                models=boosters(stored),
                dispersions=dispersions(stored),
                as_of=week,
            ),
            as_of=week,
            known_at=start_of_week(week, time_zone=zone),
            model_version=stored.version,
        )
        for week in context.weeks
    ]
    return pl.concat(made)
