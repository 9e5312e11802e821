"""What the checks found, written down for the control room after every run, failed ones too."""

import dagster as dg

from resources import health_file, partition_status
from resources.lake import Lake
from resources.settings import Settings, get_settings


def write_health(settings: Settings, lake: Lake) -> None:
    """Sum up the newest state of every asset for the control room."""
    health_file.write_health(settings.home, partition_status.current(lake).values())


def _written(_context: dg.RunStatusSensorContext) -> None:
    settings = get_settings()
    write_health(settings, Lake.of(settings))


HEALTH_SENSORS = [
    dg.run_status_sensor(
        run_status=status,
        name=f"health_after_{status.value.lower()}",
        description="Keeps the control room's list of checks up to date.",
        default_status=dg.DefaultSensorStatus.RUNNING,
    )(_written)
    for status in (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE)
]
